"""The names that a checkpoint may import, and the data that takes the place of other projects' objects."""

from __future__ import annotations

import argparse
import io
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restyle_cli.store.legacy.unpickle import STORAGES, Callee, Data, RefusedFile, hashable, read_old_torch, table

MAX_MODULES = 100_000
"""Modules inside a pickled network: one that contains itself has no end."""

MAX_LISTED = 10_000_000
"""Numbers in a list that is read as a tensor."""
_ELEMENTS = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"))
"""Numpy's names of the types that torch has too."""
_BYTES = bytes | bytearray


class Inert(Data):
    """Takes the place of an object that is not needed (a device)."""

    def __init__(self, *_arguments: Any) -> None:
        pass


class Namespace(argparse.Namespace, Data):
    """Options of a training."""

    def set_state(self, state: Any) -> None:
        vars(self).update(state)


class ArrayType(Data):
    """The type of a numpy array's elements: "f4", and the order of its bytes."""

    def __init__(self, code: Any = "", *_arguments: Any) -> None:
        self.code = code
        self.order: Any = "="

    def set_state(self, state: Any) -> None:
        self.order = state[1]

    def read(self, data: Any) -> np.ndarray | None:
        """The numbers in `data`, one after the other; None where they are no plain numbers."""
        if self.code not in _ELEMENTS or self.order not in ("<", ">", "=", "|") or not isinstance(data, _BYTES):
            return None
        return np.frombuffer(data, np.dtype(self.order + self.code)).astype(self.code)


class Array(Data):
    """A numpy array; `tensor` has its numbers, and is None where they are no plain numbers (texts, objects)."""

    tensor: Tensor | None = None

    def __init__(self, *_arguments: Any) -> None:
        pass

    def set_state(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        self.fill(shape, kind, "F" if by_columns else "C", data)

    def fill(self, shape: Any, kind: Any, order: Any, data: Any) -> Array:
        numbers = kind.read(data) if isinstance(kind, ArrayType) else None
        if numbers is not None:
            if not all(isinstance(side, int) and side >= 0 for side in shape) or math.prod(shape) != numbers.size:
                raise RefusedFile("has an array of another size than it says")
            self.tensor = torch.from_numpy(numbers.reshape(shape, order="F" if order == "F" else "C").copy("C"))
        return self


def as_tensor(value: Any) -> Tensor | None:
    """The numbers of a tensor (without its gradients), a numpy array, or a list of these or of numbers, on the CPU.

    None for everything else.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Array):
        return value.tensor
    if isinstance(value, int | float):
        return torch.tensor(value) if isinstance(value, float) or abs(value) < 2**63 else None
    if not isinstance(value, list | tuple):
        return None
    # A list may contain the same list many times: the size is computed before the tensor.
    size, inner = 1, value
    while isinstance(inner, list | tuple) and inner and size <= MAX_LISTED:
        size, inner = size * len(inner), inner[0]
    try:
        if size <= MAX_LISTED and isinstance(inner, int | float):
            return torch.tensor(value, dtype=torch.float32)
        if value and inner is value[0]:
            return torch.stack([row.detach() if isinstance(row, Tensor) else row.tensor for row in value])
    except (ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError):
        pass  # rows of several lengths, or of something else
    return None


class PickledModule(Data):
    """A module of another project, of which only data is read: its attributes and its tensors."""

    def __init__(self, *_arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def options(self) -> dict[str, Any]:
        """The named arguments that the module was made with, as far as the file has them."""
        made_with = self.state.get("_init_kwargs")
        return dict(made_with) if isinstance(made_with, dict) else {}

    def state_dict(self) -> dict[str, Any]:
        """Parameters and buffers, those of inner modules under "inner.name"."""
        found: dict[str, Any] = {}
        waiting: list[tuple[str, PickledModule]] = [("", self)]
        for count in range(MAX_MODULES):
            if not waiting:
                return found
            prefix, module = waiting.pop()
            for kind in ("_parameters", "_buffers"):
                found |= {prefix + name: value for name, value in module.inner(kind) if value is not None}
            waiting += [
                (f"{prefix}{name}.", inner)
                for name, inner in module.inner("_modules")
                if isinstance(inner, PickledModule)
            ]
            if count + len(waiting) > MAX_MODULES:
                break
        raise RefusedFile("has modules without end")

    def inner(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Pairs of one of the tables that every torch module has ("_parameters")."""
        table = self.state.get(kind)
        return iter(table.items() if isinstance(table, dict) else ())


def _persistent(meta: Any) -> PickledModule:
    """NVIDIA's modules come with the source of their class, which their reader runs: here it is ignored."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise RefusedFile("has a network in a form that restyle does not know")
    module = PickledModule()
    module.set_state(meta.get("state"))
    return module


def _load_from_bytes(data: bytes) -> Tensor:
    """The storage in a file of `torch.save` inside the file."""
    file = io.BytesIO(data)
    storage = read_old_torch(file, len(data), _find_storage)
    if not isinstance(storage, Tensor) or file.read(1):
        raise RefusedFile("has a tensor of another size than it says")
    return storage


def _find_storage(name: str) -> torch.dtype:
    if name not in STORAGES:
        raise RefusedFile("has a tensor whose data ask for something else")
    return STORAGES[name]


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_rest: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_rest: Any) -> Tensor:
    return data


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A number of numpy's, as Python's own; None for what is no plain number."""
    numbers = kind.read(data) if isinstance(kind, ArrayType) else None
    return None if numbers is None else numbers.item()


def _array_of_buffer(data: Any, kind: Any, shape: Any, order: Any) -> Array:
    return Array().fill(shape, kind, order, data)


def _encode(text: str, _encoding: str = "latin1") -> bytes:
    """Protocol 2 writes bytes as a text."""
    return text.encode("latin1")


def _no_bytes(*_arguments: Any) -> bytes:
    """Protocol 2 writes no bytes at all as a call."""
    return b""


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    return dict(table(pairs))


def _set(items: Any = ()) -> set[Any]:
    return set(hashable(items))


_CALLEES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "dnnlib.util.EasyDict": _dict,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _no_bytes,
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _load_from_bytes,
    "torch.Size": tuple,
    "torch.device": Inert,
    "argparse.Namespace": Namespace,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}
