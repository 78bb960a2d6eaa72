"""StyleGAN2 generators in the names of rosinality's code (as the ReStyle family keeps them) and of NVIDIA's.

Both are the same network: weights are views of the file's, none is turned or scaled. The low-pass filters are
constants of the code and left out, after a look whether they are the published ones.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.ops import fir
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.limits import check_images, check_unconditional
from restyle_cli.store.legacy.state_dicts import number, options
from restyle_cli.store.spaces import GUESSED

CARS_CROP = (384, 512)
"""Cars are drawn in a square of 512 px, of which these rows are the picture."""
_INSIDE = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
_NVIDIA_INSIDE = ("weight", "bias", "affine.weight", "affine.bias", "noise_strength", "noise_const")
_AVERAGES = ("latent_avg", "mapping.w_avg")
_FIRST_LAYERS = (
    "style.1.weight",
    "mapping.fc0.weight",
    "mapping.dense0.fc.weight",
    "mapping_fl_s.map_blocks.0.fc.weight",
)
"""Of mapping networks, in every layout that is read."""


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The generator that these tensors are (`latent_avg` among them), with their names here; None if they are none.

    RestyleError for a relative of StyleGAN2 that cannot be used.
    """
    if "synthesis.b4.const" in keys:
        check_unconditional("StyleGAN2", keys, number(opts, "c_dim", 0))
        _check_nvidia(opts)
        check_images("StyleGAN2", keys["synthesis.b4.const"], keys["synthesis.b4.torgb.weight"])
        return _part(keys, opts, nvidia_name)
    if any(key.startswith(("synthesis.input.", "synthesis.L0_")) for key in keys):
        raise RestyleError(
            "this is a StyleGAN3, which restyle does not support", "a StyleGAN2 of the same data will do"
        )
    if {"input.input", "conv1.conv.weight", "to_rgb1.conv.weight"} <= set(keys):
        check_unconditional("StyleGAN2", keys)
        check_images("StyleGAN2", keys["input.input"], keys["to_rgb1.conv.weight"])
        return _part(keys, opts, rosinality_name)
    return None


def latent_space(keys: Mapping[str, Tensor]) -> str | None:
    """A name that generators with one mapping network share, as the first layer of it says.

    Encoders trained for one generator carry copies of it, and fine-tuning usually leaves the mapping alone.
    """
    first = next((keys[name] for name in _FIRST_LAYERS if name in keys), None)
    if first is None:
        return None
    return f"{GUESSED}{hashlib.sha256(first.float().contiguous().numpy().tobytes()).hexdigest()[:12]}"


def rename(theirs: Mapping[str, Tensor], name_of: Callable[[str], str | None]) -> dict[str, Tensor]:
    """The tensors under our names and in our shapes, all views; those whose name is None are left out."""
    ours = {}
    for key, value in theirs.items():
        if (name := name_of(key)) is not None:
            ours[name] = _in_our_shape(name, value)
    return ours


def rosinality_name(key: str) -> str | None:
    """Our name of a tensor in rosinality's code; None for filters. Unknown ones keep theirs, to be found left over."""
    if key == "input.input":
        return "const"
    if key.endswith("kernel"):
        return None
    if found := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
        return f"mapping.layers.{int(found[1]) - 1}.{found[2]}"
    if found := re.fullmatch(r"noises\.noise_(\d+)", key):
        return f"noise_{found[1]}"
    found = re.fullmatch(r"(conv|to_rgb)(?:1|s\.(\d+))\.(.+)", key)
    if found and found[3] in _INSIDE:
        return f"{found[1]}s.{int(found[2]) + 1 if found[2] else 0}.{_INSIDE[found[3]]}"
    return key


def nvidia_name(key: str) -> str | None:
    """Our name of a tensor in NVIDIA's PyTorch code; None for filters. Unknown ones keep theirs."""
    if key == "synthesis.b4.const":
        return "const"
    if key.endswith("resample_filter"):
        return None
    if found := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
        return f"mapping.layers.{found[1]}.{found[2]}"
    found = re.fullmatch(r"synthesis\.b(\d+)\.(conv[01]|torgb)\.(.+)", key)
    if not found or found[3] not in _NVIDIA_INSIDE:
        return key
    block = int(found[1]).bit_length() - 3  # 0 at 4 px, which has no conv0
    if found[2] == "torgb":
        return f"to_rgbs.{block}.{found[3]}"
    index = 2 * block - (found[2] == "conv0")
    return f"noise_{index}" if found[3] == "noise_const" else f"convs.{index}.{found[3]}"


