"""StyleGAN2 (Karras et al. 2020): generators with rosinality's names, as the ReStyle family saves them, or with
NVIDIA's, and discriminators with rosinality's.

Weights are views of the file's tensors. The low-pass filters are constants of the code: they are checked and dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.ops import fir
from restyle_cli.store.legacy.family import (
    Family,
    check_filter,
    check_images,
    check_unconditional,
    count,
    one_of,
    random_noises,
)
from restyle_cli.store.legacy.state_dicts import AVERAGE, StateDict, number, options

CARS_CROP = (384, 512)
"""Cars are generated in a square of 512 px; the image is these rows of it."""
_LAYER = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
_SAME = r"weight|bias|affine\.weight|affine\.bias"
_FILTER = re.compile(r".*kernel|.*resample_filter")


class StyleGAN2Family(Family):
    """Base of the layouts of StyleGAN2 generators."""

    title = "a StyleGAN2"
    role = "generator"
    network = "stylegan2"

    def check(self, found: StateDict) -> None:
        check_unconditional("StyleGAN2", found.tensors, number(found.opts, "c_dim", 0))
        published = fir.kernel(torch.empty((), dtype=torch.float32))
        for key, value in found.tensors.items():
            if _FILTER.fullmatch(key):
                check_filter("StyleGAN2", found.prefix + key, value.float() / value.float().sum(), published)

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        kind = name.rpartition(".")[2]
        if name.startswith("noise_"):
            return tensor.reshape(1, 1, *tensor.shape[-2:])
        if name == "const":
            return tensor.reshape(1, *tensor.shape[-3:])
        if kind == "noise_strength" and tensor.numel() == 1:
            return tensor.reshape(())
        if name.startswith("to_rgbs.") and kind == "bias":
            return tensor.flatten()
        return tensor[0] if kind == "weight" and tensor.dim() == 5 else tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = 1 + max(int(name.split(".")[1]) for name in tensors if re.match(r"to_rgbs\.\d+\.", name))
        channels = {"4": tensors["const"].shape[1]}
        channels |= {str(4 * 2**b): tensors[f"convs.{2 * b}.weight"].shape[0] for b in range(1, blocks)}
        first = tensors["mapping.layers.0.weight"]
        cars = "cars" in str(found.opts.get("dataset_type", "")) and blocks == 8
        return {
            "resolution": 4 * 2 ** (blocks - 1),
            "channels": channels,
            "z_dim": first.shape[1],
            "w_dim": first.shape[0],
            "mapping_layers": count(tensors, r"mapping\.layers\.\d+\.weight"),
            "mapping_lr_mul": number(options(found.opts.get("mapping_kwargs")), "lr_multiplier", 0.01),
            "noise": any(name.endswith(".noise_strength") for name in tensors),
            "crop": list(CARS_CROP) if cars else None,
        }

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        layers = 2 * int(math.log2(config["resolution"])) - 2
        if config["noise"] and "noise_0" not in tensors:  # as in rosinality's first versions
            tensors |= random_noises(layers - 1, 1, tensors["const"].device)
        if "w_avg" in tensors:
            tensors["w_avg"] = _per_layer(tensors["w_avg"], layers)


def _per_layer(average: Tensor, layers: int) -> Tensor:
    """The average w as [L, w_dim], from [w_dim], [1, w_dim] or [L, w_dim]; e4e's for cars has more rows than needed."""
    rows = average.reshape(-1, average.shape[-1]) if average.dim() else average
    if rows.dim() == 2 and rows.shape[0] == 1:
        return rows.expand(layers, -1).contiguous()
    if rows.dim() == 2 and rows.shape[0] >= layers:
        return rows[:layers]
    raise RestyleError(f"the average latent has shape {list(average.shape)}, its generator takes {layers} rows")


