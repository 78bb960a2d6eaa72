"""Encoders of ReStyle, pSp and e4e: one style head for each style, on either backbone, with or without a pyramid.

The published files keep each head apart; here their weights lie stacked. That is the one place where tensors are
copied: the originals are let go one by one, so that no more than one stack is in memory twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.encoders.psp import COARSE, MIDDLE
from restyle_cli.encoders.restyle import STRIDE
from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.state_dicts import number

PREFIX = "encoder."
E4E_TYPES = ("ProgressiveBackboneEncoder", "ResNetProgressiveBackboneEncoder", "Encoder4Editing")
"""`opts.encoder_type` of encoders that give a base code and offsets from it. Nothing else in a file tells."""
PSP_TYPES = ("BackboneEncoder", "ResNetBackboneEncoder", "GradualStyleEncoder", "ResNetGradualStyleEncoder")
_STYLE = re.compile(r"encoder\.styles\.(\d+)\.(.+)")
TASKS = {"frontalize": "frontal", "sketch": "sketch", "seg": "labels", "super_resolution": "super-resolution"}
"""What `opts.dataset_type` has in its name where an encoder makes something else of a picture than its code."""
_BACKBONES = {
    "ir-se50": ("input_layer.0.weight", re.compile(r"body\.(\d+)\.res_layer\.1\.weight")),
    "resnet34": ("conv1.weight", re.compile(r"body\.(\d+)\.conv1\.weight")),
}


def match(keys: Mapping[str, Tensor], opts: Mapping[str, Any]) -> Part | None:
    """The encoder ("encoder.styles.…") that these tensors are, with their names here; None if they are none.

    `opts.encoder_type` decides what its codes are, RestyleError if it is missing. Its tensors are taken out of `keys`
    where that can be changed.
    """
    backbone = next((name for name, (first, _) in _BACKBONES.items() if PREFIX + first in keys), None)
    styles = 1 + max((int(found[1]) for key in keys if (found := _STYLE.fullmatch(key))), default=-1)
    if backbone is None or styles == 0:
        return None
    pyramid = f"{PREFIX}latlayer1.weight" in keys
    config = _config(keys, opts, backbone, styles)
    groups = groups_of(config["styles"], pyramid)
    if unused := range(config["styles"], styles):
        keys = {key: value for key, value in keys.items() if not _belongs(key, unused)}
    method = config["codes"] if config["input_channels"] != 6 else f"restyle-{config['codes']}"
    names = {_name(key): key for key in keys if not _STYLE.fullmatch(key)}
    tensors = rename(keys, groups)
    trained = str(opts.get("dataset_type", ""))
    task = next((task for word, task in TASKS.items() if word in trained), None)
    extra = {"method": method} | ({"task": task} if task else {})
    return Part("encoder", "psp" if pyramid else "restyle", config, tensors, extra, names)


def groups_of(styles: int, pyramid: bool) -> dict[str, range]:
    """Which heads are stacked under which of our names."""
    if not pyramid:
        return {"heads": range(styles)}
    middle = COARSE + MIDDLE
    return {"coarse": range(COARSE), "middle": range(COARSE, middle), "fine": range(middle, styles)}


def rename(theirs: Mapping[str, Tensor], groups: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """The tensors under our names: backbone and lateral layers keep theirs, the heads of each group are stacked.

    What is stacked is taken out of `theirs` where that can be changed. RestyleError where heads differ in shape.
    """
    ours = {_name(key): value for key, value in theirs.items() if not _STYLE.fullmatch(key)}
    for group, styles in groups.items():
        first, *_ = styles
        start = f"{PREFIX}styles.{first}."
        for kind in [key.removeprefix(start) for key in theirs if key.startswith(start)]:
            # A head is a list of convolutions and activations, so its convolutions are 0, 2, 4, …
            name = re.sub(r"convs\.(\d+)", lambda found: f"convs.{int(found[1]) // 2}", kind)
            ours[f"{group}.{name}"] = _stacked(theirs, [f"{PREFIX}styles.{style}.{kind}" for style in styles])
    return ours


def _name(key: str) -> str:
    name = key.removeprefix(PREFIX)
    return name if name.startswith("latlayer") else f"backbone.{name}"


def _belongs(key: str, styles: range) -> bool:
    found = _STYLE.fullmatch(key)
    return found is not None and int(found[1]) in styles


def _stacked(theirs: Mapping[str, Tensor], keys: list[str]) -> Tensor:
    missing = next((key for key in keys if key not in theirs), None)
    if missing is not None:
        raise RestyleError(f"the tensor '{missing}' is missing", "fetch the file again")
    like = theirs[keys[0]]
    stack = torch.empty(len(keys), *like.shape, dtype=torch.float32, device=like.device)
    for index, key in enumerate(keys):
        one = theirs[key]
        if one.shape != like.shape:
            shapes = f"{list(one.shape)}, that of '{keys[0]}' is {list(like.shape)}"
            raise RestyleError(f"the tensor '{key}' has shape {shapes}", "fetch the file again")
        stack[index].copy_(one)
        if isinstance(theirs, MutableMapping):
            del theirs[key]
    return stack


def _config(keys: Mapping[str, Tensor], opts: Mapping[str, Any], backbone: str, styles: int) -> dict[str, Any]:
    first, unit = _BACKBONES[backbone]
    widths, blocks = _stages(keys, unit)
    size = int(number(opts, "output_size", 0))
    layers = 2 * (size.bit_length() - 1) - 2 if size else styles
    linear = keys.get(f"{PREFIX}styles.0.linear.weight")
    depth = sum(re.fullmatch(r"encoder\.styles\.0\.convs\.\d+\.weight", key) is not None for key in keys)
    if linear is None or linear.dim() != 2 or not 1 <= depth <= 8:
        raise RestyleError("an encoder whose style heads are not whole", "fetch the file again")
    longer = STRIDE * 2**depth
    cars = "cars" in str(opts.get("dataset_type", ""))
    return {
        "input_channels": keys[PREFIX + first].shape[1],
        "styles": min(styles, layers),
        "w_dim": linear.shape[0],
        "codes": _codes(opts.get("encoder_type")),
        "backbone": backbone,
        "input_size": [longer * 3 // 4 if cars else longer, longer],
        "widths": widths,
        "blocks": blocks,
    }


def _codes(encoder_type: Any) -> str:
    if encoder_type in E4E_TYPES:
        return "e4e"
    if encoder_type in PSP_TYPES:
        return "psp"
    said = f"is of the type '{encoder_type}'" if encoder_type else "does not say of which type it is"
    known = ", ".join((*PSP_TYPES, *E4E_TYPES))
    raise RestyleError(
        f"an encoder that {said}",
        f"opts.encoder_type in the file (in safetensors: encoder_type in the metadata) decides, or the name of a "
        f"published file; there is: {known}",
    )


def _stages(keys: Mapping[str, Tensor], unit: re.Pattern[str]) -> tuple[list[int], list[int]]:
    """Widths and numbers of units of the backbone's stages, from the first convolution of each unit."""
    found = {
        int(place[1]): value.shape[0]
        for key, value in keys.items()
        if (place := unit.fullmatch(key.removeprefix(PREFIX))) and value.dim()
    }
    widths: list[int] = []
    blocks: list[int] = []
    for index in sorted(found):
        if not widths or widths[-1] != found[index]:
            widths.append(found[index])
            blocks.append(0)
        blocks[-1] += 1
    return widths, blocks
