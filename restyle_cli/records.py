"""JSON and TOML files: read strictly, and checked against the shape that a Python type describes.

The type is the schema: a dataclass or a `TypedDict` for a table, `list[int]`, `tuple[float, float]`, `str | None`,
`Literal["a", "b"]`. Pydantic would do it too, but takes 0.2 s to import, on the way to every command.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import tomllib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from restyle_cli.errors import RestyleError
from restyle_cli.io import open_regular, reason_of

_LARGEST = 2**63 - 1  # what tensors, arrays and TOML hold


class Misfit(ValueError):
    """What is wrong with a value, and `where` in it: "stages[0].lr"."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"'{where}' {reason}" if where else reason)
        self.reason, self.where = reason, where

    def inside(self, where: str) -> Misfit:
        """The same misfit, seen from the table or list around it."""
        joint = "." if self.where and not self.where.startswith("[") else ""
        return Misfit(self.reason, f"{where}{joint}{self.where}")


# --- reading and writing


def parse_json(text: str | bytes) -> Any:
    """The value in `text`, which may begin with a byte order mark. Misfit for all that is not strictly JSON."""
    return _parsed(text, "JSON", lambda plain: json.loads(plain, object_pairs_hook=_table, parse_constant=_constant))


def parse_toml(text: str | bytes) -> dict[str, Any]:
    """The table in `text`, which may begin with a byte order mark. Misfit for all that is not TOML."""
    return _parsed(text, "TOML", tomllib.loads)


def read(path: Path, parse: Callable[[bytes], Any], kind: Any, hint: str | None = None) -> Any:
    """The file as a value of the type `kind`. RestyleError, with the file and the place in it, where it is none."""
    try:
        with open_regular(path) as file:
            return conform(parse(file.read()), kind)
    except OSError as error:
        raise RestyleError(f"cannot read {str(path)!r}: {reason_of(error)}", hint) from error
    except Misfit as error:
        raise RestyleError(f"{str(path)!r}: {error}", hint) from error


def _parsed(text: str | bytes, language: str, parse: Callable[[str], Any]) -> Any:
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8-sig")
        return parse(plain)
    except Misfit:
        raise
    except UnicodeDecodeError as error:
        raise Misfit(f"is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise Misfit(f"is {language} nested too deeply") from error
    except ValueError as error:
        # Python refuses to convert numbers of thousands of digits, and its words are meant for programmers.
        reason = "a number has too many digits" if "integer string conversion" in str(error) else str(error)
        raise Misfit(f"is not valid {language}: {reason}") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Misfit("is there twice", next(key for key in keys if keys.count(key) > 1))
    return table


def _constant(name: str) -> Any:
    raise Misfit(f"is not valid JSON: {name} is not a number")


# --- checking


def conform(value: Any, kind: Any) -> Any:
    """`value` as the type `kind`: lists as the tuples, and tables as the dataclasses that it names. Misfit otherwise.

    Whole numbers pass for fractions, nothing else is converted. A dataclass takes no unknown keys, a TypedDict does.
    """
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _any_of(value, get_args(kind))
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in get_args(kind)):
            raise Misfit(f"must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    if origin in (list, tuple):
        return _sequence(value, kind)
    if origin is dict:
        return {key: _inside(key, item, get_args(kind)[1]) for key, item in _mapping(value).items()}
    if is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return _fields(_mapping(value), kind)
    return _plain(value, kind)


def _plain(value: Any, kind: Any) -> Any:
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a table"}
    names |= {list: "a list", type(None): "empty"}
    if kind is float and type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise Misfit("must be a number of usual size")
        return number
    if not (isinstance(value, dict) if kind is dict else type(value) is kind):
        raise Misfit(f"must be {names[kind]}")
    if kind is int and abs(value) > _LARGEST:
        raise Misfit("must be a number of usual size")
    return value


def _any_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    if value is None and type(None) in kinds:
        return None
    misfits = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return conform(value, kind)
            except Misfit as error:
                misfits.append(error)
    raise misfits[0]


def _sequence(value: Any, kind: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise Misfit("must be a list")
    inner = get_args(kind)
    if get_origin(kind) is tuple and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise Misfit(f"must be a list of {len(inner)}")
    else:
        inner = (inner[0],) * len(value)
    items = (_inside(f"[{i}]", item, of) for i, (item, of) in enumerate(zip(value, inner, strict=True)))
    return get_origin(kind)(items)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misfit("must be a table")
    return value


def _fields(table: Mapping[str, Any], kind: Any) -> Any:
    hints, needed = _keys(kind)
    if lacking := sorted(needed - table.keys()):
        raise Misfit("is missing", lacking[0])
    values = {name: _inside(name, value, hints[name]) for name, value in table.items() if name in hints}
    if is_typeddict(kind):
        return {**table, **values}
    if unknown := sorted(table.keys() - hints.keys()):
        raise Misfit("is not known", unknown[0])
    return kind(**values)


@functools.cache
def _keys(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """The type of each key, and those that must be there."""
    if dataclasses.is_dataclass(kind):
        none = (dataclasses.MISSING, dataclasses.MISSING)
        needed = {field.name for field in dataclasses.fields(kind) if (field.default, field.default_factory) == none}
        return get_type_hints(kind), needed
    marked = get_type_hints(kind, include_extras=True)  # its own list of keys is wrong where annotations are postponed
    return get_type_hints(kind), {name for name, hint in marked.items() if get_origin(hint) is not NotRequired}


def _inside(where: str, value: Any, kind: Any) -> Any:
    try:
        return conform(value, kind)
    except Misfit as error:
        raise error.inside(where) from None
