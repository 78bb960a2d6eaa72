"""A reader of pickles that runs nothing inside them: it calls allow-listed functions only, and builds data only.

A pickle is a program for a small stack machine. `pickle` calls whatever a file names, and `torch.load` reads neither
NVIDIA's network pickles nor modules of other projects. This reader knows the instructions that Python 3's pickler
writes, and nothing that could be endless or deep is hashed, which would end the process.
"""

from __future__ import annotations

import io
import os
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError

MAX_INSTRUCTIONS = 500_000
"""Instructions in one pickle; a published checkpoint with its optimiser has some 50,000."""
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
"""The kinds of storage that tensors have, and the type of their elements."""
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Instructions that push the value that follows them."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class RefusedFile(RestyleError):
    """A file that is not read. The message completes "the file …"."""


@dataclass(frozen=True)
class Callee:
    """A function that a pickle may call. Nothing else is ever called."""

    function: Callable[..., Any]


class Data:
    """Base of objects that a pickle gives a state to."""

    def set_state(self, state: Any) -> None:
        """Take over what is needed of `state`, which may be anything."""


class BoundedFile(io.BufferedReader):
    """Allocates no more than the file's size, whatever length is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(-1 if size is None else min(size, os.fstat(self.fileno()).st_size))


def damaged() -> RefusedFile:
    """The error for a file that ends early or makes no sense."""
    return RefusedFile("is cut off or damaged")


def unpickle(
    file: io.BytesIO | BoundedFile, find: Callable[[str], Any], storage: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle from `file`, which is then positioned behind it.

    `find` returns what stands for "module.name": data or a `Callee`. `storage` returns the storage for a reference to
    data outside the pickle. RefusedFile for everything that is not a whole pickle of data.
    """
    try:
        return _run(file, find, storage)
    except RestyleError:
        raise
    except Exception as error:  # the stack machine fails in many ways on a bad program, and so do the functions called
        raise damaged() from error


def _run(file: io.BytesIO | BoundedFile, find: Callable[[str], Any], storage: Callable[[Any], Any] | None) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop(count: int) -> list[Any]:
        if count > len(stack):
            raise IndexError("the stack is too short")
        items = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return items

    def pop_mark() -> list[Any]:
        return pop(len(stack) - marks.pop())

    argument: Any
    for count, (op, argument, _) in enumerate(pickletools.genops(file)):
        if count > MAX_INSTRUCTIONS:
            raise RefusedFile(f"has more than {MAX_INSTRUCTIONS} instructions")
        match op.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "POP" if marks and marks[-1] == len(stack):
                marks.pop()
            case "POP":
                stack.pop()
            case "POP_MARK":
                pop_mark()
            case name if name in _VALUES:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(set())
            case "TUPLE":
                stack.append(tuple(pop_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(op.name[-1]))))
            case "FROZENSET":
                stack.append(frozenset(hashable(pop_mark())))
            case "APPEND":
                items = pop(1)
                list.extend(stack[-1], items)
            case "APPENDS":
                items = pop_mark()
                list.extend(stack[-1], items)
            case "SETITEM":
                items = pop(2)
                dict.update(stack[-1], table([items]))
            case "SETITEMS":
                items = pop_mark()
                dict.update(stack[-1], table(zip(items[::2], items[1::2], strict=True)))
            case "ADDITEMS":
                items = pop_mark()
                set.update(stack[-1], hashable(items))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(find(_full_name(*argument.split(" ", 1))))
            case "STACK_GLOBAL":
                stack.append(find(_full_name(*pop(2))))
            case "REDUCE" | "NEWOBJ":
                callee, arguments = pop(2)
                if not isinstance(callee, Callee):
                    raise TypeError("a call of data")
                stack.append(callee.function(*arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Data):
                    stack[-1].set_state(state)
                elif not isinstance(stack[-1], dict):  # whose attributes, such as a state dict's, are not needed
                    raise TypeError("a state for data without one")
            case "BINPERSID":
                if storage is None:
                    raise RefusedFile("refers to data outside of it")
                stack.append(storage(stack.pop()))
            case name:
                raise RefusedFile(f"has an instruction that networks do not need ({name})")
    raise damaged()


def _full_name(module: Any, name: Any) -> str:
    """ "module.name" as in Python 3: pickles of protocol 2 have some names of Python 2."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise RefusedFile("asks for something without saying its name")
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


def hashable(values: Any) -> list[Any]:
    """The values as a list, if all are plain: hashing deeply nested tuples would end the process."""
    values = list(values)
    for value in values:
        if isinstance(value, tuple):
            if any(isinstance(item, tuple | frozenset) for item in value):
                raise TypeError("a nested key")
        elif not isinstance(value, str | bytes | int | float | None):
            raise TypeError("a key that is no plain value")
    return values


def table(pairs: Any) -> list[Any]:
    """Pairs of a plain key and a value, for a dict."""
    pairs = [(key, value) for key, value in pairs]
    hashable(key for key, _ in pairs)
    return pairs


def check_storage(kind: Any, dtype: Any, key: Any, count: Any) -> None:
    """RefusedFile unless these parts of a reference name a storage."""
    if kind != "storage" or dtype not in STORAGES.values() or not isinstance(key, str) or not isinstance(count, int):
        raise RefusedFile("has tensors in a form that restyle does not know")
    if count < 0:
        raise RefusedFile("has tensors of other sizes than it says")


def read_old_torch(file: io.BytesIO | BoundedFile, size: int, find: Callable[[str], Any]) -> Any:
    """What `torch.save` wrote before 1.6: pickles, then the data of storages. `size`: bytes of the whole file."""
    for _ in range(3):  # magic number, version, machine
        unpickle(file, find)
    storages: dict[str, Tensor] = {}

    def storage(reference: Any) -> Tensor:
        kind, dtype, key, _, count, *view = reference
        check_storage(kind, dtype, key, count)
        if key not in storages:
            claimed = sum(known.nbytes for known in storages.values()) + count * dtype.itemsize
            if claimed > size:
                raise RefusedFile("has tensors larger than itself: it is cut off or damaged")
            storages[key] = torch.empty(count, dtype=dtype)
        found = storages[key]
        if found.dtype != dtype or len(found) != count:
            raise RefusedFile("has tensors of other sizes than it says")
        if view and view[0] is not None:
            _, start, length = view[0]
            return found[start : start + length]
        return found

    content = unpickle(file, find, storage)
    keys = unpickle(file, find)
    if not isinstance(keys, list) or set(hashable(keys)) != set(storages):
        raise damaged()
    for key in keys:
        data = storages[key].view(torch.uint8).numpy().data
        count = int.from_bytes(file.read(8), "little")
        if count != len(storages[key]) or file.readinto(data) != len(data):
            raise RefusedFile("has tensors of other sizes than it says")
    return content
