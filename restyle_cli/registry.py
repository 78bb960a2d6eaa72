"""Registries of classes by name, loaded lazily, and the base class of network configs."""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from restyle_cli.errors import RestyleError, RestyleWarning, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T", covariant=True)


class Registry(Generic[T]):
    """A table of names, each with its location as "package.module:Attribute". `kind` is for messages ("encoder").

    Other packages add names through the entry points `group`. Each must be a subclass of the class at `base`, and its
    name must not be in the table nor in `reserved`.

    Listing the names imports nothing; `load` imports only the module of one name.
    """

    def __init__(
        self, kind: str, table: Mapping[str, str], group: str = "", base: str = "", reserved: Collection[str] = ()
    ) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._locations = dict(table)
        self._reserved = reserved

    def names(self) -> list[str]:
        """All names, in the order of the table, then those of other packages."""
        return [*self._locations, *self._plugins]

    def __contains__(self, name: object) -> bool:
        return name in self._locations or name in self._plugins

    def load(self, name: str) -> T:
        """Import and return the object called `name`; RestyleError if there is none, or its package is broken."""
        if name in self._locations:
            return _import(self._locations[name])
        if name in self._plugins:
            return self._load_plugin(self._plugins[name])
        known = self.names()
        near = did_you_mean(name, known)
        raise RestyleError(f"no {self.kind} named '{name}'", near or f"available: {', '.join(known) or 'none'}")

    def plugin(self, name: str) -> EntryPoint | None:
        """The entry point of a name that another package adds."""
        return None if name in self._locations else self._plugins.get(name)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        if not self.group:
            return {}
        from importlib.metadata import entry_points  # here, because the search reads the metadata of all packages

        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
            if point.name in self._locations or point.name in self._reserved or point.name in found:
                text = f"the {self.kind} '{point.name}' of the package {_package(point)} is ignored: the name is taken"
                warnings.warn(text, RestyleWarning, stacklevel=2)
            else:
                found[point.name] = point
        return found

    def _load_plugin(self, point: EntryPoint) -> T:
        base = _import(self._base)
        try:
            found = point.load()
            if not (isinstance(found, type) and issubclass(found, base)):
                raise TypeError(f"{point.value} is not a subclass of {base.__module__}.{base.__name__}")
        except Exception as error:  # whatever the import of a foreign package raises
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            message = f"the {self.kind} '{point.name}' of the package {_package(point)} cannot be loaded: {text}"
            raise RestyleError(message, "update or uninstall that package") from error
        return found  # type: ignore[return-value]  # a subclass of `base`, which the type variable does not know


class CallablePackage(ModuleType):
    """A subpackage that shares its name with a function of the Python interface, which a call of it calls."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        package, _, name = self.__name__.rpartition(".")
        return getattr(importlib.import_module(f"{package}.api"), name)(*args, **kwargs)


def _import(location: str) -> Any:
    module, _, attribute = location.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _package(point: EntryPoint) -> str:
    return f"'{point.dist.name}'" if point.dist else "of an unknown name"


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
