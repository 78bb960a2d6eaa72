"""Image2StyleGAN++: codes, then noise; and masks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.generators.patching import noise_maps
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.inversion import MASK, invert, iterate
from restyle_cli.methods.image2stylegan import Image2StyleGAN, Image2StyleGANPlusPlus
from restyle_cli.perceptual.structure import Structure


def noisy() -> StyleGAN2:
    """The tiny generator with noise inputs that are seen."""
    torch.manual_seed(0)
    channels = {2**k: 8 for k in range(2, 6)}
    network = StyleGAN2(StyleGAN2Config(32, channels, z_dim=8, w_dim=tiny.W_DIM, mapping_layers=1, noise=True))
    for conv in network.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    return network.eval().requires_grad_(False)


def method(network: StyleGAN2 | None = None, steps: int = 20) -> Image2StyleGANPlusPlus:
    return Image2StyleGANPlusPlus("image2stylegan++", network or noisy(), Structure()).over(steps)


@pytest.fixture
def x() -> Tensor:
    """Pictures of other codes and other noise."""
    draws = noisy()
    torch.manual_seed(3)
    images = draws(torch.randn(2, 8, tiny.W_DIM), noise="random")
    return torch.nn.functional.interpolate(images, (256, 256), mode="bilinear")


def left_half(n: int = 2) -> Tensor:
    mask = torch.zeros(n, 1, 256, 256)
    mask[..., :128] = 1
    return mask


def test_first_the_codes_and_then_the_noise(x: Tensor) -> None:
    one = method(steps=6)
    states = list(iterate(x, [one] * 6))
    codes = [not torch.equal(a.w, b.w) for a, b in pairwise(states)]
    assert codes == [True, True, True, False, False, False]
    assert not states[3].patch
    assert set(states[4].patch) == set(noise_maps(one.generator))
    moved = [float((states[k].patch["noise_6"] - states[k - 1].patch["noise_6"]).abs().max()) for k in (5, 6)]
    assert float(states[4].patch["noise_6"].abs().max()) == pytest.approx(0.1, rel=0.01)  # Adam's first step
    assert all(0.01 < step < 0.2 for step in moved)
    torch.testing.assert_close(states[6].image, one.generator(states[6].w, patch=states[6].patch))


def test_its_first_half_is_image2stylegan(x: Tensor) -> None:
    *_, state = iterate(x, [method(steps=10)] * 5)
    *_, expected = iterate(x, [Image2StyleGAN("image2stylegan", noisy(), Structure())] * 5)
    torch.testing.assert_close(state.w, expected.w)
    torch.testing.assert_close(state.image, expected.image)


def test_noise_brings_what_codes_do_not(x: Tensor) -> None:
    result = invert(x, method(steps=60), 60)
    codes_only = invert(x, Image2StyleGAN("image2stylegan", noisy(), Structure()), 60)
    assert (result.steps[60].l2 < 0.7 * result.steps[30].l2).all()
    assert (result.steps[60].l2 < codes_only.steps[60].l2).all()


def test_without_noise_inputs_all_steps_move_the_codes(x: Tensor) -> None:
    states = list(iterate(x, [method(tiny.generator(), 4)] * 4))
    assert all(not torch.equal(a.w, b.w) for a, b in pairwise(states))
    assert not states[-1].patch


def test_what_is_not_known_has_no_say(x: Tensor) -> None:
    spoiled = x.clone()
    spoiled[..., 128:] = -spoiled[..., 128:]
    given = {MASK: left_half()}
    found, other = (invert(pictures, method(), 20, inputs=given, keep="last") for pictures in (x, spoiled))
    assert torch.equal(found.w, other.w)
    assert torch.equal(found.images, other.images)
    assert torch.equal(found.steps[20].l2, other.steps[20].l2)
    assert not torch.equal(invert(spoiled, method(), 20, keep="last").w, found.w)


def test_what_is_known_is_found_better_than_without_a_mask(x: Tensor) -> None:
    given = {MASK: left_half()}
    masked = invert(x, method(steps=60), 60, inputs=given)
    assert (masked.steps[60].l2 < 0.4 * masked.steps[0].l2).all()


def test_noise_leaves_what_is_not_known_as_the_codes_drew_it(x: Tensor) -> None:
    one = method(steps=40)
    states = list(iterate(x, [one] * 40, {MASK: left_half()}))
    change = (states[40].image - states[20].image).square().mean(dim=(0, 1, 2))
    assert float(change[:12].mean()) > 10 * float(change[20:].mean())


def test_pictures_of_a_batch_are_optimised_as_if_alone(x: Tensor) -> None:
    given, one = {MASK: left_half()}, {MASK: left_half(1)}
    both, alone = (invert(p, method(), 20, inputs=g, keep="last") for p, g in ((x, given), (x[1:], one)))
    torch.testing.assert_close(both.w[1:], alone.w, rtol=1e-2, atol=1e-3)  # sums in another order, through Adam
