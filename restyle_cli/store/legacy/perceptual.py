"""Published networks that judge pictures and codes: how each is recognised, and its tensors' names here.

Nothing is copied; what does not belong to the network (classifiers, constant filters) is left out.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.perceptual.lpips import PLACES, VGG_PLACES
from restyle_cli.store.legacy.checkpoint_part import Part

_HEADS = [f"lin{index}.model.1.weight" for index in range(5)]  # of LPIPS


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The network that these tensors are, with their names here; None when it is none of this kind.

    `opts` says nothing of these networks and is not looked at. RestyleError where the names are right and the
    shapes absurd.
    """
    for name, recognise in _KINDS.items():
        try:
            part = recognise(keys)
        except (ArithmeticError, LookupError, ValueError) as error:
            message = f"the tensors have the names of {name}, and shapes that no such network has"
            raise RestyleError(message, "fetch the file again") from error
        if part is not None:
            return part
    return None


def _face(keys: Mapping[str, Tensor]) -> Part | None:
    """ArcFace's IR-SE50 has gates in its units (`fc1`), CurricularFace's IR-101 has none."""
    if not {"input_layer.0.weight", "output_layer.3.weight", "body.0.res_layer.1.weight"} <= set(keys):
        return None
    gated, scaled = "body.0.res_layer.5.fc1.weight" in keys, "output_layer.4.weight" in keys
    if gated != scaled:
        return None
    widths, blocks = _stages(keys, r"body\.(\d+)\.res_layer\.1\.weight")
    dimensions, inputs = keys["output_layer.3.weight"].shape
    side = 16 * math.isqrt(inputs // widths[-1])
    config = {"widths": widths, "blocks": blocks, "side": side, "dimensions": dimensions}
    return _part("arcface" if gated else "curricularface", config, _with_counters(dict(keys)))


def _moco(keys: Mapping[str, Tensor]) -> Part | None:
    """The public file holds a second encoder and a queue beside; the head on top of the features is not used."""
    start = next((key.removesuffix("conv1.weight") for key in keys if key.endswith("encoder_q.conv1.weight")), None)
    if start is None:
        return None
    tensors = {
        key.removeprefix(start): value
        for key, value in keys.items()
        if key.startswith(start) and not key.startswith(f"{start}fc.")
    }
    units = [re.match(r"layer(\d)\.(\d+)\.conv1\.", key) for key in tensors]
    counts = Counter(int(unit[1]) for unit in units if unit)
    config = {"width": tensors["conv1.weight"].shape[0], "blocks": [counts[stage] for stage in sorted(counts)]}
    return _part("moco", config, _with_counters(tensors))


def _resnet34(keys: Mapping[str, Tensor]) -> Part | None:
    """Torchvision's; the units of its deeper siblings have a third convolution."""
    if not {"conv1.weight", "layer1.0.conv2.weight", "fc.weight"} <= set(keys) or "layer1.0.conv3.weight" in keys:
        return None
    tensors: dict[str, Tensor] = {}
    units: dict[str, int] = {}  # "layer2.0" -> its place in the body; the file has them in order
    for key, value in keys.items():
        if found := re.fullmatch(r"(layer\d+\.\d+)\.(.+)", key):
            tensors[f"body.{units.setdefault(found[1], len(units))}.{found[2]}"] = value
        elif not key.startswith("fc."):
            tensors[key] = value
    widths, blocks = _stages(tensors, r"body\.(\d+)\.conv1\.weight")
    return _part("resnet34", {"widths": widths, "blocks": blocks}, _with_counters(tensors))


def _lpips(keys: Mapping[str, Tensor]) -> Part | None:
    """Torchvision's AlexNet, with LPIPS' weights in the same file or else those that the package `lpips` brings."""
    return _lpips_on("alex", keys, PLACES, (11, 11))


def _lpips_vgg(keys: Mapping[str, Tensor]) -> Part | None:
    """Torchvision's VGG-16, as `_lpips`."""
    return _lpips_on("vgg", keys, VGG_PLACES, (3, 3))


def _lpips_on(net: str, keys: Mapping[str, Tensor], places: tuple[int, ...], kernel: tuple[int, int]) -> Part | None:
    convs = [f"features.{place}.weight" for place in places]
    if not set(convs) <= set(keys) or keys[convs[0]].shape[-2:] != kernel:
        return None
    heads = keys if set(_HEADS) <= set(keys) else _packaged_heads(net)
    tensors = {f"weights.{index}": heads[name].flatten() for index, name in enumerate(_HEADS)}
    for index, place in enumerate(places):
        for kind in ("weight", "bias"):
            if (key := f"features.{place}.{kind}") in keys:
                tensors[f"convs.{index}.{kind}"] = keys[key]
    return _part(f"lpips-{net}", {"widths": [keys[name].shape[0] for name in convs]}, tensors)


def _packaged_heads(net: str) -> dict[str, Tensor]:
    """What version 0.1 of LPIPS multiplies the channels of `net` with. Importing the package would load torchvision."""
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        brings = "`pip install lpips` brings the weights it needs beside"
        raise RestyleError(f"the backbone ({net}) alone is no LPIPS", brings)
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


def _discriminator(keys: Mapping[str, Tensor]) -> Part | None:
    """StyleGAN2's, in rosinality's names; the filters are constants of the code."""
    if not {"convs.0.0.weight", "final_conv.0.weight", "final_linear.1.weight"} <= set(keys):
        return None
    rooms: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"convs\.0\.[01]\.(weight|bias)", lambda m: f"from_rgb.{m[1]}"),
        (r"convs\.(\d+)\.(conv1|conv2|skip)\.\d\.(weight|bias)", lambda m: f"blocks.{int(m[1]) - 1}.{m[2]}.{m[3]}"),
        (r"final_conv\.[01]\.(weight|bias)", lambda m: f"final_conv.{m[1]}"),
        (r"final_linear\.0\.(weight|bias)", lambda m: f"final_linear.{m[1]}"),
        (r"final_linear\.1\.(weight|bias)", lambda m: f"output.{m[1]}"),
    ]
    tensors = {}
    for key, value in keys.items():
        name = next((name(found) for pattern, name in rooms if (found := re.fullmatch(pattern, key))), key)
        if not name.endswith(".kernel"):
            tensors[name] = value.flatten() if name.endswith(".bias") else value
    count = sum(name.endswith(".skip.weight") for name in tensors)
    outputs = [tensors[f"blocks.{index}.conv2.weight"].shape[0] for index in reversed(range(count))]
    channels = [*outputs, tensors["from_rgb.weight"].shape[0]]
    return _part("stylegan2-discriminator", {"channels": channels}, tensors, "discriminator")


