"""Adversarial latent autoencoders (Pidhorskyi et al. 2020): encoder and generator, trained together.

Of each network the file has a running average ("…_s"), which is used. Its weights include the scale of the equalised
learning rate. The original draws new noise for each image; here noise maps are drawn once, so that an image is the
same each time. Kernels of transposed convolutions (from 128 px on) are flipped, and so copied.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from restyle_cli.store.legacy.family import Family, check_images, count, random_noises
from restyle_cli.store.legacy.state_dicts import StateDict

ENCODER, GENERATOR, MAPPING, HEAD, AVERAGE = (
    "discriminator_s",  # encoder and head together are the discriminator
    "generator_s",
    "mapping_fl_s",
    "mapping_tl_s",
    "dlatent_avg",
)
TRANSPOSED_FROM = 128
"""Resolution from which kernels are those of transposed convolutions."""
MAPPING_LR_MUL = 0.1


def regroup(content: Any) -> list[Any]:
    """The state dicts of an ALAE file {"models": …} that belong together, joined; of another file, its content."""
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict) or not {ENCODER, GENERATOR, MAPPING} <= set(models):
        return [content]
    groups = []
    for names in ((ENCODER,), (GENERATOR, MAPPING, AVERAGE), (HEAD,)):
        found = {name: models[name] for name in names if isinstance(models.get(name), dict)}
        groups.append({f"{name}.{key}": value for name, state in found.items() for key, value in state.items()})
    content.clear()
    return groups


class ALAEGenerator(Family):
    """The generator of an ALAE checkpoint, a StyleGAN1."""

    title = "the generator of a latent autoencoder"
    role = "generator"
    network = "stylegan1"
    keys = (f"{GENERATOR}.const",)
    renames = (
        (rf"{GENERATOR}\.const", "const"),
        (r".+\.blur\.weight", None),
        (rf"{AVERAGE}\.buff", "w_avg"),
        (rf"{MAPPING}\.map_blocks\.(\d+)\.fc\.(weight|bias)", r"mapping.layers.\1.\2"),
        (rf"{GENERATOR}\.to_rgb\.(\d+)\.to_rgb\.(weight|bias)", r"to_rgbs.\1.\2"),
        (rf"{GENERATOR}\.decode_block\.(\d+)\.style_([12])\.(weight|bias)", lambda m: f"{_conv(m)}.affine.{m[3]}"),
        (rf"{GENERATOR}\.decode_block\.(\d+)\.conv_([12])\.weight", lambda m: f"{_conv(m)}.weight"),
        (rf"{GENERATOR}\.decode_block\.(\d+)\.noise_weight_([12])", lambda m: f"{_conv(m)}.noise_strength"),
        (rf"{GENERATOR}\.decode_block\.(\d+)\.bias_([12])", lambda m: f"{_conv(m)}.bias"),
    )

    def check(self, found: StateDict) -> None:
        to_rgb = found.tensors[f"{GENERATOR}.to_rgb.0.to_rgb.weight"]
        check_images("StyleGAN", found.tensors[f"{GENERATOR}.const"], to_rgb)

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        match = re.fullmatch(r"convs\.(\d+)\.(bias|noise_strength|weight)", name)
        if match is None:
            return tensor
        if match[2] != "weight":
            return tensor.flatten()
        layer = int(match[1])
        transposed = layer % 2 == 0 and 4 * 2 ** (layer // 2) >= TRANSPOSED_FROM
        return tensor.transpose(0, 1).flip(2, 3) if transposed else tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = count(tensors, r"to_rgbs\.\d+\.bias")
        first = tensors["mapping.layers.0.weight"]
        return {
            "resolution": 4 * 2 ** (blocks - 1),
            "channels": {str(4 * 2**b): tensors[f"convs.{2 * b}.bias"].shape[0] for b in range(blocks)},
            "z_dim": first.shape[1],
            "w_dim": tensors["convs.0.affine.weight"].shape[1],
            "mapping_layers": count(tensors, r"mapping\.layers\.\d+\.bias"),
            "mapping_width": first.shape[0],
            "mapping_lr_mul": MAPPING_LR_MUL,
            "equalised": False,
        }

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        return {"noise": "not in the file, drawn"}

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        tensors |= random_noises(2 * len(config["channels"]), 0, tensors["const"].device)


def _conv(match: re.Match[str]) -> str:
    """The layer of a block's first or second convolution: "convs.5"."""
    return f"convs.{2 * int(match[1]) + int(match[2]) - 1}"


class ALAEEncoder(Family):
    """The encoder of an ALAE checkpoint."""

    title = "the encoder of a latent autoencoder"
    role = "encoder"
    network = "alae"
    keys = (f"{ENCODER}.encode_block.0.conv_1.weight",)
    renames = (
        (r".+\.blur\.weight", None),
        (rf"{ENCODER}\.from_rgb\.0\.from_rgb\.(weight|bias)", r"from_rgb.\1"),
        (rf"{ENCODER}\.from_rgb\..+", None),  # inputs of lower resolutions, used while the network grew
        (rf"{ENCODER}\.encode_block\.(\d+)\.(conv|style)_([12])\.(weight|bias)", r"blocks.\1.\2\3.\4"),
        (rf"{ENCODER}\.encode_block\.(\d+)\.bias_([12])", r"blocks.\1.conv\2.bias"),
    )

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        return tensor.flatten() if name.endswith("bias") else tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = count(tensors, r"blocks\.\d+\.conv1\.weight")
        first = tensors["from_rgb.weight"]
        return {
            "input_channels": first.shape[1],
            "styles": 2 * blocks,
            "w_dim": tensors["blocks.0.style1.weight"].shape[0],
            "input_size": 4 * 2 ** (blocks - 1),
            "widths": [first.shape[0], *(tensors[f"blocks.{b}.conv2.weight"].shape[0] for b in range(blocks))],
        }

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        return {"method": "alae", "absolute": True}


class ALAEHead(Family):
    """The discriminator of an ALAE checkpoint, which is recognised and not used."""

    title = "the discriminator head of a latent autoencoder"
    role = "discriminator"
    network = "alae-discriminator"
    keys = (f"{HEAD}.map_blocks.0.weight",)
    renames = ((rf"{HEAD}\.map_blocks\.(.+)", r"layers.\1"),)

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        weights = [tensors[f"layers.{layer}.weight"] for layer in range(len(tensors) // 2)]
        return {"widths": [weights[0].shape[1], *(weight.shape[0] for weight in weights)]}
