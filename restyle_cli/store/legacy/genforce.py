"""Files of in-domain inversion (Zhu et al. 2020) as published for PyTorch.

Generators are those of the first StyleGAN; beside the encoders there is the VGG-16 that compares pictures.

Tensors are views of the file's. Only kernels that were made for a transposed convolution, from 128 px on, are turned,
and so copied: here every kernel is one of a convolution.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.ops.adain import TAPS
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.limits import check_images, check_unconditional

METHOD = "idinvert"
_EPILOGUE = {
    "epilogue.apply_noise.weight": "noise_strength",
    "epilogue.bias": "bias",
    "epilogue.style_mod.dense.fc.weight": "affine.weight",
    "epilogue.style_mod.dense.wscale.bias": "affine.bias",
    "conv.weight": "weight",
    "weight": "weight",
}
_BLOCK = {
    "conv.weight": "shortcut.weight",
    "bn": "shortcut_norm",
    "conv1.weight": "conv1.weight",
    "wscale1.bias": "conv1.bias",
    "bn1": "norm1",
    "conv2.weight": "conv2.weight",
    "wscale2.bias": "conv2.bias",
    "bn2": "norm2",
}
_LEFT_OUT = re.compile(r"synthesis\.lod|truncation\..+|.+\.blur\.kernel")


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The generator, encoder or VGG-16 that these tensors are, with their names here; None if they are none of them.

    `opts` is not looked at: such files have none. RestyleError for a relative that cannot be used.
    """
    try:
        if "synthesis.layer0.const" in keys:
            return _generator(keys)
        if {"block0.conv.weight", "block1.wscale1.bias"} <= set(keys):
            return _encoder(keys)
        if {"layer0.weight", "layer2.weight", "layer21.weight"} <= set(keys):
            return _vgg16(keys)
    except (LookupError, ValueError) as error:
        raise RestyleError("a network of in-domain inversion whose layers are not whole", "fetch it again") from error
    return None


# --- generators


def generator_name(key: str) -> str | None:
    """Our name of a tensor; None for what is no part of the network here. Unknown ones keep theirs."""
    if key == "synthesis.layer0.const":
        return "const"
    if _LEFT_OUT.fullmatch(key):
        return None
    if found := re.fullmatch(r"mapping\.dense(\d+)\.(fc\.weight|wscale\.bias)", key):
        return f"mapping.layers.{found[1]}.{found[2].rpartition('.')[2]}"
    if found := re.fullmatch(r"synthesis\.output(\d+)\.(?:conv\.)?(weight|bias)", key):
        return f"to_rgbs.{found[1]}.{found[2]}"
    if found := re.fullmatch(r"synthesis\.layer(\d+)\.epilogue\.apply_noise\.noise", key):
        return f"noise_{found[1]}"
    if (found := re.fullmatch(r"synthesis\.layer(\d+)\.(.+)", key)) and found[2] in _EPILOGUE:
        return f"convs.{found[1]}.{_EPILOGUE[found[2]]}"
    return key


def _generator(keys: Mapping[str, Tensor]) -> Part:
    _check(keys)
    names = {name: key for key in keys if (name := generator_name(key)) is not None}
    tensors = {name: _as_ours(key, keys[key]) for name, key in names.items()}
    config = _generator_config(tensors)
    average = keys.get("truncation.w_avg")
    if average is not None and (average.is_meta or bool(average.any())):
        tensors["w_avg"] = average.expand(2 * len(config["channels"]), -1)
    return Part("generator", "stylegan1", config, tensors, {}, names)


def _as_ours(key: str, value: Tensor) -> Tensor:
    if re.fullmatch(r"synthesis\.layer\d+\.weight", key):  # [3, 3, I, O], turned
        return value.permute(3, 2, 0, 1).flip(2, 3)
    return value


