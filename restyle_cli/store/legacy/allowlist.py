"""What stands in the place of other projects' Python objects: data only, no code of theirs.

A checkpoint is a pickle, and a pickle names what it wants imported and called. Names in `ALLOWED` are the only ones
that a checkpoint may ask for; where they are classes of other projects, it gets something from here instead.
"""

from __future__ import annotations

import argparse
import io
import math
import pathlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restyle_cli.store.legacy.pickle_scan import RefusedFile, scan

STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
"""The kinds of data that tensors lie in, and the type of their elements."""
MAX_MODULES = 100_000
"""Modules inside a pickled network: one that holds itself would have us walk without end."""

MAX_LISTED = 10_000_000
"""Numbers in a list that is read as a tensor."""
_ELEMENTS = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"))
"""Numpy's names of the types that torch has too."""
_BYTES = bytes | bytearray


class Inert:
    """Takes the place of an object that is not needed (a device): accepts everything and keeps nothing."""

    def __new__(cls, *_arguments: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


class ArrayType:
    """The type of a numpy array's elements: "f4", and the order of its bytes."""

    def __init__(self, code: Any = "", *_arguments: Any) -> None:
        self.code = code
        self.order: Any = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def read(self, data: Any) -> np.ndarray | None:
        """The numbers in `data`, one after the other; None where they are no plain numbers."""
        if self.code not in _ELEMENTS or self.order not in ("<", ">", "=", "|") or not isinstance(data, _BYTES):
            return None
        return np.frombuffer(data, np.dtype(self.order + self.code)).astype(self.code)


class Array:
    """A numpy array; `tensor` has its numbers, and is None where they are no plain numbers (texts, objects)."""

    tensor: Tensor | None = None

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
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
    # A list may hold one and the same list many times over: what that comes to is counted before it is made.
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


class PickledModule:
    """A module of another project, of which only the data are read: its class's name, its attributes, its tensors."""

    class_name = ""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
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


def stand_in(name: str) -> Any:
    """What a checkpoint gets that asks for "module.name"; KeyError if it may not ask for it."""
    if name.startswith("torch.nn.modules."):
        return type(name.rpartition(".")[2], (PickledModule,), {"__new__": _new, "class_name": name})
    if name in STORAGES:
        return STORAGES[name]
    return _STAND_INS[name]


def allowed(name: str) -> bool:
    """Whether a checkpoint may ask for "module.name"."""
    return name in STORAGES or name in _STAND_INS or name.startswith("torch.nn.modules.")


def _new(cls: type[PickledModule], *_arguments: Any) -> PickledModule:
    module = object.__new__(cls)
    PickledModule.__init__(module)
    return module


def _persistent(meta: Any) -> PickledModule:
    """NVIDIA's modules bring the source of their class along, to be run on reading: here it is dropped unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise RefusedFile("has a network in a form that restyle does not know")
    module = PickledModule()
    module.class_name = meta["class_name"]
    module.__setstate__(meta.get("state"))
    return module


def _storage(data: bytes) -> Tensor:
    """The numbers of a small file inside the file, as one row. It is parsed and not unpickled."""
    file = io.BytesIO(data)
    scans = [scan(file) for _ in range(5)]  # magic number, version, machine, the storage, its key
    if scans[3].names - set(STORAGES) or len(scans[3].storages) != 1 or any(s.names for s in scans[:3]):
        raise RefusedFile("has a tensor whose data ask for something else")
    reference = scans[3].storages[0]
    dtype = STORAGES.get(reference[1]) if len(reference) > 4 else None
    count, start = int.from_bytes(file.read(8), "little"), file.tell()
    if dtype is None or count != reference[4] or count * dtype.itemsize != len(data) - start:
        raise RefusedFile("has a tensor of another size than it says")
    return torch.frombuffer(bytearray(data[start:]), dtype=dtype) if count else torch.empty(0, dtype=dtype)


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


_CODE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "torch.Size": tuple,
    "torch.device": Inert,
    "argparse.Namespace": argparse.Namespace,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "dnnlib.util.EasyDict": OrderedDict,
}
_PATHS: dict[str, Callable[..., Any]] = {
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
_NUMPY = {
    f"{package}.{name}": made
    for package in ("numpy", "numpy.core", "numpy._core")  # before and since numpy 2
    for name, made in _ARRAYS.items()
}
_DTYPES = {str(dtype): dtype for dtype in STORAGES.values()}
_STAND_INS: dict[str, Any] = {**_CODE, **_PATHS, **_NUMPY, **_DTYPES}