_CALLEES |= {
    f"{module}.{kind}Path": getattr(pathlib, f"Pure{kind}Path")
    for module in ("pathlib", "pathlib._local")
    for kind in ("Posix", "Windows")
}
_ARRAYS: dict[str, Callable[..., Any]] = {
    "ndarray": Array,
    "dtype": ArrayType,
    "multiarray._reconstruct": Array,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _array_of_buffer,  # protocol 5
}
_CALLEES |= {
    f"{package}.{name}": function
    for package in ("numpy", "numpy.core", "numpy._core")  # before and since numpy 2
    for name, function in _ARRAYS.items()
}
_DTYPES = {**STORAGES, **{str(dtype): dtype for dtype in STORAGES.values()}}


def find(name: str) -> Any:
    """What stands for "module.name" in a checkpoint. RefusedFile for everything that is not needed for networks."""
    if name in _DTYPES:
        return _DTYPES[name]
    if name in _CALLEES:
        return Callee(_CALLEES[name])
    if name.startswith("torch.nn.modules."):
        return Callee(PickledModule)
    if name.startswith("dnnlib.tflib"):
        raise RefusedFile(
            "is a StyleGAN of TensorFlow, which restyle does not read",
            "legacy.py of NVIDIA's stylegan2-ada-pytorch turns it into a PyTorch pickle, which restyle reads",
        )
    raise RefusedFile(
        f"asks for '{name}', which is code and no part of a network; nothing of it was run",
        "if it is a whole saved module, save its state_dict(); if you do not know its origin, delete it",
    )
