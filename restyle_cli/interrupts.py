"""Handle Ctrl-C and SIGTERM.

This module imports little, because Ctrl-C prints a traceback until `listen` is called.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

EXIT_STATUS = 130
"""Exit status after Ctrl-C, as in shells."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether Ctrl-C or SIGTERM was received."""

    requested = False


def listen() -> Interruption:
    """Raise KeyboardInterrupt at the first Ctrl-C or SIGTERM from now on; the second ends the process at once."""
    interruption = Interruption()

    def first(number: int, frame: FrameType | None) -> None:
        interruption.requested = True
        end_at_next()
        raise KeyboardInterrupt

    _handle(first)
    return interruption


def end_at_next() -> None:
    """End the process at once, without cleanup, at the next Ctrl-C or SIGTERM."""
    _handle(_end)


class DelayedInterrupt(Interruption):
    """In the block, the first Ctrl-C or SIGTERM only sets `requested`; the second is handled as outside the block.

    Has no effect outside the main thread, because only that receives signals.
    """

    def __enter__(self) -> DelayedInterrupt:
        from threading import current_thread, main_thread

        self._before = {}
        if current_thread() is main_thread():
            self._before = {number: signal.getsignal(number) for number in _SIGNALS}
            _handle(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.__exit__()


def _handle(handler: Handler) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored with nohup and in background jobs of scripts
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # show the cursor, which progress bars hide
    os._exit(EXIT_STATUS)
