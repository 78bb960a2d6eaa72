"""Errors that a person can mend: what happened, to which thing, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RestyleError(Exception):
    """Something a person can mend. The command line prints `message` and `hint` instead of a traceback."""

    exit_status = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def whole(self) -> str:
        """Message and hint in one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(RestyleError):
    """The command was asked for something that cannot be, whatever the input is."""

    exit_status = 2


class Interrupted(RestyleError):
    """Ctrl-C, where there is something to say about what is done already. The exit status is the shells'."""

    exit_status = 130


class RestyleWarning(UserWarning):
    """Something about an input that a person should look at; the work goes on. The command line prints it as a line."""


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Piece of a hint: the entry of `names` that `name` was probably meant to be; None if none is near."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean '{by_lower[near[0]]}'?" if near else None
