"""Tables from names to the classes behind them, read without importing the classes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from restyle_cli.errors import RestyleError, did_you_mean


class Registry:
    """Names of one kind of thing ("encoder") with the place of each as "package.module:Attribute".

    Listing the names imports nothing; `load` imports only the module asked for.
    """

    def __init__(self, kind: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self._places = dict(table)

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def load(self, name: str) -> Any:
        """The object called `name`, imported now; RestyleError when there is none."""
        if name not in self._places:
            near = did_you_mean(name, self._places)
            raise RestyleError(
                f"no {self.kind} named '{name}'", near or f"there is: {', '.join(self._places) or 'none'}"
            )
        module, _, attribute = self._places[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
