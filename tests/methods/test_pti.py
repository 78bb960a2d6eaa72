"""Pivotal tuning in miniature: against an optimiser on a copied generator, in chains, batches and files."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.patching import synthesis_parameters
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.inversion import State, invert, iterate
from restyle_cli.methods.encoder import ReStyle, SinglePass
from restyle_cli.methods.pti import PTI, Locality
from restyle_cli.perceptual.structure import Structure


@pytest.fixture
def first() -> SinglePass:
    return SinglePass("psp", tiny.encoder(channels=3), tiny.generator())


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pti(first: SinglePass, **options: object) -> PTI:
    return PTI("pti", first.generator, Structure(), **options)


def by_hand(first: SinglePass, x: Tensor, w: Tensor, steps: int, rate: float) -> tuple[StyleGAN2, Tensor]:
    """The generator after `steps` of torch's own Adam on its own parameters, and the image that it renders."""
    tuned, structure = copy.deepcopy(first.generator).requires_grad_(True), Structure()
    target = torch.nn.functional.adaptive_avg_pool2d(x, 32)
    optimiser = torch.optim.Adam(tuned.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        image = tuned(w)
        ((image - target).square().mean() + structure(image, target).sum()).backward()
        optimiser.step()
    with torch.no_grad():
        return tuned, tuned(w)


def test_it_equals_adam_on_a_copied_generator(first: SinglePass, x: Tensor) -> None:
    *_, state = iterate(x[:1], [first] + [pti(first)] * 6)
    tuned, image = by_hand(first, x[:1], state.w, 6, rate=3e-4)
    before = first.generator(state.w)
    # Gradients are those at the rounded weights, in half precision: 11 bits.
    assert (state.image - image).norm() < 0.005 * (image - before).norm()
    own = dict(first.generator.named_parameters())
    for name, value in synthesis_parameters(tuned).items():
        wanted = value.detach() - own[name]
        assert (state.patch[name][0] - wanted).norm() < 0.02 * wanted.norm(), name


def test_w_stays_and_the_error_falls(first: SinglePass, x: Tensor) -> None:
    result = invert(x, [first] + [pti(first, rate=3e-3)] * 20, keep_w=True)
    assert result.w_steps is not None
    assert torch.equal(result.w_steps[:, 1], result.w_steps[:, -1])
    errors = torch.stack([step.l2 for step in result.steps[1:]])
    assert (errors[-1] < 0.9 * errors[0]).all()
    assert [step.method for step in result.steps[:3]] == ["start", "psp", "pti"]


def test_images_are_rendered_with_the_rounded_patch(first: SinglePass, x: Tensor) -> None:
    *_, state = iterate(x, [first] + [pti(first, rate=1e-2)] * 3)
    assert set(state.patch) == set(synthesis_parameters(first.generator))
    assert all(change.dtype == torch.float16 for change in state.patch.values())
    torch.testing.assert_close(state.image, first.generator(state.w, patch=state.patch), rtol=1e-5, atol=1e-5)


def test_small_steps_add_up_although_the_patch_is_rounded(first: SinglePass, x: Tensor) -> None:
    """At 0.5 neighbouring half-precision numbers are 5e-4 apart: a step of 1e-5 would never move one."""
    method = pti(first, rate=1e-5)
    start = list(iterate(x[:1], [first]))[-1]
    weight = {"convs.0.weight": torch.full((1, 8, 8, 3, 3), 0.5).half()}
    state = State(start.w, first.generator(start.w, patch=weight), weight)
    for _ in range(60):
        state = method.step(x[:1], state)
    assert (state.patch["convs.0.weight"] != 0.5).any()


def test_it_continues_from_earlier_changes(first: SinglePass, x: Tensor) -> None:
    """A second tuning, after another method, keeps the first one's weights."""
    generator = first.generator
    again = PTI("again", generator, Structure())
    states = list(
        iterate(x, [first, *[pti(first, rate=1e-2)] * 3, ReStyle("restyle", tiny.encoder(), generator), again])
    )
    before, corrected, after = states[-3:]
    assert torch.equal(corrected.patch["const"], before.patch["const"])
    moved = (after.patch["const"] - corrected.patch["const"]).abs().max()
    assert 0 < moved < 1e-3 < before.patch["const"].abs().max()
    assert after.memory["count"].tolist() == [1, 1, 1]


def test_deltas_of_a_hypernetwork_stay(first: SinglePass, x: Tensor) -> None:
    start = list(iterate(x, [first]))[-1]
    factor = {"convs.1": 0.3 * torch.randn(3, 8, 8, 1, 1)}
    state = State(start.w, first.generator(start.w, patch=factor), factor)
    after = pti(first).step(x, state)
    assert torch.equal(after.patch["convs.1"], factor["convs.1"])
    assert (after.image - state.image).abs().max() < 0.1 < (start.image - state.image).abs().max()


def test_locality_regularization_keeps_images_near_the_pivot(first: SinglePass, x: Tensor) -> None:
    def drift(method: PTI) -> float:
        with torch.no_grad():
            *_, state = iterate(x[:1], [first] + [method] * 25)
            w = torch.stack([method.near(state.w[0], seed, 3.0) for seed in range(100, 108)])
            patch = {name: change.expand(8, *change.shape[1:]) for name, change in state.patch.items()}
            return float((first.generator(w, patch=patch) - first.generator(w)).square().mean())

    free = drift(pti(first, rate=3e-3))
    held = drift(pti(first, rate=3e-3, locality=Locality(alpha=3.0, weight=10.0)))
    seldom = drift(pti(first, rate=3e-3, locality=Locality(alpha=3.0, weight=10.0, interval=1000)))
    assert held < 0.5 * free
    assert held < seldom


def test_the_point_compared_is_alpha_away(first: SinglePass) -> None:
    pivot = torch.randn(8, tiny.W_DIM)
    near, other, same = (pti(first).near(pivot, seed, 30.0) for seed in (0, 1, 0))
    assert float((near - pivot).norm()) == pytest.approx(30, rel=1e-4)
    assert torch.equal(near, same) and not torch.equal(near, other)


def test_the_caller_keeps_its_gradient_mode_and_no_graph_stays(first: SinglePass, x: Tensor) -> None:
    with torch.no_grad():
        *_, state = iterate(x[:1], [first] + [pti(first)] * 2)
        assert not torch.is_grad_enabled()
    held = [state.image, *state.patch.values(), *state.memory.values()]
    assert not any(tensor.requires_grad for tensor in held)
    assert all(parameter.grad is None for parameter in first.generator.parameters())


def test_noise_strengths_are_tuned_and_noise_maps_are_not(x: Tensor) -> None:
    config = StyleGAN2Config(32, {2**k: 4 for k in range(2, 6)}, z_dim=8, w_dim=tiny.W_DIM, mapping_layers=1)
    generator = StyleGAN2(config).eval().requires_grad_(False)
    first = SinglePass("psp", tiny.encoder(channels=3), generator)
    *_, state = iterate(x[:1], [first] + [pti(first)] * 2)
    assert state.patch["convs.2.noise_strength"].abs() > 0
    assert not any(name.startswith("noise_") for name in state.patch)


def test_alone_it_names_what_it_needs(first: SinglePass, x: Tensor) -> None:
    with pytest.raises(RestyleError, match="tunes the generator around a latent") as caught:
        pti(first).start(x)
    assert "restyle-psp:5,pti:350" in (caught.value.hint or "")
