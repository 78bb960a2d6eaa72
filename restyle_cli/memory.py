"""Recognise that memory did not suffice, on the CPU or a GPU, and continue with smaller batches."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from restyle_cli.errors import RestyleError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MESSAGES = (
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "can't allocate memory",
    "insufficient memory",
    "bad_alloc",
    "alloc_failed",  # cuBLAS and cuDNN
    "failed to map segment",  # importing a library
    "can't start new thread",  # the stack of a thread
)


class OutOfMemory(RestyleError):
    """Memory did not suffice. It may on another device, or when other programs have ended."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory did not suffice.

    Only Python and GPUs have a class for it; PyTorch's CPU allocator and OpenCV have only messages.
    """
    if isinstance(error, RestyleError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    message = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, without importing torch
        or any(sign in message for sign in _MESSAGES)
        or message.endswith("could not create a primitive")  # oneDNN, whose convolutions allocate memory
    )


@contextmanager
def enough_for(what: str) -> Iterator[None]:
    """Raise OutOfMemory if memory does not suffice in the block; `what` completes the message: "for 'a.jpg'"."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"not enough memory {what}", "close other programs, or shrink the image first") from error


class Batches:
    """Runs work on batches on a device, and halves the batches that do not fit in its memory.

    Later batches are no larger than the first that fitted. `note` receives one line at the first halving.
    """

    def __init__(self, device: str, note: Callable[[str], None]) -> None:
        self._device, self._note = device, note
        self._limit: int | None = None

    def run(
        self, batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]
    ) -> Iterator[tuple[Sequence[Item], Result | OutOfMemory]]:
        """Yield the parts of the batch in order, each with its result, or with the error for a single item."""
        while batch:
            part = batch[: self._limit or len(batch)]
            try:
                result: Result | OutOfMemory | None = work(part)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                result = None
            if result is None:
                gc.collect()  # the frames of the error hold large tensors in reference cycles
                if len(part) > 1:
                    self._halve(len(part))
                    continue
                hint = "use a smaller model, or close other programs" if self._device == "cpu" else "use --device cpu"
                result = OutOfMemory(f"{self._device} has not enough memory for this image", hint)
            yield part, result
            batch = batch[len(part) :]

    def _halve(self, size: int) -> None:
        if self._limit is None:
            message = f"{self._device} has not enough memory for {size} images at once; continuing with fewer"
            self._note(f"{message} (--batch-size {size // 2} does so from the start)")
        self._limit = size // 2