class RosinalityStyleGAN2(StyleGAN2Family):
    """The layout of rosinality's StyleGAN2, which pSp, e4e and ReStyle use."""

    keys = ("input.input", "conv1.conv.weight", "to_rgb1.conv.weight")
    renames = (
        ("input.input", "const"),
        (r".*kernel", None),
        (r"style\.(\d+)\.(weight|bias)", lambda m: f"mapping.layers.{int(m[1]) - 1}.{m[2]}"),
        (r"noises\.noise_(\d+)", r"noise_\1"),
        (rf"(conv|to_rgb)1\.({one_of(_LAYER)})", lambda m: f"{m[1]}s.0.{_LAYER[m[2]]}"),
        (rf"(conv|to_rgb)s\.(\d+)\.({one_of(_LAYER)})", lambda m: f"{m[1]}s.{int(m[2]) + 1}.{_LAYER[m[3]]}"),
    )

    def check(self, found: StateDict) -> None:
        super().check(found)
        check_images("StyleGAN2", found.tensors["input.input"], found.tensors["to_rgb1.conv.weight"])

    def renamed(self, found: StateDict) -> tuple[dict[str, Tensor], dict[str, str]]:
        tensors, names = super().renamed(found)
        if found.average is not None:
            tensors["w_avg"], names["w_avg"] = found.average, AVERAGE
        return tensors, names

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        drawn = config["noise"] and "noises.noise_0" not in found.tensors
        return {"noise": "not in the file, drawn"} if drawn else {}


class NvidiaStyleGAN2(StyleGAN2Family):
    """The layout of NVIDIA's stylegan2-ada-pytorch."""

    keys = ("synthesis.b4.const",)
    renames = (
        ("synthesis.b4.const", "const"),
        ("mapping.w_avg", "w_avg"),
        (r".*resample_filter", None),
        (r"mapping\.fc(\d+)\.(weight|bias)", r"mapping.layers.\1.\2"),
        (rf"synthesis\.b(\d+)\.torgb\.({_SAME})", lambda m: f"to_rgbs.{_block(m)}.{m[2]}"),
        (rf"synthesis\.b(\d+)\.conv([01])\.({_SAME}|noise_strength)", lambda m: f"convs.{_layer(m)}.{m[3]}"),
        (r"synthesis\.b(\d+)\.conv([01])\.noise_const", lambda m: f"noise_{_layer(m)}"),
    )

    def check(self, found: StateDict) -> None:
        super().check(found)
        check_images("StyleGAN2", found.tensors["synthesis.b4.const"], found.tensors["synthesis.b4.torgb.weight"])
        synthesis = options(found.opts.get("synthesis_kwargs"))
        for option, published in (("architecture", "skip"), ("activation", "lrelu")):
            if (value := synthesis.get(option, published)) != published:
                raise RestyleError(f"this StyleGAN2 has {option} '{value}'; restyle supports '{published}' only")

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        """The clamp of activations, which only half precision needs: it is not applied here."""
        synthesis = options(found.opts.get("synthesis_kwargs"))
        return {key: synthesis[key] for key in ("conv_clamp", "num_fp16_res") if isinstance(synthesis.get(key), int)}


def _block(match: re.Match[str]) -> int:
    """0 for the block of 4 px, 1 for that of 8 px, …"""
    return int(match[1]).bit_length() - 3


def _layer(match: re.Match[str]) -> int:
    return 2 * _block(match) - (match[2] == "0")  # the block of 4 px has no conv0


class StyleGAN3(Family):
    """NVIDIA's StyleGAN3, which is recognised and refused."""

    title = "a StyleGAN3"
    role = "generator"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return any(key.startswith(("synthesis.input.", "synthesis.L0_")) for key in state)

    def check(self, found: StateDict) -> None:
        raise RestyleError("this is a StyleGAN3, which restyle does not support", "use a StyleGAN2 of the same data")


class StyleGAN2DiscriminatorFamily(Family):
    """The discriminator of rosinality's StyleGAN2."""

    title = "a StyleGAN2 discriminator"
    role = "discriminator"
    network = "stylegan2-discriminator"
    keys = ("convs.0.0.weight", "final_conv.0.weight", "final_linear.1.weight")
    renames = (
        (r".*\.kernel", None),
        (r"convs\.0\.[01]\.(weight|bias)", r"from_rgb.\1"),
        (r"convs\.(\d+)\.(conv1|conv2|skip)\.\d\.(weight|bias)", lambda m: f"blocks.{int(m[1]) - 1}.{m[2]}.{m[3]}"),
        (r"final_conv\.[01]\.(weight|bias)", r"final_conv.\1"),
        (r"final_linear\.0\.(weight|bias)", r"final_linear.\1"),
        (r"final_linear\.1\.(weight|bias)", r"output.\1"),
    )

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        return tensor.flatten() if name.endswith(".bias") else tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = count(tensors, r"blocks\.\d+\.skip\.weight")
        outputs = [tensors[f"blocks.{index}.conv2.weight"].shape[0] for index in reversed(range(blocks))]
        return {"channels": [*outputs, tensors["from_rgb.weight"].shape[0]]}
