"""Tables from names to the classes behind them, read without importing the classes; and what rebuilds a network."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from restyle_cli.errors import RestyleError, did_you_mean


class Registry:
    """Names of one kind of thing ("encoder") with the place of each as "package.module:Attribute".

    Listing the names imports nothing; `load` imports only the module asked for.
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
        """The object called `name`, imported now; RestyleError when there is none."""
        if name not in self._locations:
            near = did_you_mean(name, self._locations)
            raise RestyleError(
                f"no {self.kind} named '{name}'", near or f"there is: {', '.join(self._locations) or 'none'}"
            )
        module, _, attribute = self._locations[name].partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class NetworkConfig:
    """Base of the descriptions that rebuild a network: its fields go to JSON and back. Lists become tuples."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them (tuples become lists)."""
        return {field.name: _to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The description of `to_dict`; fields left out take their defaults, unknown ones are an error."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise RestyleError(f"{cls.__name__} has no field '{name}'", did_you_mean(name, known))
        return cls(**{name: _from_json(value) for name, value in values.items()})


def _to_json(value: Any) -> Any:
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    return tuple(_from_json(item) for item in value) if isinstance(value, list) else value
