"""Files of adversarial latent autoencoders (Pidhorskyi et al. 2020): encoder and generator, trained together.

Such a file is `{"models": {name: tensors}, "auxiliary": …}`. Of each network the running average ("…_s") is read,
which the published pictures were made with. Its weights are stored as they are used, the scale of the equalised
learning rate within. Noise was drawn anew for every picture; here a picture is to be the same each time, so maps are
drawn once. Kernels for transposed convolutions, from 128 px on, are turned, and so copied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.limits import check_images

METHOD = "alae"
ENCODER, GENERATOR, MAPPING, HEAD, AVERAGE = (
    "discriminator_s",  # the encoder, with the head, is the discriminator
    "generator_s",
    "mapping_fl_s",
    "mapping_tl_s",
    "dlatent_avg",
)
TRANSPOSED_FROM = 128
"""Resolution from which kernels are those of transposed convolutions."""
MAPPING_LR_MUL = 0.1
_INSIDE = {
    "conv_1.weight": (0, "weight"),
    "noise_weight_1": (0, "noise_strength"),
    "bias_1": (0, "bias"),
    "style_1.weight": (0, "affine.weight"),
    "style_1.bias": (0, "affine.bias"),
    "conv_2.weight": (1, "weight"),
    "noise_weight_2": (1, "noise_strength"),
    "bias_2": (1, "bias"),
    "style_2.weight": (1, "affine.weight"),
    "style_2.bias": (1, "affine.bias"),
}
"""Of a block of the generator: which of its two layers, and what in it."""
_ENCODER_INSIDE = {"conv_": "conv", "bias_": "conv", "style_": "style"}


def networks(models: Any) -> list[dict[str, Any]]:
    """The tables of `models` that belong together, their names before those of their tensors; [] if it is no ALAE's."""
    if not isinstance(models, dict) or not {ENCODER, GENERATOR, MAPPING} <= set(models):
        return []
    found = []
    for names in ((ENCODER,), (GENERATOR, MAPPING, AVERAGE), (HEAD,)):
        tables = {name: models[name] for name in names if isinstance(models.get(name), dict)}
        found.append({f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()})
    return [tensors for tensors in found if tensors]


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The network among `networks` that these tensors are, with their names here; None if they are none of them.

    `opts` is not looked at: such files have none.
    """
    try:
        if f"{GENERATOR}.const" in keys:
            return _generator(keys)
        if f"{ENCODER}.encode_block.0.conv_1.weight" in keys:
            return _encoder(keys)
        if f"{HEAD}.map_blocks.0.weight" in keys:
            return _head(keys)
    except (LookupError, ValueError) as error:
        raise RestyleError("a latent autoencoder whose layers are not whole", "fetch the file again") from error
    return None


# --- generators


def generator_name(key: str) -> str | None:
    """Our name of a tensor; None for filters. Unknown ones keep theirs."""
    if key == f"{GENERATOR}.const":
        return "const"
    if key.endswith(".blur.weight"):
        return None
    if found := re.fullmatch(rf"{MAPPING}\.map_blocks\.(\d+)\.fc\.(weight|bias)", key):
        return f"mapping.layers.{found[1]}.{found[2]}"
    if found := re.fullmatch(rf"{GENERATOR}\.to_rgb\.(\d+)\.to_rgb\.(weight|bias)", key):
        return f"to_rgbs.{found[1]}.{found[2]}"
    if (found := re.fullmatch(rf"{GENERATOR}\.decode_block\.(\d+)\.(.+)", key)) and found[2] in _INSIDE:
        layer, name = _INSIDE[found[2]]
        return f"convs.{2 * int(found[1]) + layer}.{name}"
    return "w_avg" if key == f"{AVERAGE}.buff" else key


def _generator(keys: Mapping[str, Tensor]) -> Part:
    check_images("StyleGAN", keys[f"{GENERATOR}.const"], keys[f"{GENERATOR}.to_rgb.0.to_rgb.weight"])
    names = {name: key for key in keys if (name := generator_name(key)) is not None}
    tensors = {name: _as_ours(name, keys[key]) for name, key in names.items()}
    blocks = sum(re.fullmatch(r"to_rgbs\.\d+\.bias", name) is not None for name in tensors)
    mapping = sum(re.fullmatch(r"mapping\.layers\.\d+\.bias", name) is not None for name in tensors)
    first = tensors["mapping.layers.0.weight"]
    config = {
        "resolution": 4 * 2 ** (blocks - 1),
        "channels": {str(4 * 2**b): tensors[f"convs.{2 * b}.bias"].shape[0] for b in range(blocks)},
        "z_dim": first.shape[1],
        "w_dim": tensors["convs.0.affine.weight"].shape[1],
        "mapping_layers": mapping,
        "mapping_width": first.shape[0],
        "mapping_lr_mul": MAPPING_LR_MUL,
        "equalised": False,
    }
    tensors |= _drawn_noises(2 * blocks, first.device)
    return Part("generator", "stylegan1", config, tensors, {"noise": "not in the file, drawn"}, names)


def _as_ours(name: str, value: Tensor) -> Tensor:
    found = re.fullmatch(r"convs\.(\d+)\.(.+)", name)
    if found is None:
        return value
    if found[2] in ("bias", "noise_strength"):
        return value.flatten()
    layer = int(found[1])
    transposed = found[2] == "weight" and layer % 2 == 0 and 4 * 2 ** (layer // 2) >= TRANSPOSED_FROM
    return value.transpose(0, 1).flip(2, 3) if transposed else value


def _drawn_noises(layers: int, device: torch.device) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = [4 * 2 ** (layer // 2) for layer in range(layers)]
    return {f"noise_{k}": torch.randn(1, 1, s, s, generator=generator).to(device) for k, s in enumerate(sides)}


# --- encoders


def encoder_name(key: str) -> str | None:
    """Our name of a tensor; None for filters, and for the smaller resolutions' inputs, which grew the network."""
    if key.endswith(".blur.weight"):
        return None
    if found := re.fullmatch(rf"{ENCODER}\.from_rgb\.(\d+)\.from_rgb\.(weight|bias)", key):
        return f"from_rgb.{found[2]}" if found[1] == "0" else None
    if found := re.fullmatch(rf"{ENCODER}\.encode_block\.(\d+)\.(conv_|bias_|style_)([12])(?:\.(weight|bias))?", key):
        return f"blocks.{found[1]}.{_ENCODER_INSIDE[found[2]]}{found[3]}.{found[4] or 'bias'}"
    return key


