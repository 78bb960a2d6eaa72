"""Methods whose step is one pass of an encoder: e4e in W, HyperStyle, ALAE. ReStyle is in test_inversion.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.encoders.alae import ALAEEncoder, ALAEEncoderConfig
from restyle_cli.encoders.hyper import HyperConfig, HyperNetwork
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan1 import StyleGAN1, StyleGAN1Config
from restyle_cli.images import fit
from restyle_cli.inversion import invert, iterate
from restyle_cli.methods.encoder import ALAE, HyperStyle, ReStyle, SinglePass, SingleW
from restyle_cli.models import load_method, plan
from restyle_cli.store.files import write_module

TARGETS = (("convs.0", 8, 8), ("convs.1", 8, 8), ("convs.4", 8, 8))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_absolute_output_is_not_added_to_the_average(x: Tensor) -> None:
    encoder = tiny.encoder(channels=3)
    method = SinglePass("psp", encoder, tiny.generator(), absolute=True)
    assert torch.equal(list(iterate(x, [method]))[-1].w, encoder(x))


# --- one w


def test_single_w_is_the_base_vector_of_e4e(x: Tensor) -> None:
    generator, encoder = tiny.generator(), tiny.encoder(channels=3)
    w_plus = invert(x, SinglePass("e4e", encoder, generator), keep="last").w - generator.w_avg
    w = invert(x, SingleW("e4e-w", encoder, generator), keep="last").w - generator.w_avg
    assert (w_plus.std(dim=1) > 0).any(), "else this test shows nothing"
    torch.testing.assert_close(w, w_plus[:, :1].expand_as(w))


def test_e4e_w_borrows_the_encoder_of_e4e() -> None:
    (model,), (lender,) = plan("e4e-w-portrait").models, plan("e4e-portrait").models
    assert (model.name, model.method, model.encoder) == ("e4e-w-portrait", "e4e-w", lender.encoder)
    first, second = plan("restyle-psp", via="e4e-w-portrait,hyperstyle-portrait:5").models
    assert (first.name, second.name) == ("e4e-w-portrait", "hyperstyle-portrait")


# --- HyperStyle


def hypernetwork(targets: tuple[tuple[str, int, int], ...] = TARGETS) -> HyperNetwork:
    torch.manual_seed(3)
    config = HyperConfig(
        styles=8, w_dim=tiny.W_DIM, widths=(4, 4, 4, 4), blocks=(1, 1, 1, 1), input_size=(64, 64),
        targets=targets, sharing=("convs.0", "convs.1"), hidden=4, shared_hidden=4, code=4,
    )  # fmt: skip
    return HyperNetwork(config).eval().requires_grad_(False)


@pytest.fixture
def hyperstyle() -> HyperStyle:
    return HyperStyle("hyperstyle", hypernetwork(), tiny.generator())


def test_deltas_are_summed_and_w_stays(hyperstyle: HyperStyle, x: Tensor) -> None:
    w = hyperstyle.generator.start(3)
    y, total = hyperstyle.generator(w), dict[str, Tensor]()
    *_, state = iterate(x, [hyperstyle] * 3)
    for _ in range(3):
        deltas = hyperstyle.encoder(torch.cat([x, fit(y, (64, 64))], dim=1))
        total = {name: total.get(name, 0) + delta for name, delta in deltas.items()}
        y = hyperstyle.generator(w, patch=total)
    assert torch.equal(state.w, w)
    assert set(state.patch) == {name for name, _, _ in TARGETS}
    for name, delta in state.patch.items():
        torch.testing.assert_close(delta, total[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.image, y, rtol=1e-4, atol=1e-4)
    assert (state.image - hyperstyle.generator(w)).abs().max() > 1e-2


def test_hyperstyle_starts_from_the_w_of_the_previous_method(hyperstyle: HyperStyle, x: Tensor) -> None:
    first = SingleW("e4e-w", tiny.encoder(channels=3), hyperstyle.generator)
    result = invert(x, [first, hyperstyle, hyperstyle], keep="last")
    torch.testing.assert_close(result.w, first.generator.start(3) + first.encoder(x)[:, :1])
    assert [step.method for step in result.steps] == ["start", "e4e-w", "hyperstyle", "hyperstyle"]
    torch.testing.assert_close(result.images, hyperstyle.generator(result.w, patch=result.patch), rtol=1e-4, atol=1e-4)


def test_restyle_after_hyperstyle_keeps_the_weights(hyperstyle: HyperStyle, x: Tensor) -> None:
    second = ReStyle("restyle", tiny.encoder(), hyperstyle.generator)
    _, changed, corrected = iterate(x, [hyperstyle, second])
    assert not torch.equal(corrected.w, changed.w)
    for name, delta in changed.patch.items():
        assert torch.equal(corrected.patch[name], delta)
    torch.testing.assert_close(corrected.image, hyperstyle.generator(corrected.w, patch=changed.patch))


def test_each_image_has_the_weights_of_its_best_step(hyperstyle: HyperStyle, x: Tensor) -> None:
    result = invert(x, [hyperstyle] * 4)
    for index in range(3):
        one = result.one(index)
        torch.testing.assert_close(hyperstyle.generator(one.w, patch=one.patch), one.images, rtol=1e-4, atol=1e-4)


def test_hyperstyle_without_an_average_latent_needs_a_first_method(hyperstyle: HyperStyle, x: Tensor) -> None:
    hyperstyle.generator.w_avg.zero_()
    with pytest.raises(RestyleError, match="needs a first latent") as caught:
        hyperstyle.start(x)
    assert "e4e-w,hyperstyle:5" in (caught.value.hint or "")
    first = SingleW("e4e-w", tiny.encoder(channels=3), hyperstyle.generator)
    assert list(iterate(x, [first, hyperstyle]))[-1].patch


@pytest.mark.parametrize(
    ("target", "message"),
    [(("convs.4", 8, 4), "8x4 channels.*8x8 channels"), (("convs.9", 8, 8), "no such convolution")],
)
def test_a_hypernetwork_of_another_generator_is_refused(target: tuple[str, int, int], message: str) -> None:
    with pytest.raises(RestyleError, match=message):
        HyperStyle("hyperstyle", hypernetwork((*TARGETS[:2], target)), tiny.generator())


# --- ALAE


def test_alae_predicts_w_at_the_size_of_the_generator(tmp_path: Path) -> None:
    torch.manual_seed(0)
    channels = {4: 8, 8: 8, 16: 6, 32: 4}
    generator = StyleGAN1(StyleGAN1Config(32, channels, z_dim=8, w_dim=8, mapping_layers=2, mapping_width=8)).eval()
    generator.w_avg.normal_()
    encoder = ALAEEncoder(ALAEEncoderConfig(styles=8, w_dim=8, input_size=32, widths=(4, 6, 8, 8, 8))).eval()
    method, x = ALAE("alae", encoder, generator), torch.rand(2, 3, 32, 32) * 2 - 1
    assert method.size == (32, 32)
    assert len(invert(x, method).steps) == 2
    state = method.step(x, method.start(x))
    assert torch.equal(state.w, encoder(x)), "not relative to the average"
    assert torch.equal(state.w[:, 0], state.w[:, -1])
    assert torch.equal(state.image, generator(encoder(x)))

    write_module(tmp_path / "alae-generator.safetensors", generator, "stylegan1")
    metadata = {"method": "alae", "absolute": True, "generator": "alae-generator"}
    write_module(tmp_path / "alae.safetensors", encoder, "alae", metadata)
    loaded = load_method(tmp_path / "alae.safetensors")
    assert torch.allclose(loaded.step(x, loaded.start(x)).w, state.w)
