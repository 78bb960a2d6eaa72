"""HyperStyle's deltas, codes and refined pictures against those of the original code, through the renamed weights."""

from __future__ import annotations

import parity
import published
import pytest
import torch

from restyle_cli.inversion import iterate
from restyle_cli.methods.encoder import HyperStyle, SingleW

# In the original's order: conv1, to_rgb1, then up conv, conv and to_rgb of each resolution.
LAYERS = ["convs.0", "rgb"] + [name for i in range(1, 13, 2) for name in (f"convs.{i}", f"convs.{i + 1}", "rgb")]
UNREPEATED = r"(?!hypernet\.refinement_blocks\.\d+\.hypernet\.)"
"""The shared network is in the file under ten names; making it once is slow enough."""


def check_separable(layers: tuple[int, ...], wanted: str) -> None:
    check = published.checker("hypernet_separable_256")
    weights = parity.weights("hyperstyle_separable_256", published.matching(wanted))
    network = published.one_layer_or_hyper(weights, output_size=256)
    deltas = network(torch.cat([parity.picture("x"), parity.picture("y")], dim=1))
    for layer in layers:
        check(f"delta_layer{layer}", deltas[LAYERS[layer]])


def test_separable_heads_give_the_originals_deltas() -> None:
    check_separable((17, 18), r"hypernet\.(?!shared|refinement)|hypernet\.refinement_blocks\.1[78]\.")


@pytest.mark.slow
def test_separable_and_shared_heads_give_the_originals_deltas() -> None:
    check_separable((0, 12, 14, 15, 17, 18), UNREPEATED + r"hypernet\.")


@pytest.mark.slow
def test_two_refinements_are_the_originals() -> None:
    check = published.checker("hyperstyle_256")
    weights = parity.weights("hyperstyle_ffhq_256", published.matching(UNREPEATED))
    generator = published.generator(weights, "latent_avg", resolution=256)
    w_encoder = published.one_layer_or_hyper(parity.weights("hyperstyle_w_encoder_256"), output_size=256)
    first = SingleW("e4e-w", w_encoder, generator)
    method = HyperStyle("hyperstyle", published.one_layer_or_hyper(weights, output_size=256), generator)
    _, start, *states = iterate(parity.picture("x"), [first, method, method])
    check("w_codes", start.w)
    check("w_inversion", start.image)
    for step, state in enumerate(states):
        check(f"image{step}", state.image[0])
        check(f"latent{step}", state.w[0])
        for layer in (0, 2, 12, 14, 15, 17, 18) if step == 0 else (0, 14):
            check(f"delta{step}_layer{layer}", state.patch[LAYERS[layer]][0].expand(-1, -1, 3, 3))
    tuned = [name in states[0].patch for name in LAYERS]
    assert tuned == parity.outputs("hyperstyle_256")["tuned"].astype(bool).tolist()
