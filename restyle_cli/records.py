"""Read JSON and TOML strictly, and check the values against a Python type.

The type is the schema: a dataclass or a `TypedDict` for a table, `list[int]`, `tuple[float, float]`, `str | None`,
`Literal["a", "b"]`. Pydantic takes 0.2 s to import, which every command would pay.
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

_MAX_INT = 2**63 - 1  # of tensors, arrays and TOML
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "empty"}
_NAMES |= {dict: "a table", list: "a list"}


class RecordError(ValueError):
    """A value is invalid. `where` is its place: "stages[0].lr"."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"'{where}' {reason}" if where else reason)
        self.reason, self.where = reason, where

    def inside(self, where: str) -> RecordError:
        """The same error with its place in the table or list around it."""
        dot = "." if self.where and not self.where.startswith("[") else ""
        return RecordError(self.reason, f"{where}{dot}{self.where}")


# --- parsing


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON, perhaps with a byte order mark. RecordError for NaN, repeated keys and deep nesting too."""
    return _parse(text, "JSON", lambda plain: json.loads(plain, object_pairs_hook=_table, parse_constant=_constant))


def parse_toml(text: str | bytes) -> dict[str, Any]:
    """Parse TOML, perhaps with a byte order mark. RecordError if it is invalid."""
    return _parse(text, "TOML", tomllib.loads)


def read(path: Path, parse: Callable[[bytes], Any], kind: Any, hint: str | None = None) -> Any:
    """Read a file as a value of the type `kind`. RestyleError, with the file and the place in it, if it is invalid."""
    try:
        with open_regular(path) as file:
            return conform(parse(file.read()), kind)
    except OSError as error:
        raise RestyleError(f"cannot read {str(path)!r}: {reason_of(error)}", hint) from error
    except RecordError as error:
        raise RestyleError(f"{str(path)!r}: {error}", hint) from error


def _parse(text: str | bytes, language: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except RecordError:
        raise
    except UnicodeDecodeError as error:
        raise RecordError(f"is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise RecordError(f"is {language} nested too deeply") from error
    except ValueError as error:
        # Python refuses to convert numbers of thousands of digits, with a message for programmers.
        reason = "a number has too many digits" if "integer string conversion" in str(error) else str(error)
        raise RecordError(f"is not valid {language}: {reason}") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RecordError("appears twice", next(key for key in keys if keys.count(key) > 1))
    return table


def _constant(name: str) -> Any:
    raise RecordError(f"is not valid JSON: {name} is not a number")


# --- checking


def conform(value: Any, kind: Any) -> Any:
    """`value` as the type `kind`, with lists and tables converted to its tuples and dataclasses. Else RecordError.

    Integers are valid as floats; nothing else is converted. Unknown keys are invalid in dataclasses, not in TypedDicts.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or (value is None and type(None) in arguments):
        return value
    if origin in (Union, types.UnionType):
        errors = []
        for option in arguments:
            try:
                return conform(value, option)
            except RecordError as error:
                errors.append(error)
        raise errors[0]
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise RecordError(f"must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise RecordError("must be a list")
        if origin is list or arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        elif len(value) != len(arguments):
            raise RecordError(f"must be a list of {len(arguments)}")
        return origin(_inside(f"[{i}]", item, arguments[i]) for i, item in enumerate(value))
    if origin is dict or is_typeddict(kind) or dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise RecordError("must be a table")
        if origin is dict:
            return {key: _inside(key, item, arguments[1]) for key, item in value.items()}
        return _fields(value, kind)
    return _plain(value, kind)


def _plain(value: Any, kind: type) -> Any:
    if kind is float and type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RecordError("must be a finite number")
        return number
    if not (isinstance(value, dict) if kind is dict else type(value) is kind):
        raise RecordError(f"must be {_NAMES[kind]}")
    if kind is int and abs(value) > _MAX_INT:
        raise RecordError("must fit in 64 bits")
    return value


def _fields(table: Mapping[str, Any], kind: Any) -> Any:
    hints, required = _keys(kind)
    if missing := sorted(required - table.keys()):
        raise RecordError("is missing", missing[0])
    values = {name: _inside(name, value, hints[name]) for name, value in table.items() if name in hints}
    if is_typeddict(kind):
        return {**table, **values}
    if unknown := sorted(table.keys() - hints.keys()):
        raise RecordError("is not known", unknown[0])
    return kind(**values)


@functools.cache
def _keys(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """The type of each key, and the required keys."""
    hints = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        none = (dataclasses.MISSING, dataclasses.MISSING)
        return hints, {
            field.name for field in dataclasses.fields(kind) if (field.default, field.default_factory) == none
        }
    marked = get_type_hints(kind, include_extras=True)  # __required_keys__ is wrong with postponed annotations
    return hints, {name for name, hint in marked.items() if get_origin(hint) is not NotRequired}


def _inside(where: str, value: Any, kind: Any) -> Any:
    try:
        return conform(value, kind)
    except RecordError as error:
        raise error.inside(where) from None
