"""Registries of classes by name, loaded lazily, and the base class of network configs."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from restyle_cli.errors import RestyleError, did_you_mean


class Registry:
    """A table of names, each with its location as "package.module:Attribute". `kind` is for messages ("encoder").

    Listing the names imports nothing; `load` imports only the module of one name.
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._locations = dict(table)

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._locations)

    def __contains__(self, name: object) -> bool:
        return name in self._locations

    def load(self, name: str) -> Any:
        """Import and return the object called `name`; RestyleError if there is none."""
        if name not in self._locations:
            near = did_you_mean(name, self._locations)
            raise RestyleError(
                f"no {self.kind} named '{name}'", near or f"available: {', '.join(self._locations) or 'none'}"
            )
        module, _, attribute = self._locations[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class NetworkConfig:
    """Base of the configs from which a network is built. The fields convert to JSON and back."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values; tuples become lists."""
        return {field.name: _to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`: missing fields take their defaults, an unknown one raises RestyleError."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise RestyleError(f"{cls.__name__} has no field '{name}'", did_you_mean(name, known))
        return cls(**{name: _from_json(value) for name, value in values.items()})


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
