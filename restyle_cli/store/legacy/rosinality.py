"""Convert generators to the layout of rosinality/stylegan2-pytorch, which most tools read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restyle_cli.generators.base import paper_channels
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.ops import fir

LR_MUL = 0.01
"""Learning rate multiplier of the mapping network, a constant in that code."""


def to_rosinality(network: StyleGAN2) -> dict[str, Any]:
    """`{"g_ema": …, "latent_avg": …}` for `torch.save`. The average is [w_dim] if all styles share it, else [L, w_dim].

    Missing noise inputs are written as zeros; the layout has no place for a crop.
    """
    state: dict[str, Tensor] = {}
    source = network.state_dict()
    factor = network.config.mapping_lr_mul / LR_MUL
    for index in range(network.config.mapping_layers):
        for kind in ("weight", "bias"):
            value = source[f"mapping.layers.{index}.{kind}"]
            state[f"style.{index + 1}.{kind}"] = value if factor == 1 else value * factor
    state["input.input"] = source["const"]
    for module, layers, first in (("convs", network.convs, "conv1"), ("to_rgbs", network.to_rgbs, "to_rgb1")):
        for index in range(len(layers)):
            target = first if index == 0 else f"{module}.{index - 1}"
            state[f"{target}.conv.weight"] = source[f"{module}.{index}.weight"][None]
            for kind in ("weight", "bias"):
                state[f"{target}.conv.modulation.{kind}"] = source[f"{module}.{index}.affine.{kind}"]
            bias = source[f"{module}.{index}.bias"]
            if module == "to_rgbs":
                state[f"{target}.bias"] = bias.reshape(1, 3, 1, 1)
                state |= {f"{target}.upsample.kernel": _filter()} if index else {}
                continue
            state[f"{target}.activate.bias"] = bias
            strength = source.get(f"convs.{index}.noise_strength", torch.zeros(()))
            state[f"{target}.noise.weight"] = strength.reshape(1)
            state |= {f"{target}.conv.blur.kernel": _filter()} if index % 2 else {}
            side = 2 ** ((index + 5) // 2)
            state[f"noises.noise_{index}"] = source.get(f"noise_{index}", torch.zeros(1, 1, side, side))
    average = source["w_avg"]
    shared = bool((average == average[:1]).all())
    g_ema = {key: value.cpu().contiguous() for key, value in state.items()}
    return {"g_ema": g_ema, "latent_avg": (average[0] if shared else average).cpu().clone()}


def not_representable(network: StyleGAN2) -> list[str]:
    """Properties of a generator that rosinality's code cannot build, one line each."""
    config, notes = network.config, []
    tables = [paper_channels(config.resolution, base) for base in (16384, 32768)]
    if dict(config.channels) not in tables:
        notes.append("its channel table is not a published one")
    if config.z_dim != config.w_dim:
        notes.append(f"z has {config.z_dim} dimensions, w has {config.w_dim}")
    if not config.noise:
        notes.append("it has no noise inputs; noise strengths of zero were written")
    if config.crop is not None:
        notes.append(f"its crop of {config.crop[0]}x{config.crop[1]} px is not saved")
    return notes


def _filter() -> Tensor:
    """The upsampling filter. That code includes the gain of 4 in it."""
    return fir.kernel(torch.empty((), dtype=torch.float32), gain=4.0)
