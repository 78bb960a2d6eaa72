"""Work that does not fit in memory: how to recognise it, and how to go on with less at a time."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from restyle_cli.errors import RestyleError

Item = TypeVar("Item")
Result = TypeVar("Result")

_SIGNS = (
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "can't allocate memory",
    "insufficient memory",
    "bad_alloc",
)
_SIGNS += ("alloc_failed",)  # of cuBLAS and cuDNN
_SIGNS += ("failed to map segment", "can't start new thread")  # of a library that is imported, of a thread's stack


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory was not enough.

    Only the errors of Python and of GPUs have a class; those of PyTorch's CPU allocator and of OpenCV have the words.
    """
    if isinstance(error, RestyleError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    words = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be imported for this
        or any(sign in words for sign in _SIGNS)
        or words.endswith("could not create a primitive")  # oneDNN's, whose convolutions allocate by themselves
    )


class OutOfMemory(RestyleError):
    """What failed for want of memory may work on another device, or when other programs have ended."""


@contextmanager
def enough_for(what: str) -> Iterator[None]:
    """OutOfMemory where memory was not enough, `what` saying for what: "for 'a.jpg'"."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"not enough memory {what}", "close other programs, or shrink the image first") from error


class Batches:
    """Runs work on batches on the device `where`, and halves those that do not fit in memory.

    What did not fit is not tried again: later batches are no larger. `note` receives one line about the first.
    """

    def __init__(self, where: str, note: Callable[[str], None]) -> None:
        self._where, self._note = where, note
        self._most: int | None = None

    def run(
        self, batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]
    ) -> Iterator[tuple[Sequence[Item], Result | OutOfMemory]]:
        """The parts of the batch in their order, each with the result of its work, or the error of a single item."""
        while batch:
            part = batch[: self._most or len(batch)]
            result = _tried(part, work)
            if result is None and len(part) > 1:
                self._halve(len(part))
                continue
            yield part, self._too_large() if result is None else result
            batch = batch[len(part) :]

    def _halve(self, size: int) -> None:
        if self._most is None:
            message = f"{self._where} has not enough memory for {size} images at once; continuing with fewer"
            self._note(f"{message} (--batch-size {size // 2} does so from the start)")
        self._most = size // 2

    def _too_large(self) -> OutOfMemory:
        hint = "use a smaller model, or close other programs" if self._where == "cpu" else "use --device cpu"
        return OutOfMemory(f"{self._where} has not enough memory for this image", hint)


def _tried(part: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> Result | None:
    """None where memory was not enough; what the error held is free on return."""
    try:
        return work(part)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # what the error's frames hold in circles is large
    return None
