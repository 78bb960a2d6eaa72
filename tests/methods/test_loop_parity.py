"""Codes and pictures of whole inversions, step by step, against those of the original code.

Making the weights is what takes time (`slow`); those of the encoders with one linear layer are few.
"""

from __future__ import annotations

import parity
import published
import pytest
import torch
from golden import fill

from restyle_cli.images import fit
from restyle_cli.inversion import State, iterate
from restyle_cli.methods.encoder import ReStyle, SinglePass


def run(case: str, height: int = 256, pictures: int = 1, **opts: object) -> list[State]:
    """The states of a case's ReStyle loop, the start first; `opts` go to the encoder's configuration."""
    about = parity.case(case)
    weights = parity.weights(about["manifest"])
    styles = about["outputs"]["latent0"]["shape"][1]
    resolution = 2 ** (styles // 2 + 1)
    crop = (resolution * height // 256, resolution) if height < 256 else None
    method = ReStyle(
        "restyle",
        published.encoder(weights, styles=styles, input_size=(height, 256), **opts),
        published.generator(weights, "latent_avg", resolution=resolution, crop=crop),
    )
    assert method.size == (height, 256)
    x = torch.from_numpy(fill.image("x", (pictures, 3, height, 256)))
    return list(iterate(x, [method] * about["options"]["n_iters_per_batch"]))


def compare(case: str, states: list[State], size: tuple[int, int] | None = None) -> None:
    """Hold each step against the case's, its picture pooled to `size` where that is given."""
    check = published.checker(case)
    average = states[0].image[:1]
    check("avg_image", fit(average, (256 * average.shape[2] // average.shape[3], 256))[0])
    for step, state in enumerate(states[1:]):
        check(f"latent{step}", state.w)
        check(f"image{step}", state.image if size is None else fit(state.image, size))


def single_pass(case: str, average_rows: int = 14, **opts: object) -> None:
    """Hold codes and picture of a single pass against the case's."""
    about, check = parity.case(case), published.checker(case)
    weights = parity.weights(about["manifest"])
    if "encoder.styles.0.linear.weight" in weights:
        encoder = published.encoder(weights, styles=14, input_channels=3, **opts)
    else:
        encoder = published.one_layer_or_hyper(weights, output_size=256)
    generator = published.generator(weights, None, resolution=256)
    generator.w_avg = published.latent_avg("latent_avg", average_rows).expand(14, -1)
    method = SinglePass("psp", encoder, generator)
    x = parity.picture("x")
    _, state = iterate(x, [method])
    if "codes" in about["outputs"]:
        codes = encoder(x)
        check("codes", codes[:, 0] if about["outputs"]["codes"]["shape"] == [1, 512] else codes)
    check("latent", state.w)
    check("image", state.image)


def test_psp_into_w() -> None:
    single_pass("psp_w_256", average_rows=1)


def test_psp_into_w_plus_by_one_layer() -> None:
    single_pass("psp_wplus_256")


@pytest.mark.slow
def test_psp() -> None:
    single_pass("psp_gradual_256")


@pytest.mark.slow
def test_e4e() -> None:
    single_pass("e4e_256", codes="e4e")


@pytest.mark.slow
def test_five_steps() -> None:
    compare("loop_psp_256", run("loop_psp_256"))


@pytest.mark.slow
def test_three_steps_of_e4e() -> None:
    compare("loop_e4e_256", run("loop_e4e_256", codes="e4e"))


@pytest.mark.slow
def test_a_batch_through_resnet34() -> None:
    compare("loop_e4e_church_256", run("loop_e4e_church_256", pictures=2, codes="e4e", backbone="resnet34"))


@pytest.mark.slow
def test_cars() -> None:
    states = run("loop_psp_cars_512", height=192, backbone="resnet34")
    compare("loop_psp_cars_512", states)
    compare("loop_psp_cars_512_resized", states, size=(192, 256))


@pytest.mark.slow
def test_official_ffhq_layout() -> None:
    compare("loop_psp_1024", run("loop_psp_1024"))


@pytest.mark.slow
def test_bootstrapping() -> None:
    check = published.checker("bootstrap_256")
    methods = []
    for salt in ("", "toon"):
        weights = parity.weights("restyle_psp_ffhq_256", salt=salt)
        generator = published.generator(weights, "latent_avg", resolution=256)
        methods.append(ReStyle(f"restyle{salt}", published.encoder(weights, styles=14), generator))
    methods[1].generator.w_avg.fill_(float("nan"))  # the second network's average code is never looked at
    states = list(iterate(parity.picture("x"), [methods[0], methods[1], methods[1]]))
    for step, state in enumerate(states[1:]):
        check(f"latent{step}", state.w)
        check(f"image{step}", state.image[0])