def _in_our_shape(name: str, value: Tensor) -> Tensor:
    last = name.rpartition(".")[2]
    if name.startswith("noise_"):
        return value.reshape(1, 1, *value.shape[-2:])
    if name == "const":
        return value.reshape(1, *value.shape[-3:])
    if last == "noise_strength":
        return value.reshape(()) if value.numel() == 1 else value
    if name.startswith("to_rgbs.") and last == "bias":
        return value.flatten()
    return value[0] if last == "weight" and value.dim() == 5 else value


def _part(keys: Mapping[str, Tensor], opts: Mapping[str, Any], name_of: Callable[[str], str | None]) -> Part:
    for key, value in keys.items():
        if name_of(key) is None:
            _check_filter(key, value)
    bare = {key: value for key, value in keys.items() if key not in _AVERAGES}
    tensors = rename(bare, name_of)
    try:
        config = _config(tensors, opts)
    except (LookupError, ValueError) as error:
        raise RestyleError("a StyleGAN2 whose layers are not whole", "fetch the file again") from error
    extra = _notes(opts)
    if config["noise"] and "noise_0" not in tensors:
        tensors |= _drawn_noises(config["resolution"], tensors["const"].device)
        extra["noise"] = "not in the file, drawn"
    names = {name_of(key) or key: key for key in bare}
    if (average := next((name for name in _AVERAGES if name in keys), None)) is not None:
        tensors["w_avg"] = _average(keys[average], 2 * int(math.log2(config["resolution"])) - 2)
        names["w_avg"] = average
    return Part("generator", "stylegan2", config, tensors, extra, names)


def _config(tensors: Mapping[str, Tensor], opts: Mapping[str, Any]) -> dict[str, Any]:
    blocks = 1 + max(int(key.split(".")[1]) for key in tensors if re.match(r"to_rgbs\.\d+\.", key))
    channels = {"4": tensors["const"].shape[1]}
    channels |= {str(4 * 2**b): tensors[f"convs.{2 * b}.weight"].shape[0] for b in range(1, blocks)}
    first = tensors["mapping.layers.0.weight"]
    cars = "cars" in str(opts.get("dataset_type", "")) and blocks == 8
    return {
        "resolution": 4 * 2 ** (blocks - 1),
        "channels": channels,
        "z_dim": first.shape[1],
        "w_dim": first.shape[0],
        "mapping_layers": sum(re.fullmatch(r"mapping\.layers\.\d+\.weight", key) is not None for key in tensors),
        "mapping_lr_mul": number(options(opts.get("mapping_kwargs")), "lr_multiplier", 0.01),
        "noise": any(key.endswith(".noise_strength") for key in tensors),
        "crop": list(CARS_CROP) if cars else None,
    }


def _check_nvidia(opts: Mapping[str, Any]) -> None:
    synthesis = options(opts.get("synthesis_kwargs"))
    for option, published in (("architecture", "skip"), ("activation", "lrelu")):
        if (value := synthesis.get(option, published)) != published:
            raise RestyleError(f"this StyleGAN2 was made with {option} '{value}'; restyle draws those with {published}")


def _notes(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Of NVIDIA's networks: activations beyond the clamp, which half precision needs, are not cut off here."""
    synthesis = options(opts.get("synthesis_kwargs"))
    return {key: synthesis[key] for key in ("conv_clamp", "num_fp16_res") if isinstance(synthesis.get(key), int)}


def _check_filter(key: str, value: Tensor) -> None:
    if value.is_meta:
        return
    published = fir.kernel(torch.empty((), dtype=torch.float32))
    if value.shape != published.shape or not torch.allclose(value.float() / value.float().sum(), published, atol=1e-4):
        raise RestyleError(f"the filter '{key}' is another than StyleGAN2's", "restyle draws with the published one")


def _drawn_noises(resolution: int, device: torch.device) -> dict[str, Tensor]:
    """Files of rosinality's first versions have no noise maps: some are drawn, always the same."""
    generator = torch.Generator().manual_seed(0)
    count = 2 * int(math.log2(resolution)) - 3
    sides = (2 ** ((index + 5) // 2) for index in range(count))
    return {f"noise_{i}": torch.randn(1, 1, s, s, generator=generator).to(device) for i, s in enumerate(sides)}


def _average(average: Tensor, layers: int) -> Tensor:
    """[L, w_dim] from [L, w_dim] or, for all styles, [1, w_dim] or [w_dim]. A longer one is cut, as e4e's for cars."""
    rows = average.reshape(-1, average.shape[-1]) if average.dim() else average
    if rows.dim() == 2 and rows.shape[0] == 1:
        return rows.expand(layers, -1).contiguous()
    if rows.dim() == 2 and rows.shape[0] >= layers:
        return rows[:layers]
    raise RestyleError(f"the average code has shape {list(average.shape)}, its generator takes {layers} rows")
