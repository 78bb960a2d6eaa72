"""Errors of missing memory are recognised on every device, and batches become smaller."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence

import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.memory import Batches, OutOfMemory, enough_for, is_out_of_memory
from restyle_cli.run.pipeline import in_background

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7 GiB for an array"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.OutOfMemoryError(),
        RuntimeError(CPU),
        RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_errors_of_missing_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        FileNotFoundError(errno.ENOENT, "No such file", "out of memory.png"),
        RestyleError("not enough memory in the words of another error"),
    ],
    ids=repr,
)
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_error_of_pytorch_on_the_cpu() -> None:
    with pytest.raises(OutOfMemory, match="not enough memory for the test"), enough_for("for the test"):
        torch.empty(2**50)


class Machine:
    """Has memory for `room` items at once, and never for the items `never`."""

    def __init__(self, room: int, never: Sequence[int] = ()) -> None:
        self.room, self.never = room, never
        self.tried: list[int] = []

    def work(self, items: Sequence[int]) -> list[int]:
        self.tried.append(len(items))
        if len(items) > self.room or set(items) & set(self.never):
            raise RuntimeError(CPU)
        return [-item for item in items]


def test_a_batch_is_halved_until_it_fits_and_later_ones_are_no_larger() -> None:
    machine, notes = Machine(room=2), []
    batches = Batches("cpu", notes.append)
    done = list(batches.run(range(7), machine.work))
    assert [result for _, result in done] == [[0], [-1], [-2], [-3], [-4], [-5], [-6]]
    assert machine.tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    machine.tried.clear()
    list(batches.run(range(2), machine.work))
    assert machine.tried == [1, 1]
    assert len(notes) == 1
    assert "cpu has not enough memory for 7 images at once" in notes[0]
    assert "--batch-size 3" in notes[0]


def test_an_item_that_does_not_fit_fails_alone() -> None:
    machine = Machine(room=4, never=[2])
    done = [(list(part), result) for part, result in Batches("cuda:0", print).run(range(4), machine.work)]
    failed = [(part, result) for part, result in done if isinstance(result, OutOfMemory)]
    assert [part for part, _ in failed] == [[2]]
    assert failed[0][1].hint == "use --device cpu"
    assert sorted(item for part, result in done for item in part) == [0, 1, 2, 3]


def test_the_background_thread_starts_before_memory_is_used() -> None:
    threads: list[int] = []

    def items() -> Iterator[int]:
        threads.append(threading.active_count())
        yield 1

    before = threading.active_count()
    assert list(in_background(lambda item: -item, items(), 1)) == [-1]
    assert threads == [before + 1]


def test_other_errors_are_raised() -> None:
    def broken(items: Sequence[int]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Batches("cpu", print).run(range(4), broken))
