"""In-domain inversion (Zhu et al. 2020), as published for PyTorch: generators of the first StyleGAN, encoders, and the
VGG-16 that compares images.

Tensors are views of the file's, except kernels of transposed convolutions (from 128 px on), which are flipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.ops.adain import TAPS
from restyle_cli.store.legacy.family import (
    Family,
    Rename,
    check_filter,
    check_images,
    check_unconditional,
    count,
    one_of,
)
from restyle_cli.store.legacy.state_dicts import StateDict

_LAYER = {
    "epilogue.apply_noise.weight": "noise_strength",
    "epilogue.bias": "bias",
    "epilogue.style_mod.dense.fc.weight": "affine.weight",
    "epilogue.style_mod.dense.wscale.bias": "affine.bias",
    "conv.weight": "weight",
    "weight": "weight",
}
_BLOCK = {
    "conv.weight": "shortcut.weight",
    "conv1.weight": "conv1.weight",
    "wscale1.bias": "conv1.bias",
    "conv2.weight": "conv2.weight",
    "wscale2.bias": "conv2.bias",
}
_NORMS = {"bn": "shortcut_norm", "bn1": "norm1", "bn2": "norm2"}
_VGG_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Convolutions up to conv4_3 among the layers, which include ReLU and pooling."""


class StyleGAN1Family(Family):
    """The StyleGAN1 generators of IDInvert."""

    title = "a StyleGAN of in-domain inversion"
    role = "generator"
    network = "stylegan1"
    keys = ("synthesis.layer0.const",)
    renames = (
        ("synthesis.layer0.const", "const"),
        ("truncation.w_avg", "w_avg"),
        (r"synthesis\.lod|truncation\..+|.+\.blur\.kernel", None),
        (r"mapping\.dense(\d+)\.(?:fc|wscale)\.(weight|bias)", r"mapping.layers.\1.\2"),
        (r"synthesis\.output(\d+)\.(?:conv\.)?(weight|bias)", r"to_rgbs.\1.\2"),
        (r"synthesis\.layer(\d+)\.epilogue\.apply_noise\.noise", r"noise_\1"),
        (rf"synthesis\.layer(\d+)\.({one_of(_LAYER)})", lambda m: f"convs.{m[1]}.{_LAYER[m[2]]}"),
    )

    def check(self, found: StateDict) -> None:
        state = found.tensors
        check_unconditional("StyleGAN", state)
        check_images("StyleGAN", state["synthesis.layer0.const"], state["synthesis.output0.conv.weight"])
        lod = state.get("synthesis.lod")
        if lod is not None and not lod.is_meta and float(lod) > 0:
            message = f"this StyleGAN was not grown to its full size: lod {float(lod):g}"
            raise RestyleError(message, "use the finished one")
        taps = torch.tensor(TAPS)
        for key, value in state.items():
            if key.endswith(".blur.kernel"):
                check_filter("StyleGAN", found.prefix + key, value, torch.outer(taps, taps) / taps.sum() ** 2)

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        if re.fullmatch(r"synthesis\.layer\d+\.weight", key):  # of a transposed convolution, [3, 3, I, O]
            return tensor.permute(3, 2, 0, 1).flip(2, 3)
        return tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = count(tensors, r"to_rgbs\.\d+\.bias")
        depth = count(tensors, r"mapping\.layers\.\d+\.weight")
        first, last = tensors["mapping.layers.0.weight"], tensors[f"mapping.layers.{depth - 1}.weight"]
        w_dim = tensors["convs.0.affine.weight"].shape[1]
        per_style = last.shape[0] > w_dim
        return {
            "resolution": 4 * 2 ** (blocks - 1),
            "channels": {str(4 * 2**b): tensors[f"convs.{2 * b}.bias"].shape[0] for b in range(blocks)},
            "z_dim": first.shape[1],
            "w_dim": w_dim,
            "mapping_layers": depth,
            "mapping_width": first.shape[0] if depth > 1 else w_dim,
            "per_style": per_style,
            # Not in the file. The published networks with a w per style end in a tanh, the official ones do not.
            "tanh": per_style,
        }

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        average = tensors.pop("w_avg", None)
        if average is not None and (average.is_meta or bool(average.any())):  # zeros: it was never computed
            tensors["w_avg"] = average.expand(2 * len(config["channels"]), -1)


class IDInvertEncoderFamily(Family):
    """The encoders of IDInvert."""

    title = "an encoder of in-domain inversion"
    role = "encoder"
    network = "idinvert"
    keys = ("block0.conv.weight", "block1.wscale1.bias")

    def check(self, found: StateDict) -> None:
        if f"block{_last_block(found.tensors)}.bn.bn.bias" not in found.tensors:
            raise RestyleError("an encoder of in-domain inversion without batch norms", "the published ones have them")

    def renames_for(self, found: StateDict) -> Sequence[Rename]:
        last = _last_block(found.tensors)
        return (
            (r"block0\.bn\.bn\.(.+)", r"stem_norm.\1"),
            (r"block0\.conv\.(.+)", r"stem.\1"),
            (rf"block{last}\.bn\.bn\.(.+)", r"last_norm.\1"),
            (rf"block{last}\.fc\.(.+)", r"last.\1"),
            (r"block(\d+)\.(bn[12]?)\.bn\.(.+)", lambda m: f"blocks.{int(m[1]) - 1}.{_NORMS[m[2]]}.{m[3]}"),
            (rf"block(\d+)\.({one_of(_BLOCK)})", lambda m: f"blocks.{int(m[1]) - 1}.{_BLOCK[m[2]]}"),
        )

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        blocks = 1 + max(int(match[1]) for name in tensors if (match := re.match(r"blocks\.(\d+)\.", name)))
        widths = [tensors["stem.weight"].shape[0]]
        widths += [tensors[f"blocks.{index}.conv2.weight"].shape[0] for index in range(blocks)]
        styles = 2 * len(widths)
        return {
            "input_channels": tensors["stem.weight"].shape[1],
            "styles": styles,
            "w_dim": tensors["last.weight"].shape[0] // styles,
            "input_size": 4 * 2 ** (len(widths) - 1),
            "widths": widths,
        }

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        return {"method": "idinvert", "absolute": True}


def _last_block(state: Mapping[str, Tensor]) -> int:
    return max(int(found[1]) for key in state if (found := re.match(r"block(\d+)\.", key)))


class VGG16Family(Family):
    """The VGG-16 with which IDInvert compares images."""

    title = "a VGG-16"
    role = "perceptual"
    network = "vgg16"
    keys = ("layer0.weight", "layer2.weight", "layer21.weight")
    renames = (
        *((rf"layer{layer}\.(weight|bias)", rf"convs.{index}.\1") for index, layer in enumerate(_VGG_LAYERS)),
        (r".+", None),  # behind conv4_3
    )

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        return {"widths": [tensors[f"convs.{index}.bias"].shape[0] for index in range(len(_VGG_LAYERS))]}