def _generator_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = sum(re.fullmatch(r"to_rgbs\.\d+\.bias", name) is not None for name in tensors)
    mapping = [tensors[f"mapping.layers.{i}.weight"] for i in range(sum(map(_is_mapping, tensors)))]
    w_dim = tensors["convs.0.affine.weight"].shape[1]
    per_style = mapping[-1].shape[0] > w_dim
    return {
        "resolution": 4 * 2 ** (blocks - 1),
        "channels": {str(4 * 2**b): tensors[f"convs.{2 * b}.bias"].shape[0] for b in range(blocks)},
        "z_dim": mapping[0].shape[1],
        "w_dim": w_dim,
        "mapping_layers": len(mapping),
        "mapping_width": mapping[0].shape[0] if len(mapping) > 1 else w_dim,
        "per_style": per_style,
        # Files do not tell. Those published with a w for each style end in one, the official networks do not.
        "tanh": per_style,
    }


def _is_mapping(name: str) -> bool:
    return re.fullmatch(r"mapping\.layers\.\d+\.weight", name) is not None


def _check(keys: Mapping[str, Tensor]) -> None:
    """RestyleError for what this network's drawing would not show."""
    check_unconditional("StyleGAN", keys)
    check_images("StyleGAN", keys["synthesis.layer0.const"], keys["synthesis.output0.conv.weight"])
    lod = keys.get("synthesis.lod")
    if lod is not None and not lod.is_meta and float(lod) > 0:
        raise RestyleError(f"this StyleGAN was not grown to its full size: lod {float(lod):g}", "use the finished one")
    taps = torch.tensor(TAPS)
    published = torch.outer(taps, taps) / taps.sum() ** 2
    for key, value in keys.items():
        if not key.endswith(".blur.kernel") or value.is_meta:
            continue
        if value.shape[-2:] != published.shape or not torch.allclose(value.float(), published, atol=1e-4):
            raise RestyleError(f"the filter '{key}' is another than StyleGAN's", "restyle draws with the published one")


# --- encoders


def encoder_name(key: str, blocks: int) -> str:
    """Our name of a tensor of an encoder with `blocks` blocks, the first and the last among them."""
    found = re.fullmatch(r"block(\d+)\.(.+)", key)
    if found is None:
        return key
    index, inside = int(found[1]), found[2]
    part, norm, kind = inside.partition(".bn.")  # "bn1.bn.running_mean": the norm lies in a module of its own
    if index == 0:
        return f"stem_norm.{kind}" if norm else inside.replace("conv.", "stem.")
    if index == blocks - 1:
        return f"last_norm.{kind}" if norm else inside.replace("fc.", "last.")
    return f"blocks.{index - 1}." + (f"{_BLOCK.get(part, part)}.{kind}" if norm else _BLOCK.get(inside, inside))


def _encoder(keys: Mapping[str, Tensor]) -> Part:
    blocks = 1 + max(int(found[1]) for key in keys if (found := re.match(r"block(\d+)\.", key)))
    if f"block{blocks - 1}.bn.bn.bias" not in keys:
        raise RestyleError("an encoder of in-domain inversion without batch norms", "the published ones have them")
    names = {encoder_name(key, blocks): key for key in keys}
    first = keys["block0.conv.weight"]
    widths = [first.shape[0]] + [keys[f"block{i}.conv2.weight"].shape[0] for i in range(1, blocks - 1)]
    size = 4 * 2 ** (len(widths) - 1)
    styles = 2 * (size.bit_length() - 1) - 2
    config = {
        "input_channels": first.shape[1],
        "styles": styles,
        "w_dim": keys[f"block{blocks - 1}.fc.weight"].shape[0] // styles,
        "input_size": size,
        "widths": widths,
    }
    extra = {"method": METHOD, "absolute": True}
    return Part("encoder", "idinvert", config, {name: keys[key] for name, key in names.items()}, extra, names)


# --- the perceptual distance


def _vgg16(keys: Mapping[str, Tensor]) -> Part:
    """Layers are counted with rectifiers and poolings; those behind conv4_3 are not used."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
    kinds = ("weight", "bias")
    names = {f"convs.{index}.{kind}": f"layer{place}.{kind}" for index, place in enumerate(places) for kind in kinds}
    tensors = {name: keys[key] for name, key in names.items()}
    config = {"widths": [tensors[f"convs.{index}.bias"].shape[0] for index in range(len(places))]}
    return Part("perceptual", "vgg16", config, tensors, {}, names)