def _latent_discriminator(keys: Mapping[str, Tensor]) -> Part | None:
    """The one that trains e4e encoders: linear layers with a rectifier, which has a number too, between them."""
    if "mlp.0.weight" not in keys or not all(key.startswith("mlp.") for key in keys):
        return None
    layers = sum(key.endswith(".weight") for key in keys) - 1
    config = {"w_dim": keys["mlp.0.weight"].shape[1], "layers": layers}
    return _part("latent-discriminator", config, dict(keys), "discriminator")


_KINDS: dict[str, Callable[[Mapping[str, Tensor]], Part | None]] = {
    "a face network": _face,
    "MoCo": _moco,
    "a ResNet34": _resnet34,
    "an AlexNet": _lpips,
    "a VGG-16": _lpips_vgg,
    "a StyleGAN2 discriminator": _discriminator,
    "a latent discriminator": _latent_discriminator,
}


def _part(family: str, config: dict[str, Any], tensors: dict[str, Tensor], role: str = "perceptual") -> Part:
    return Part(role=role, family=family, config=config, tensors=tensors, extra={})


def _stages(keys: Mapping[str, Tensor], unit: str) -> tuple[list[int], list[int]]:
    """Widths of the stages and their numbers of units, from each unit's first convolution, [width, …]."""
    found = {int(m[1]): value.shape[0] for key, value in keys.items() if (m := re.fullmatch(unit, key))}
    widths: list[int] = []
    blocks: list[int] = []
    for index in sorted(found):
        if not widths or widths[-1] != found[index]:
            widths.append(found[index])
            blocks.append(0)
        blocks[-1] += 1
    return widths, blocks


def _with_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Norms of old files do not count their batches: torchvision's ResNet34 is such a one."""
    for key in [key for key in tensors if key.endswith("running_mean")]:
        tensors.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.zeros((), dtype=torch.long))
    return tensors
