"""The small hypernetwork: untrained it changes nothing, it learns, and files bring it back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.encoders.hyper import SmallHyperConfig, SmallHyperNetwork, choose_targets
from restyle_cli.errors import RestyleError
from restyle_cli.inversion import invert, iterate, l2
from restyle_cli.methods.encoder import HyperStyle, SingleW
from restyle_cli.store.files import read_module, write_module

TARGETS = (("convs.0", 8, 8), ("convs.1", 8, 8), ("convs.4", 8, 8))
CONFIG = SmallHyperConfig(
    styles=8, w_dim=tiny.W_DIM, input_size=16, widths=(8, 8), blocks=(1, 1), hidden=16,
    targets=TARGETS, sharing=("convs.0", "convs.1"), code=4,
)  # fmt: skip


def images(n: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network(trained: bool = True) -> SmallHyperNetwork:
    torch.manual_seed(0)
    made = SmallHyperNetwork(CONFIG)
    if trained:
        with torch.no_grad():
            for weight in (made.kernels.w1, *(factor.weight for factor in made.factors.values())):
                weight.normal_(std=0.2)
    return made.eval()


def test_a_delta_for_each_target() -> None:
    deltas = network()(images(channels=6))
    assert {name: tuple(delta.shape) for name, delta in deltas.items()} == {
        "convs.0": (2, 8, 8, 3, 3), "convs.1": (2, 8, 8, 3, 3), "convs.4": (2, 8, 8, 1, 1),
    }  # fmt: skip
    for delta in deltas.values():
        assert not torch.allclose(delta[0], delta[1])  # each image has its own
    assert not torch.allclose(deltas["convs.0"], deltas["convs.1"])  # and each of those that share


def test_untrained_it_changes_nothing() -> None:
    method = HyperStyle("hyperstyle", network(trained=False), tiny.generator())
    start, *_, last = iterate(images(), [method] * 3)
    assert all(delta.abs().max() == 0 for delta in last.patch.values())
    torch.testing.assert_close(last.image, start.image, rtol=1e-4, atol=1e-4)


def test_it_learns_from_there_to_make_the_image_alike() -> None:
    """One backward pass at each step of the loop, as it is trained; a W encoder finds the code."""
    made, x = network(trained=False).train(), images()
    generator = tiny.generator()
    first = SingleW("e4e-w", tiny.encoder(channels=3), generator)
    method = HyperStyle("hyperstyle", made, generator)
    optimiser = torch.optim.Adam(made.parameters(), lr=2e-3)
    for _ in range(40):
        optimiser.zero_grad()
        for k, state in enumerate(iterate(x, [first, method, method])):
            if k > 1:
                l2(x, state.image).mean().backward()
        optimiser.step()
    assert all(parameter.grad is not None for parameter in made.parameters())
    before, *after = (float(step.l2.mean()) for step in invert(x, [first, method, method]).steps[1:])
    assert after[-1] < 0.8 * before


def test_every_weight_gets_a_gradient_once_it_is_no_longer_new() -> None:
    made = network().train()
    sum(delta.square().sum() for delta in made(images(channels=6)).values()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_files_bring_it_back(tmp_path: Path) -> None:
    made = network()
    write_module(tmp_path / "hyper.safetensors", made, "small-hyper", {"method": "hyperstyle"})
    again = read_module(tmp_path / "hyper.safetensors", role="encoder")
    assert again.config == made.config
    x = images(channels=6)
    for name, delta in made(x).items():
        assert torch.equal(again(x)[name], delta)


def test_targets_of_a_generator() -> None:
    shapes = {"convs.0": (8, 8), "convs.1": (8, 8), "convs.2": (6, 8), "to_rgbs.0": (3, 8)}
    chosen = choose_targets(shapes)
    assert chosen["targets"] == (("convs.0", 8, 8), ("convs.1", 8, 8), ("convs.2", 6, 8))
    assert chosen["sharing"] == ("convs.0", "convs.1")
    assert choose_targets({"convs.0": (8, 8), "convs.1": (6, 8)})["sharing"] == ()
    HyperStyle("h", SmallHyperNetwork(dataclasses.replace(CONFIG, **choose_targets(tiny.generator().conv_shapes()))),
               tiny.generator())  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"targets": ()}, "at least one convolution"),
        ({"sharing": ("convs.9",)}, "shares among those"),
        ({"code": 0}, "`code` of a hypernetwork must be a positive integer"),
        ({"input_size": 32}, "read 16 px"),
    ],
)
def test_impossible_ones_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RestyleError, match=sentence):
        dataclasses.replace(CONFIG, **change)
