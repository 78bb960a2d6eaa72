"""What a pickle asks for, found by reading its instructions without following any of them.

A pickle is a program for a small stack machine. Only the instructions that Python's own pickler writes since 2003
are known here; the machine is followed with depths and short values in the place of objects, so that the names of
everything the pickle would import come out before anything is imported, and nothing deep or endless goes further.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from restyle_cli.errors import RestyleError

MAX_INSTRUCTIONS = 500_000
"""Instructions in one pickle; a published checkpoint with its optimiser has some 50,000."""
MAX_DEPTH = 200
"""Nesting of what a pickle builds; comparing or deleting deeper things can end the whole process."""

_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 SHORT_BINSTRING
    EMPTY_LIST EMPTY_DICT EMPTY_SET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS ADDITEMS
    FROZENSET BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL NEWOBJ NEWOBJ_EX REDUCE BUILD BINPERSID
"""
_KNOWN = frozenset(_INSTRUCTIONS.split())
_TUPLES = frozenset(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))
_PUTS, _GETS = frozenset(("BINPUT", "LONG_BINPUT")), frozenset(("BINGET", "LONG_BINGET"))
_UNKNOWN = object()


class RefusedFile(RestyleError):
    """A pickle that is not followed; the message completes "the file …"."""


@dataclass(frozen=True)
class PickleScan:
    """`names`: what the pickle would import ("module.name"). `storages`: its references to data outside it."""

    names: frozenset[str]
    storages: list[tuple[Any, ...]]


@dataclass(frozen=True)
class _Thing:
    """What stands for an object: how deep it is nested, and its value where that is a text, a number or a tuple."""

    depth: int = 0
    value: Any = _UNKNOWN


_MARK = _Thing()


@dataclass
class _Machine:
    stack: list[_Thing] = field(default_factory=list)
    memo: dict[int, _Thing] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    storages: list[tuple[Any, ...]] = field(default_factory=list)

    def follow(self, op: pickletools.OpcodeInfo, argument: Any) -> None:
        if op.name in _PUTS:
            self.memo[argument] = self._top()
        elif op.name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif op.name in _GETS:
            if argument not in self.memo:
                raise RefusedFile("refers to something it never made")
            self.stack.append(self.memo[argument])
        elif op.name == "MARK":
            self.stack.append(_MARK)
        elif op.name == "POP":
            self._pop(1)
        else:
            taken = self._taken(op)
            if op.stack_after:
                self.stack.append(self._made(op.name, argument, taken))

    def _made(self, name: str, argument: Any, taken: list[_Thing]) -> _Thing:
        depth = 1 + max((thing.depth for thing in taken), default=-1)
        if depth > MAX_DEPTH:
            raise RefusedFile(f"nests things more than {MAX_DEPTH} deep")
        if name == "GLOBAL":
            return _Thing(depth, self._named(*argument.split(" ", 1)))
        if name == "STACK_GLOBAL":
            return _Thing(depth, self._named(*(thing.value for thing in taken)))
        if name == "BINPERSID":
            reference = taken[0].value
            self.storages.append(reference if isinstance(reference, tuple) else (reference,))
        elif name in _TUPLES:
            return _Thing(depth, tuple(thing.value for thing in taken))
        elif isinstance(argument, str | int):
            return _Thing(depth, argument)
        return _Thing(depth)

    def _named(self, module: Any, name: Any) -> str:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedFile("asks for something without saying its name")
        self.names.add(full_name(module, name))
        return full_name(module, name)

    def _taken(self, op: pickletools.OpcodeInfo) -> list[_Thing]:
        """What the instruction takes from the stack, with what it finds below its mark."""
        before = op.stack_before
        if pickletools.markobject not in before:
            return self._pop(len(before))
        above: list[_Thing] = []
        while (thing := self._pop(1)[0]) is not _MARK:
            above.append(thing)
        return self._pop(before.index(pickletools.markobject)) + above[::-1]

    def _pop(self, count: int) -> list[_Thing]:
        if count > len(self.stack):
            raise RefusedFile("takes more than it has made")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _top(self) -> _Thing:
        return self.stack[-1] if self.stack else self._pop(1)[0]


class _Bounded:
    """A file that does not set memory aside for more than it has: then a MemoryError means too little of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.tell, self.readline, self._file = file.tell, file.readline, file
        here = file.tell()
        self._size = file.seek(0, io.SEEK_END)
        file.seek(here)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size))


def full_name(module: str, name: str) -> str:
    """ "module.name", as Python 3 reads it: protocol 2 calls some by Python 2's names."""
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


def scan(file: BinaryIO) -> PickleScan:
    """Read one pickle from `file`, which then stands behind it. RefusedFile where it should not be followed."""
    machine = _Machine()
    try:
        for count, (op, argument, _) in enumerate(pickletools.genops(_Bounded(file))):
            if op.name not in _KNOWN:
                raise RefusedFile(f"has an instruction that networks do not need ({op.name})")
            if count > MAX_INSTRUCTIONS or (op.name in _PUTS and argument > MAX_INSTRUCTIONS):
                raise RefusedFile(f"has more than {MAX_INSTRUCTIONS} instructions")
            machine.follow(op, argument)
    except (ValueError, OverflowError) as error:
        raise RefusedFile("is cut off or damaged") from error
    return PickleScan(frozenset(machine.names), machine.storages)
