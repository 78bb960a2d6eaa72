"""Files of HyperStyle's hypernetwork, and of encoders that give one code (or all of them) in a single layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from restyle_cli.encoders.hyper import KERNEL
from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.state_dicts import number

HYPER, ENCODER = "hypernet.", "encoder."
SHARED = "shared_weight_hypernet."
_RESNET = ("conv1.weight", "resnet34")
_SEPARABLE = {"output.0.make_kernel_": "make_", "output.0.kernel_linear_": "mix_"}
_BLOCK = re.compile(r"refinement_blocks\.(\d+)\.(.+)")


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The hypernetwork ("hypernet.…") or the one-layer encoder ("encoder.…") among `keys`; None if neither.

    RestyleError for a hypernetwork whose layers are not known here.
    """
    hyper = _under(HYPER, keys)
    if any(_BLOCK.match(key) for key in hyper):
        return _hypernetwork(hyper, opts)
    encoder = _under(ENCODER, keys)
    reads_pictures = "input_layer.0.weight" in encoder or "conv1.weight" in encoder
    if reads_pictures and "linear.weight" in encoder and not any(key.startswith("styles.") for key in encoder):
        return _one_layer(encoder, opts)
    return None


def _under(prefix: str, keys: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in keys.items() if key.startswith(prefix)}


# --- hypernetworks


def _hypernetwork(theirs: dict[str, Tensor], opts: Mapping[str, Any]) -> Part:
    blocks: dict[int, dict[str, Tensor]] = {}
    for key, value in theirs.items():
        if found := _BLOCK.match(key):
            blocks.setdefault(int(found[1]), {})[found[2]] = value
    layers = sorted(blocks)
    convs = {layer: _conv_name(layer) for layer in layers}
    widths = _widths(blocks, theirs)
    config = _reading(theirs["conv1.weight"], "resnet34", opts) | {
        "targets": [[convs[layer], *widths[layer]] for layer in layers],
        "sharing": [convs[layer] for layer in layers if "linear.weight" in blocks[layer]],
        "separable": any("output.0.make_kernel_in.weight" in block for block in blocks.values()),
    }
    tensors, names = {}, {}
    for key, value in theirs.items():
        if (name := _hyper_name(key, layers)) is not None:
            tensors[name] = value.flatten(1) if key.endswith("output.1.weight") else value
            names[name] = HYPER + key
    return Part("encoder", "hyper", config, tensors, {"method": "hyperstyle"}, names)


def _hyper_name(key: str, layers: Sequence[int]) -> str | None:
    """Our name; None for the network that blocks share, which each of them lists again."""
    if key.startswith(SHARED):
        return "kernels." + key.removeprefix(SHARED)
    found = _BLOCK.match(key)
    if found is None:
        return f"backbone.{key}"
    if found[2].startswith("hypernet."):
        return None
    name = re.sub(r"^convs\.(\d+)", lambda conv: f"descent.convs.{int(conv[1]) // 2}", found[2])
    name = re.sub(r"^output\.0\.(?:make_kernel|kernel_linear)_", lambda part: _SEPARABLE[part[0]], name)
    name = re.sub(r"^output\.1\.", "linear.", name)
    return f"heads.{layers.index(int(found[1]))}.{name}"


def _conv_name(layer: int) -> str:
    """Our name of the generator's `layer`: conv1, to_rgb1, then up conv, conv and to_rgb of each resolution."""
    if layer % 3 == 1:
        raise RestyleError(
            f"this hypernetwork changes layer {layer} of the generator, a toRGB", "restyle knows those of 3x3 layers"
        )
    return f"convs.{layer - (layer + 1) // 3}"


def _widths(blocks: Mapping[int, Mapping[str, Tensor]], theirs: Mapping[str, Tensor]) -> dict[int, tuple[int, int]]:
    """(outputs, inputs) of each layer. A head of factors has their product: a plain layer is square, and an up
    layer has the outputs of the plain one behind it."""
    found: dict[int, tuple[int, int]] = {}
    for layer in sorted(blocks, reverse=True):
        block = blocks[layer]
        if "linear.weight" in block:
            code, row = theirs[f"{SHARED}w1"].shape
            found[layer] = row // KERNEL**2, theirs[f"{SHARED}w2"].shape[1] // code
        elif "output.0.kernel_linear_in.weight" in block:
            outputs, inputs = (block[f"output.0.kernel_linear_{way}.weight"].shape[0] for way in ("out", "in"))
            found[layer] = outputs, inputs
        else:
            factors = block["output.1.weight"].shape[0]
            outputs = math.isqrt(factors) if layer % 3 == 0 else found.get(layer + 1, (0, 0))[0]
            if outputs == 0 or factors % outputs:
                raise RestyleError(f"this hypernetwork's layer {layer} has {factors} factors, for no known channels")
            found[layer] = outputs, factors // outputs
    return found


# --- one layer


def _one_layer(theirs: dict[str, Tensor], opts: Mapping[str, Any]) -> Part:
    single = not any(key.startswith("output_layer_2.") for key in theirs)
    first, backbone = ("input_layer.0.weight", "ir-se50") if "input_layer.0.weight" in theirs else _RESNET
    config = _reading(theirs[first], backbone, opts) | {"single": single}
    if not single:
        config["styles"] = theirs["linear.weight"].shape[0] // config["w_dim"]
    names = {_one_layer_name(key): key for key in theirs}
    tensors = {name: theirs[key] for name, key in names.items()}
    psp = str(opts.get("encoder_type", "")).startswith("BackboneEncoder") or not single
    extra = {"method": "psp" if psp else "e4e-w"}
    return Part("encoder", "w", config, tensors, extra, {name: ENCODER + key for name, key in names.items()})


def _one_layer_name(key: str) -> str:
    if key.startswith(("linear.", "output_layer_2.")):
        return key.replace("output_layer_2.0.", "norm.").replace("output_layer_2.3.", "squeeze.")
    return f"backbone.{key}"


# --- both


def _reading(first: Tensor, backbone: str, opts: Mapping[str, Any]) -> dict[str, Any]:
    """What an encoder with this first convolution reads, and for which generator."""
    size = int(number(opts, "output_size", number(opts, "stylegan_size", 1024)))
    cars = "cars" in str(opts.get("dataset_type", ""))
    return {
        "input_channels": first.shape[1],
        "styles": 2 * (size.bit_length() - 1) - 2,
        "backbone": backbone,
        "input_size": [192, 256] if cars else [256, 256],
        "w_dim": 512,
    }
