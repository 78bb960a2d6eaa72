"""Ctrl-C and SIGTERM: how the command line ends on them, and how a loop finishes its step first."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_STATUS = 130
"""What shells report after Ctrl-C."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """Whether Ctrl-C or SIGTERM came."""

    requested: bool = False


def listen() -> Interruption:
    """From here on the first Ctrl-C or SIGTERM raises KeyboardInterrupt, the next one ends the process at once."""
    interruption = Interruption()

    def first(number: int, frame: FrameType | None) -> None:
        interruption.requested = True
        end_at_next()
        raise KeyboardInterrupt

    _handle(first)
    return interruption


def end_at_next() -> None:
    """From here on Ctrl-C or SIGTERM ends the process at once, without cleaning up."""
    _handle(_end)


@contextmanager
def held() -> Iterator[Interruption]:
    """Inside, the first Ctrl-C or SIGTERM is only noted; the next one does what it does outside.

    In another thread than the main one, which alone receives signals, nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        interruption.requested = True
        restore()

    _handle(note)
    try:
        yield interruption
    finally:
        restore()


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and the background jobs of a script want it
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(EXIT_STATUS)
