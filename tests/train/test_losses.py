"""The papers' losses: the original's numbers on made-up latents, and values by hand."""

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
from restyle_cli.train.config import Discriminator
from restyle_cli.train.latent_discriminator import (
    LatentAdversary,
    LatentPool,
    adversarial_loss,
    discriminator_loss,
    progressive_stage,
    r1,
)
from restyle_cli.train.losses import ImageObjective, check_losses, cosine_loss, delta_norm, latent, w_norm

CASE = "losses"


def latents(name: str, *shape: int) -> Tensor:
    # In float64, as the stored numbers were computed: one unit in the last place of float32 is the limit at 270.
    return torch.from_numpy(np.float32(0.5) * fill.normal(name, shape)).double()


@pytest.fixture(scope="module")
def discriminator() -> nn.Module:
    network = LatentDiscriminator(LatentDiscriminatorConfig())
    network.load_state_dict(parity.weights("latent_discriminator"))
    return network.double().requires_grad_(False)


def small_discriminator() -> LatentDiscriminator:
    return LatentDiscriminator(LatentDiscriminatorConfig(w_dim=8))


def check(values: Mapping[str, Tensor]) -> None:
    references = parity.outputs(CASE)
    for name, value in values.items():
        error, limit = abs(float(value.detach()) - float(references[name])), parity.limit(CASE, name)
        assert error <= limit, f"{name}: {error:.2e} > {limit:.2e}"


def test_losses_of_latents_are_the_originals(discriminator: nn.Module) -> None:
    w, w_avg = latents("latent", 2, 18, 512), latents("latent_avg", 18, 512)
    check(
        {
            "w_norm": w_norm(w, w_avg),
            "w_norm_no_avg": w_norm(w),
            "delta_loss_stage3": delta_norm(w, 3),
            "delta_loss_stage17": delta_norm(w, 17),
            "adv_loss_stage3": adversarial_loss(discriminator, w, 3),
            "adv_loss_stage17": adversarial_loss(discriminator, w, 17),
        }
    )
    assert delta_norm(w) == delta_norm(w, 17)
    assert delta_norm(w, 0) == 0
    assert adversarial_loss(discriminator, w) == adversarial_loss(discriminator, w, 17)


def test_losses_of_the_discriminator_are_the_originals(discriminator: nn.Module) -> None:
    real, fake = latents("real_w", 4, 512), latents("fake_w", 4, 512)
    check({"d_loss": discriminator_loss(discriminator, real, fake), "r1": r1(discriminator, real)})


def test_l2_is_the_originals() -> None:
    y_hat, y = (torch.from_numpy(fill.image(name, (2, 3, 256, 256))) for name in ("y_hat", "y"))
    total, terms = ImageObjective({"l2": 3.0}, {})(y_hat, y)
    check({"l2": terms["l2"]})
    assert float(total) == pytest.approx(3 * float(terms["l2"]))


def test_delta_norm_by_hand() -> None:
    w = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]])
    assert float(delta_norm(w)) == 6
    assert float(delta_norm(w, 1)) == 5


def test_latent_loss_by_hand() -> None:
    # Half a standard deviation off: smooth L1 gives 0.5 * 0.25; two: 2 - 0.5.
    w, known, spread = torch.tensor([[[1.0, 8.0]]]), torch.zeros(1, 1, 2), torch.tensor([2.0, 4.0])
    assert float(latent(w, known, spread)) == pytest.approx((0.125 + 1.5) / 2)


def test_gradients_are_finite_where_latents_are_equal() -> None:
    w = torch.ones(1, 4, 8, requires_grad=True)
    (delta_norm(w) + w_norm(w, torch.ones(4, 8))).backward()
    assert w.grad is not None
    assert torch.isfinite(w.grad).all()


def test_each_loss_trains_its_own_network() -> None:
    network, real = small_discriminator(), torch.randn(4, 8)
    fake = torch.randn(4, 8, requires_grad=True)
    (discriminator_loss(network, real, fake) + r1(network, real)).backward()
    assert fake.grad is None
    assert real.grad is None
    assert network.mlp[0].weight.grad.abs().sum() > 0


