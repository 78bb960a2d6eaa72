"""What stands in the place of other projects' Python objects: data only, no code of theirs.

A checkpoint is a pickle, and a pickle names what it wants imported and called. Names in `ALLOWED` are the only ones
that a checkpoint may ask for; where they are classes of other projects, it gets something from here instead.
"""

from __future__ import annotations

import argparse
import io
import pathlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from restyle_cli.store.legacy.survey import Suspicious, survey

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


class Inert:
    """Takes the place of an object that is not needed (numpy's numbers): accepts everything and keeps nothing."""

    def __new__(cls, *_arguments: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


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

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers, those of inner modules under "inner.name"."""
        found: dict[str, Tensor] = {}
        waiting: list[tuple[str, PickledModule]] = [("", self)]
        for count in range(MAX_MODULES):
            if not waiting:
                return found
            prefix, module = waiting.pop()
            for kind in ("_parameters", "_buffers"):
                found |= {prefix + name: value for name, value in module.inner(kind) if isinstance(value, Tensor)}
            waiting += [
                (f"{prefix}{name}.", inner)
                for name, inner in module.inner("_modules")
                if isinstance(inner, PickledModule)
            ]
            if count + len(waiting) > MAX_MODULES:
                break
        raise Suspicious("has modules without end")

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
        raise Suspicious("has a network in a form that restyle does not know")
    module = PickledModule()
    module.class_name = meta["class_name"]
    module.__setstate__(meta.get("state"))
    return module


def _storage(data: bytes) -> Tensor:
    """The numbers of a small file inside the file, as one row. It is parsed and not unpickled."""
    file = io.BytesIO(data)
    surveys = [survey(file) for _ in range(5)]  # magic number, version, machine, the storage, its key
    if surveys[3].names - set(STORAGES) or len(surveys[3].storages) != 1 or any(s.names for s in surveys[:3]):
        raise Suspicious("has a tensor whose data ask for something else")
    reference = surveys[3].storages[0]
    dtype = STORAGES.get(reference[1]) if len(reference) > 4 else None
    count, start = int.from_bytes(file.read(8), "little"), file.tell()
    if dtype is None or count != reference[4] or count * dtype.itemsize != len(data) - start:
        raise Suspicious("has a tensor of another size than it says")
    return torch.frombuffer(bytearray(data[start:]), dtype=dtype) if count else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_rest: Any) -> Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_rest: Any) -> Tensor:
    return data


def _encode(text: str, _encoding: str = "latin1") -> bytes:
    """Protocol 2 writes bytes as a text."""
    return text.encode("latin1")


_CODE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "_codecs.encode": _encode,
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
_NUMPY: dict[str, Callable[..., Any]] = {
    # Before and since numpy 2.
    f"{module}.{name}": Inert
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("scalar", "_reconstruct", "ndarray", "dtype")
}
_DTYPES = {str(dtype): dtype for dtype in STORAGES.values()}
_STAND_INS: dict[str, Any] = {**_CODE, **_PATHS, **_NUMPY, **_DTYPES}
