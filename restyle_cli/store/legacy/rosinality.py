"""Our generators in the layout of rosinality's code, which most tools of the field read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from restyle_cli.generators.stylegan2 import StyleGAN2, paper_channels
from restyle_cli.ops import fir

LR_MUL = 0.01
"""Of the mapping network, in that code always."""
Z_DIM = 512


def to_rosinality(network: StyleGAN2) -> dict[str, Any]:
    """`{"g_ema": …, "latent_avg": …}`, to be written with `torch.save`. The average is [w_dim] if all styles share it.

    Noise inputs that a network does without are written as zeros; its crop cannot be told.
    """
    state: dict[str, Tensor] = {}
    own = network.state_dict()
    factor = network.config.mapping_lr_mul / LR_MUL
    for index in range(network.config.mapping_layers):
        for kind in ("weight", "bias"):
            value = own[f"mapping.layers.{index}.{kind}"]
            state[f"style.{index + 1}.{kind}"] = value if factor == 1 else value * factor
    state["input.input"] = own["const"]
    for room, layers, first in (("convs", network.convs, "conv1"), ("to_rgbs", network.to_rgbs, "to_rgb1")):
        for index in range(len(layers)):
            theirs = first if index == 0 else f"{room}.{index - 1}"
            convolution = {key: own[f"{room}.{index}.{key}"] for key in ("weight", "affine.weight", "affine.bias")}
            state |= _convolution(theirs, convolution)
            bias = own[f"{room}.{index}.bias"]
            if room == "to_rgbs":
                state[f"{theirs}.bias"] = bias.reshape(1, 3, 1, 1)
                state |= {f"{theirs}.upsample.kernel": _filter()} if index else {}
                continue
            state[f"{theirs}.activate.bias"] = bias
            strength = own.get(f"convs.{index}.noise_strength", torch.zeros(()))
            state[f"{theirs}.noise.weight"] = strength.reshape(1)
            state |= {f"{theirs}.conv.blur.kernel": _filter()} if index % 2 else {}
            side = 2 ** ((index + 5) // 2)
            state[f"noises.noise_{index}"] = own.get(f"noise_{index}", torch.zeros(1, 1, side, side))
    average = own["w_avg"]
    shared = bool((average == average[:1]).all())
    g_ema = {key: value.cpu().contiguous() for key, value in state.items()}
    return {"g_ema": g_ema, "latent_avg": (average[0] if shared else average).cpu().clone()}


def not_representable(network: StyleGAN2) -> list[str]:
    """In what a network differs from all that rosinality's code can build, one line each; mostly nothing."""
    config, said = network.config, []
    tables = [paper_channels(config.resolution, base) for base in (16384, 32768)]
    if dict(config.channels) not in tables:
        said.append("its channel table is none of the published ones")
    if config.z_dim != config.w_dim:
        said.append(f"z has {config.z_dim} numbers, w has {config.w_dim}")
    if not config.noise:
        said.append("it takes no noise; strengths of zero were written")
    if config.crop is not None:
        said.append(f"its crop of {config.crop[0]}x{config.crop[1]} px is not written down")
    return said


def _convolution(theirs: str, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"{theirs}.conv.weight": ours["weight"][None],
        f"{theirs}.conv.modulation.weight": ours["affine.weight"],
        f"{theirs}.conv.modulation.bias": ours["affine.bias"],
    }


def _filter() -> Tensor:
    """That code keeps the gain of its upsampling filters inside them."""
    return fir.kernel(torch.empty((), dtype=torch.float32), gain=4.0)
