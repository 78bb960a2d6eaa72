"""The patch discriminator learns, its gradient leads towards the target, and a checkpoint restores it."""

import copy

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from restyle_cli.train.patch_discriminator import R1_EVERY, PatchAdversary

CPU = torch.device("cpu")


def pictures():
    """Drawn: hard stripes; made: the same, soft. [4, 3, 32, 32] each."""
    torch.manual_seed(0)
    drawn = torch.sign(torch.randn(4, 3, 1, 32)).expand(-1, -1, 32, -1).contiguous()
    return drawn, interpolate(avg_pool2d(drawn, 4), scale_factor=4.0, mode="bilinear", align_corners=False)


def test_the_gradient_has_the_set_length_and_leads_towards_the_target():
    drawn, made = pictures()
    adversary = PatchAdversary(CPU)
    gradient = made - drawn
    for _ in range(40):
        adversary.gradient(made, drawn, gradient, 1.0)
    push = adversary.gradient(made, drawn, gradient, 0.5) - gradient
    assert float(push.norm() / gradient.norm()) == pytest.approx(0.5, rel=1e-4)
    assert float((push * (made - drawn)).sum()) > 0, "a descent along the push makes the picture harder"


def test_the_discriminator_learns():
    drawn, made = pictures()
    adversary = PatchAdversary(CPU, lr=2e-3)
    for _ in range(60):
        adversary.gradient(made, drawn, made - drawn, 1.0)
    with torch.no_grad():
        assert float(adversary.network(drawn)[0].mean()) > float(adversary.network(made)[0].mean()) + 0.1


def test_a_checkpoint_restores_it():
    drawn, made = pictures()
    torch.manual_seed(1)
    whole = PatchAdversary(CPU)
    for _ in range(R1_EVERY - 1):
        whole.gradient(made, drawn, made - drawn, 1.0)
    resumed = PatchAdversary(CPU)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(3):  # over the step with the penalty
        a, b = (one.gradient(made, drawn, made - drawn, 1.0) for one in (whole, resumed))
        assert torch.equal(a, b)
