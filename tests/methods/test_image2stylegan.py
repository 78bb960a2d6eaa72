"""Image2StyleGAN against a loop written by hand; Image2StyleGAN++: first the latents, then the noise maps; masks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.generators.patching import noise_maps
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.inversion import State, Target, invert, iterate
from restyle_cli.methods.image2stylegan import Image2StyleGAN, Image2StyleGANPlusPlus, PaperLayers
from restyle_cli.methods.optimize import Adam
from restyle_cli.perceptual.structure import Structure
from restyle_cli.perceptual.vgg16 import VGG16, VGG16Config


def method(network: StyleGAN2 | None = None) -> Image2StyleGAN:
    return Image2StyleGAN("image2stylegan", network or tiny.generator(), Structure())


def plus_plus(steps: int = 20, network: StyleGAN2 | None = None) -> Image2StyleGANPlusPlus:
    return Image2StyleGANPlusPlus("image2stylegan++", network or tiny.noisy_generator(), Structure()).over(steps)


@pytest.fixture
def x() -> Tensor:
    return tiny.images()


@pytest.fixture
def noisy_x() -> Tensor:
    return tiny.images(tiny.noisy_generator())


def test_image2stylegan_equals_a_loop_written_by_hand(x: Tensor) -> None:
    generator, perceptual = tiny.generator(), Structure()
    w = generator.start(2).clone().requires_grad_(True)
    adam = torch.optim.Adam([w], lr=0.01)
    target = torch.nn.functional.adaptive_avg_pool2d(x, 32)  # the generator's size, the smaller one
    for _ in range(4):
        image = generator(w)
        loss = perceptual(image, target) + (image - target).square().mean(dim=(1, 2, 3))
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    *_, state = iterate(x, [method()] * 4)
    torch.testing.assert_close(state.w, w.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.image, generator(w).detach(), rtol=1e-3, atol=1e-3)


def test_it_finds_images_of_the_generator(x: Tensor) -> None:
    quick = method()
    quick.adam = Adam(rate=0.05)
    result = invert(x, quick, 80)
    assert (result.steps[80].l2 < 0.1 * result.steps[0].l2).all()
    assert (result.steps[80].l2 < result.steps[20].l2).all()


def test_it_continues_from_the_latent_and_the_weights_of_the_previous_method(x: Tensor) -> None:
    patch = {"convs.1": torch.full((2, 8, 8, 1, 1), 0.1)}
    w = tiny.generator().start(2) + 0.3
    after = method().step(x, State(w, tiny.generator()(w, patch=patch), patch))
    assert float((after.w - w).abs().max()) == pytest.approx(0.01, rel=0.01)  # Adam's first step
    assert list(after.patch) == ["convs.1"] and torch.equal(after.patch["convs.1"], patch["convs.1"])
    torch.testing.assert_close(after.image, tiny.generator()(after.w, patch=patch))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_a_step_works_in_either_gradient_mode_and_leaves_no_graph(
    x: Tensor, mode: type[torch.no_grad] | type[torch.enable_grad]
) -> None:
    one = method()
    for parameter in one.generator.parameters():
        parameter.requires_grad_(True)
    with mode():
        state = one.step(x, one.start(x))
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert not any(values.requires_grad for values in (state.w, state.image, *state.memory.values()))
    assert all(parameter.grad is None for parameter in one.generator.parameters())


def test_vgg16_is_used_with_the_layers_of_the_paper() -> None:
    torch.manual_seed(0)
    network = VGG16(VGG16Config((2, 3, 4, 4, 5, 6, 5, 7, 8, 7)))
    one = Image2StyleGAN("i", tiny.generator(), network)
    assert isinstance(one.perceptual, PaperLayers)
    x, y = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    maps, others = one.perceptual.features(x), one.perceptual.features(y)
    assert [tuple(found.shape[1:]) for found in maps] == [(2, 32, 32), (3, 32, 32), (6, 8, 8), (8, 4, 4)]
    expected = sum((a - b).square().mean() for a, b in zip(maps, others, strict=True)) / 127.5**2
    torch.testing.assert_close(one.perceptual.distances(maps, others), expected[None])
    assert network.features(x)[0].shape == (1, 7, 4, 4), "IDInvert's, conv4_3"


# --- Image2StyleGAN++


def test_first_half_latents_second_half_noise_maps(noisy_x: Tensor) -> None:
    one = plus_plus(6)
    states = list(iterate(noisy_x, [one] * 6))
    assert [not torch.equal(a.w, b.w) for a, b in pairwise(states)] == [True] * 3 + [False] * 3
    assert not states[3].patch
    assert set(states[4].patch) == set(noise_maps(one.generator))
    moved = [float((states[k].patch["noise_6"] - states[k - 1].patch["noise_6"]).abs().max()) for k in (5, 6)]
    assert float(states[4].patch["noise_6"].abs().max()) == pytest.approx(0.1, rel=0.01)  # Adam's first step
    assert all(0.01 < step < 0.2 for step in moved)
    torch.testing.assert_close(states[6].image, one.generator(states[6].w, patch=states[6].patch))
    plain = list(iterate(noisy_x, [method(tiny.noisy_generator())] * 3))
    torch.testing.assert_close(states[3].w, plain[3].w)
    torch.testing.assert_close(states[3].image, plain[3].image)


def test_noise_maps_add_what_latents_cannot_represent(noisy_x: Tensor) -> None:
    result = invert(noisy_x, plus_plus(60), 60)
    latents_only = invert(noisy_x, method(tiny.noisy_generator()), 60)
    assert (result.steps[60].l2 < 0.7 * result.steps[30].l2).all()
    assert (result.steps[60].l2 < latents_only.steps[60].l2).all()


def test_without_noise_maps_all_steps_move_the_latents(x: Tensor) -> None:
    states = list(iterate(x, [plus_plus(4, tiny.generator())] * 4))
    assert all(not torch.equal(a.w, b.w) for a, b in pairwise(states))
    assert not states[-1].patch


# --- masks


def left_half(n: int = 2) -> Tensor:
    mask = torch.zeros(n, 1, 256, 256)
    mask[..., :128] = 1
    return mask


def test_unknown_pixels_have_no_influence(noisy_x: Tensor) -> None:
    other_x = noisy_x.clone()
    other_x[..., 128:] = -other_x[..., 128:]
    target = Target(mask=left_half())
    found, other = (invert(images, plus_plus(), 20, target=target, keep="last") for images in (noisy_x, other_x))
    assert torch.equal(found.w, other.w)
    assert torch.equal(found.images, other.images)
    assert torch.equal(found.steps[20].l2, other.steps[20].l2)
    assert not torch.equal(invert(other_x, plus_plus(), 20, keep="last").w, found.w)


def test_known_pixels_are_found_and_unknown_ones_keep_the_latents_rendering(noisy_x: Tensor) -> None:
    states = list(iterate(noisy_x, [plus_plus(60)] * 60, Target(mask=left_half())))
    change = (states[60].image - states[30].image).square().mean(dim=(0, 1, 2))
    assert float(change[:12].mean()) > 10 * float(change[20:].mean())
    masked = invert(noisy_x, plus_plus(60), 60, target=Target(mask=left_half()))
    assert (masked.steps[60].l2 < 0.4 * masked.steps[0].l2).all()
