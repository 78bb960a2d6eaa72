"""Errors that a user can fix: what happened, to which file, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RestyleError(Exception):
    """An error that a user can fix. The command line prints `message` and `hint` instead of a traceback."""

    exit_status = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def full_message(self) -> str:
        """Message and hint on one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(RestyleError):
    """Wrong usage: the request is invalid whatever the input files are."""

    exit_status = 2


class Interrupted(RestyleError):
    """Ctrl-C or SIGTERM, with a message about the finished work. The exit status is that of shells."""

    exit_status = 130


class RestyleWarning(UserWarning):
    """A possible problem of an input; the run continues. The command line prints it as one line."""


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """A hint with the closest entry of `names`: "did you mean 'list'?"; None if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"did you mean '{by_lower[near[0]]}'?" if near else None
