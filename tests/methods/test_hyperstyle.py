"""HyperStyle's loop in miniature: against one written by hand, in chains, and what does not fit."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor, nn

from restyle_cli.encoders.hyper import HyperConfig, HyperNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.inversion import invert, iterate
from restyle_cli.methods import METHODS
from restyle_cli.methods.encoder import HyperStyle, ReStyle, SinglePass, SingleW

TARGETS = (("convs.0", 8, 8), ("convs.1", 8, 8), ("convs.4", 8, 8))


def hypernetwork(targets: tuple[tuple[str, int, int], ...] = TARGETS) -> HyperNetwork:
    torch.manual_seed(3)
    config = HyperConfig(
        styles=8, w_dim=tiny.W_DIM, widths=(4, 4, 4, 4), blocks=(1, 1, 1, 1), input_size=(64, 64),
        targets=targets, sharing=("convs.0", "convs.1"), hidden=4, shared_hidden=4, code=4,
    )  # fmt: skip
    return HyperNetwork(config).eval().requires_grad_(False)


@pytest.fixture
def method() -> HyperStyle:
    return HyperStyle("hyperstyle", hypernetwork(), tiny.generator())


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_deltas_add_up_and_the_code_stays(method: HyperStyle, x: Tensor) -> None:
    w = method.generator.start(3)
    y, total = method.generator(w), None
    *_, state = iterate(x, [method] * 3)
    for _ in range(3):
        deltas = method.encoder(torch.cat([x, fit(y, (64, 64))], dim=1))
        total = deltas if total is None else {name: total[name] + deltas[name] for name in deltas}
        y = method.generator(w, patch=total)
    assert torch.equal(state.w, w)
    assert set(state.patch) == {name for name, _, _ in TARGETS}
    for name, delta in state.patch.items():
        torch.testing.assert_close(delta, total[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.image, y, rtol=1e-4, atol=1e-4)
    assert (state.image - method.generator(w)).abs().max() > 1e-2


def test_it_goes_on_from_the_code_of_the_method_before(method: HyperStyle, x: Tensor) -> None:
    first = SingleW("e4e-w", tiny.encoder(channels=3), method.generator)
    result = invert(x, [first, method, method], keep="last")
    torch.testing.assert_close(result.w, first.generator.start(3) + first.encoder(x)[:, :1])
    assert [step.method for step in result.steps] == ["start", "e4e-w", "hyperstyle", "hyperstyle"]
    torch.testing.assert_close(result.images, method.generator(result.w, patch=result.patch), rtol=1e-4, atol=1e-4)


def test_a_correction_of_the_code_keeps_the_changed_weights(method: HyperStyle, x: Tensor) -> None:
    second = ReStyle("restyle", tiny.encoder(), method.generator)
    _, changed, corrected = iterate(x, [method, second])
    assert not torch.equal(corrected.w, changed.w)
    for name, delta in changed.patch.items():
        assert torch.equal(corrected.patch[name], delta)
    torch.testing.assert_close(corrected.image, method.generator(corrected.w, patch=changed.patch))


def test_pictures_that_stop_early_keep_weights_of_their_own(method: HyperStyle, x: Tensor) -> None:
    result = invert(x, [method] * 4)
    for index in range(3):
        alone = result.one(index)
        again = method.generator(alone.w, patch=alone.patch)
        torch.testing.assert_close(again, alone.images, rtol=1e-4, atol=1e-4)


def test_without_an_average_it_says_what_it_needs(method: HyperStyle, x: Tensor) -> None:
    method.generator.w_avg.zero_()
    with pytest.raises(RestyleError, match="needs a first latent") as caught:
        method.start(x)
    assert caught.value.hint is not None and "e4e-w,hyperstyle:5" in caught.value.hint
    first = SingleW("e4e-w", tiny.encoder(channels=3), method.generator)
    assert list(iterate(x, [first, method]))[-1].patch


@pytest.mark.parametrize(
    ("target", "sentence"),
    [(("convs.4", 8, 4), "8x4 channels.*8x8 channels"), (("convs.9", 8, 8), "no such convolution")],
)
def test_a_hypernetwork_for_another_generator_is_refused(target: tuple[str, int, int], sentence: str) -> None:
    with pytest.raises(RestyleError, match=sentence):
        HyperStyle("hyperstyle", hypernetwork((*TARGETS[:2], target)), tiny.generator())


def test_absolute_codes_are_not_added_to_the_average(x: Tensor) -> None:
    encoder: nn.Module = tiny.encoder(channels=3)
    method = SinglePass("psp", encoder, tiny.generator(), absolute=True)
    assert torch.equal(list(iterate(x, [method]))[-1].w, encoder(x))


def test_every_methods_own_number_of_steps_is_possible() -> None:
    for name in METHODS.names():
        assert 1 <= METHODS.load(name).default_steps <= METHODS.load(name).max_steps
