"""Print warnings about images as lines: the threads that read ahead have no `Terminal`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from restyle_cli.cli.output import Terminal
from restyle_cli.errors import RestyleWarning


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print every RestyleWarning in the block by `Terminal.warn`, each text once."""
    shown: set[str] = set()
    show_others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if not issubclass(category, RestyleWarning):
            show_others(message, category, *where, **options)
        elif (text := str(message)) not in shown:
            shown.add(text)  # a photo is read again for --paste-back, a mask for each photo
            Terminal().warn(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RestyleWarning)
        warnings.showwarning = show
        yield
