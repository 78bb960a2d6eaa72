"""The papers' losses: the original's numbers on made-up codes, and what they mean by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import parity
import pytest
import torch
from golden import fill
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.discriminators import LatentDiscriminator, LatentDiscriminatorConfig
from restyle_cli.inversion import State
from restyle_cli.train import paper_losses
from restyle_cli.train.paper_losses import Objective

CASE = "losses"


def codes(name: str, *shape: int) -> Tensor:
    # In float64, as the stored numbers were computed: one unit in the last place of float32 is the limit at 270.
    return torch.from_numpy(np.float32(0.5) * fill.normal(name, shape)).double()


@pytest.fixture(scope="module")
def discriminator() -> nn.Module:
    network = LatentDiscriminator(LatentDiscriminatorConfig())
    network.load_state_dict(parity.weights("latent_discriminator"))
    return network.double().requires_grad_(False)


def check(values: Mapping[str, Tensor]) -> None:
    references = parity.outputs(CASE)
    for name, value in values.items():
        error, limit = abs(float(value.detach()) - float(references[name])), parity.limit(CASE, name)
        print(f"{CASE} {name}: greatest difference {error:.2e}, limit {limit:.2e}")
        assert error <= limit, name


def test_losses_of_codes_are_the_originals(discriminator: nn.Module) -> None:
    w, w_avg = codes("latent", 2, 18, 512), codes("latent_avg", 18, 512)
    check(
        {
            "w_norm": paper_losses.w_norm(w, w_avg),
            "w_norm_no_avg": paper_losses.w_norm(w),
            "delta_loss_stage3": paper_losses.delta_norm(w, 3),
            "delta_loss_stage17": paper_losses.delta_norm(w, 17),
            "adv_loss_stage3": paper_losses.fooling(discriminator, w, 3),
            "adv_loss_stage17": paper_losses.fooling(discriminator, w, 17),
        }
    )


def test_losses_of_the_discriminator_are_the_originals(discriminator: nn.Module) -> None:
    real, fake = codes("real_w", 4, 512), codes("fake_w", 4, 512)
    check(
        {
            "d_loss": paper_losses.telling_apart(discriminator, real, fake),
            "r1": paper_losses.r1(discriminator, real),
        }
    )


def test_l2_is_the_originals() -> None:
    y_hat, y = (torch.from_numpy(fill.image(name, (2, 3, 256, 256))) for name in ("y_hat", "y"))
    total, terms = Objective({"l2": 3.0})(y, State(torch.zeros(2, 18, 512), y_hat), torch.zeros(18, 512))
    check({"l2": terms["l2"]})
    assert float(total) == pytest.approx(3 * float(terms["l2"]))


def test_the_last_stage_is_all_styles(discriminator: nn.Module) -> None:
    w = codes("latent", 2, 18, 512)
    assert paper_losses.delta_norm(w) == paper_losses.delta_norm(w, 17)
    assert paper_losses.delta_norm(w, 0) == 0
    assert paper_losses.fooling(discriminator, w) == paper_losses.fooling(discriminator, w, 17)


def test_equal_codes_and_features_have_gradients_that_are_numbers() -> None:
    w = torch.ones(1, 4, 8, requires_grad=True)
    (paper_losses.delta_norm(w) + paper_losses.w_norm(w, torch.ones(4, 8))).backward()
    assert torch.isfinite(w.grad).all()


def test_r1_trains_the_discriminator_and_not_the_codes() -> None:
    network, real = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=8)), torch.randn(4, 8)
    paper_losses.r1(network, real).backward()
    assert network.mlp[0].weight.grad.abs().sum() > 0
    assert real.grad is None


def test_the_discriminators_loss_does_not_reach_the_encoder() -> None:
    network = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=8))
    fake = torch.randn(4, 8, requires_grad=True)
    paper_losses.telling_apart(network, torch.randn(4, 8), fake).backward()
    assert fake.grad is None
    assert network.mlp[0].weight.grad.abs().sum() > 0


class _Means(nn.Module):
    """Stands in for a network of unit features: the direction of a picture's mean colour."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x.mean(dim=(2, 3)), dim=1)


def test_objective_adds_its_terms_weighted() -> None:
    generator = torch.Generator().manual_seed(5)
    target, image = (torch.randn(2, 3, 8, 8, generator=generator) for _ in range(2))
    w, w_avg = torch.randn(2, 4, 8, generator=generator), torch.randn(4, 8, generator=generator)
    image.requires_grad_()
    weights = {"l2": 1.0, "id": 0.5, "w_norm": 0.25, "lpips": 0.0}
    total, terms = Objective(weights, {"id": _Means()})(target, State(w, image), w_avg)
    assert set(terms) == {"l2", "id", "w_norm"}  # what weighs nothing needs no network and is not computed
    assert float(total.detach()) == pytest.approx(sum(weights[name] * float(term) for name, term in terms.items()))
    cosine = (_Means()(image) * _Means()(target)).sum(dim=1)
    assert float(terms["id"]) == pytest.approx(float((1 - cosine).mean().detach()))
    total.backward()
    assert image.grad.abs().sum() > 0


def test_pictures_are_compared_at_the_targets_size() -> None:
    target, image = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 8, 8)
    image[..., ::2] = -1  # whose mean over any area of 2 by 2 is 0
    _, terms = Objective({"l2": 1.0})(target, State(torch.zeros(1, 4, 8), image), torch.zeros(4, 8))
    assert terms["l2"] == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"lpips2": 1.0}, "no loss named 'lpips2'"), ({"id": 0.1}, "the loss 'id' needs a network")],
)
def test_what_cannot_be_minimised_is_said(weights: dict[str, float], message: str) -> None:
    with pytest.raises(RestyleError, match=message):
        Objective(weights)


def test_improvement_counts_from_the_input() -> None:
    y = torch.tensor([[1.0, 0.0]])
    x, y_hat = torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, 0.6]])
    assert float(paper_losses.improvement(y_hat, y, x)) == pytest.approx(0.2)
    assert float(paper_losses.unlikeness(y_hat, y)) == pytest.approx(0.2)
