"""The face recognition network of dlib (`dlib_face_recognition_resnet_model_v1.dat`).

dlib writes each layer as its name and the layer's fields, in the order of computation. Only the weights are read: an
array is a version, four sizes and float32 values. Nothing in the file is executed.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restyle_cli.io import open_regular
from restyle_cli.store.legacy.unpickle import RefusedFile

START = b"\x01\x01\x01\x0dloss_metric_"
MAX_BYTES = 64_000_000
"""The published file has 22 MB."""
_LAYER = re.compile(rb"\x01.(con_4|affine_|fc_2)", re.DOTALL)
_KERNELS = {0: 7}
"""Side of the first convolution; the others have 3."""


def read_dlib(path: Path) -> dict[str, Tensor]:
    """The weights of the network: every convolution with the affine layer that follows it, and the linear layer.

    RefusedFile when the file is damaged or has other layers.
    """
    with open_regular(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RefusedFile("is larger than dlib's face network")
    arrays: dict[bytes, list[Tensor]] = {b"con_4": [], b"affine_": [], b"fc_2": []}
    for match in _LAYER.finditer(data):
        place = match.end()
        if match[1] == b"fc_2":  # the numbers of outputs and of inputs come first
            _, place = _integer(data, *_integer(data, place)[1:])
        arrays[match[1]].append(_array(data, place))
    convs, affines, linear = arrays.values()
    if len(convs) != len(affines) or len(linear) != 1:
        raise RefusedFile("is not dlib's face network")
    tensors = {"dlib.linear.weight": linear[0].mT.contiguous()}
    for index, (conv, affine) in enumerate(zip(convs, affines, strict=True)):
        side, channels = _KERNELS.get(index, 3), affine.numel() // 2
        weight, bias = conv.flatten()[:-channels].reshape(channels, -1, side, side), conv.flatten()[-channels:]
        scale, shift = affine.flatten().chunk(2)
        tensors[f"dlib.convs.{index}.weight"] = scale[:, None, None, None] * weight
        tensors[f"dlib.convs.{index}.bias"] = scale * bias + shift
    return tensors


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """The non-negative whole number at `place`, and the place behind it. A byte with its length comes before it."""
    end = place + 1 + (data[place] if place < len(data) else 9)
    if end > len(data) or end - place > 9:  # a sign would be the highest bit of the length
        raise RefusedFile("is cut off or damaged")
    return int.from_bytes(data[place + 1 : end], "little"), end


def _array(data: bytes, place: int) -> Tensor:
    version, place = _integer(data, place)
    shape = []
    for _ in range(4):
        size, place = _integer(data, place)
        shape.append(size)
    count = math.prod(shape)
    if version != 2 or not 0 < count <= (len(data) - place) // 4:
        raise RefusedFile("is cut off or damaged")
    values = np.frombuffer(data, "<f4", count, place).astype(np.float32)
    return torch.from_numpy(values.reshape([size for size in shape if size > 1]))