def _encoder(keys: Mapping[str, Tensor]) -> Part:
    names = {name: key for key in keys if (name := encoder_name(key)) is not None}
    tensors = {name: value.flatten() if name.endswith("bias") else value for name, value in _renamed(names, keys)}
    blocks = sum(re.fullmatch(r"blocks\.\d+\.conv1\.weight", name) is not None for name in tensors)
    size = 4 * 2 ** (blocks - 1)
    config = {
        "input_channels": tensors["from_rgb.weight"].shape[1],
        "styles": 2 * blocks,
        "w_dim": tensors["blocks.0.style1.weight"].shape[0],
        "input_size": size,
        "widths": [tensors["from_rgb.weight"].shape[0]]
        + [tensors[f"blocks.{block}.conv2.weight"].shape[0] for block in range(blocks)],
    }
    extra = {"method": METHOD, "absolute": True}
    return Part("encoder", "alae", config, tensors, extra, names)


def _renamed(names: Mapping[str, str], keys: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, keys[key]) for name, key in names.items()]


def _head(keys: Mapping[str, Tensor]) -> Part:
    names = {key.replace(f"{HEAD}.map_blocks.", "layers."): key for key in keys}
    weights = [keys[f"{HEAD}.map_blocks.{layer}.weight"] for layer in range(len(keys) // 2)]
    config = {"widths": [weights[0].shape[1], *(weight.shape[0] for weight in weights)]}
    tensors = dict(_renamed(names, keys))
    return Part("discriminator", "alae-discriminator", config, tensors, {}, names)