class MeanColour(nn.Module):
    """In the place of a network of unit features: the direction of an image's mean colour."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x.mean(dim=(2, 3)), dim=1)


def test_image_losses_are_added_with_their_weights() -> None:
    generator = torch.Generator().manual_seed(5)
    target, image = (torch.randn(2, 3, 8, 8, generator=generator) for _ in range(2))
    weights = {"l2": 1.0, "id": 0.5, "w_norm": 0.25, "lpips": 0.0}
    total, terms = ImageObjective(weights, {"id": MeanColour()})(image.requires_grad_(), target)
    assert set(terms) == {"l2", "id"}  # a loss without weight needs no network; w_norm is no loss of images
    assert float(total.detach()) == pytest.approx(sum(weights[name] * float(term) for name, term in terms.items()))
    total.backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_cosine_loss_by_hand() -> None:
    y, y_hat = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None], torch.tensor([0.6, 0.8, 0.0])[None, :, None, None]
    assert float(cosine_loss(MeanColour(), y_hat, y)) == pytest.approx(0.4)


def test_losses_of_the_face_see_the_inner_face_only() -> None:
    target, image = torch.zeros(1, 3, 256, 256), torch.ones(1, 3, 256, 256)
    image[..., 35:223, 32:220] = 0.5
    assert float(ImageObjective({"l2_face": 1.0}, {})(image, target)[0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lpip": 1.0}, "no loss named 'lpip'"),
        ({"latent": 1.0}, "needs images whose latents are known"),
        ({"w_discriminator": 0.1}, r"needs a table \[discriminator\]"),
    ],
)
def test_losses_are_checked_before_data_are_read(weights: dict[str, float], message: str) -> None:
    with pytest.raises(RestyleError, match=message):
        check_losses(weights, known_latents=False, discriminator=False)


@pytest.mark.parametrize(
    ("step", "offsets"), [(0, 0), (19_999, 0), (20_000, 1), (21_999, 1), (22_000, 2), (52_000, 17), (400_000, 17)]
)
def test_progressive_schedule(step: int, offsets: int) -> None:
    assert progressive_stage(step, 20_000, 2_000, styles=18) == offsets


def test_pool_keeps_the_first_latents_and_then_swaps_half() -> None:
    pool, random = LatentPool(4), torch.Generator().manual_seed(0)
    first = torch.arange(4.0)[:, None]
    assert torch.equal(pool.query(first, random), first)
    seen = torch.cat([pool.query(torch.full((100, 1), 9.0), random) for _ in range(10)])
    assert {float(value) for value in seen.unique()} <= {0.0, 1.0, 2.0, 3.0, 9.0}
    assert torch.equal(torch.cat(pool.latents), torch.full((4,), 9.0))
    assert torch.equal(LatentPool(0).query(first, random), first)


def test_a_step_of_the_discriminator() -> None:
    """By hand: Adam's first step moves every weight by lr against the sign of its gradient; R1 is a second step."""
    adversary = LatentAdversary(Discriminator(lr=0.01, pool=0), 8, torch.device("cpu"))
    network, reference = adversary.network, small_discriminator()
    reference.load_state_dict(network.state_dict())
    real, fake = torch.randn(4, 8), torch.randn(4, 8)
    discriminator_loss(reference, real, fake).backward()
    before = network.mlp[0].weight.detach().clone()
    adversary.step(real, fake, step=1, random=torch.Generator())
    expected = before - 0.01 * reference.mlp[0].weight.grad.sign()
    torch.testing.assert_close(network.mlp[0].weight.detach(), expected, atol=1e-4, rtol=0)

    before = float(r1(network, real).detach())
    for step in range(0, 320, 16):  # every step has the penalty
        adversary.step(real, real, step, torch.Generator())
    assert float(r1(network, real).detach()) < before
