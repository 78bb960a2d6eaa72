"""The judge of patches: it learns to tell, it pushes towards what is drawn, and it goes on where it stopped."""

import copy

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from restyle_cli.train.adversary import R1_EVERY, Adversary


def pictures():
    """Drawn: hard stripes; made: the same, soft. [4, 3, 32, 32] each."""
    torch.manual_seed(0)
    drawn = torch.sign(torch.randn(4, 3, 1, 32)).expand(-1, -1, 32, -1).contiguous()
    return drawn, interpolate(avg_pool2d(drawn, 4), scale_factor=4.0, mode="bilinear", align_corners=False)


def test_the_push_is_as_long_as_asked_and_leads_towards_the_drawing():
    drawn, made = pictures()
    adversary = Adversary()
    gradient = made - drawn
    for _ in range(40):
        adversary.push(made, drawn, gradient, 1.0)
    push = adversary.push(made, drawn, gradient, 0.5) - gradient
    assert float(push.norm() / gradient.norm()) == pytest.approx(0.5, rel=1e-4)
    assert float((push * (made - drawn)).sum()) > 0, "a descent along the push makes the picture harder"


def test_the_judge_learns_to_tell():
    drawn, made = pictures()
    adversary = Adversary(lr=2e-3)
    for _ in range(60):
        adversary.push(made, drawn, made - drawn, 1.0)
    with torch.no_grad():
        assert float(adversary.judge(drawn)[0].mean()) > float(adversary.judge(made)[0].mean()) + 0.1


def test_it_goes_on_as_if_it_had_not_stopped():
    drawn, made = pictures()
    torch.manual_seed(1)
    whole = Adversary()
    for _ in range(R1_EVERY - 1):
        whole.push(made, drawn, made - drawn, 1.0)
    resumed = Adversary()
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(3):  # over the step with the penalty
        a, b = (one.push(made, drawn, made - drawn, 1.0) for one in (whole, resumed))
        assert torch.equal(a, b)
