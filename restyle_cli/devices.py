"""The device and the precision. They are chosen once; everything else follows its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from restyle_cli.errors import UsageError, did_you_mean

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of precisions; "auto" is another."""


@dataclass(frozen=True)
class Device:
    """A device for `restyle doctor`: `memory` in bytes, `precisions` as names of PRECISIONS."""

    name: str
    title: str
    memory: int | None
    precisions: tuple[str, ...]


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`: auto (the best), cpu, cuda, cuda:1 or mps. UsageError if it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"no device named '{name}'", "choose auto, cpu, cuda, cuda:0, cuda:1 … or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"'{device}' asked for, but PyTorch sees no CUDA GPU here",
            "use --device auto or cpu; with an NVIDIA card, install its driver and a CUDA build of torch",
        )
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise UsageError(f"'{device}' asked for, but the last CUDA GPU here is 'cuda:{count - 1}'", "use --device auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"'{name}' asked for, but this machine has no Apple GPU", "use --device auto or cpu")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype called `precision`; UsageError if `device` does not support it.

    "auto" is fp32, so that the default gives the same numbers on every machine. bf16 is faster on GPUs and on new
    processors.
    """
    if precision == "auto":
        return torch.float32
    if precision not in PRECISIONS:
        near = did_you_mean(precision, PRECISIONS)
        raise UsageError(f"no precision named '{precision}'", near or "choose auto, fp32, bf16 or fp16")
    possible = _precisions(device)
    if precision not in possible:
        raise UsageError(f"{device} does not compute in {precision}", f"use --precision {' or '.join(possible)}")
    return PRECISIONS[precision]


@contextmanager
def compute(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Context in which networks on `device` compute in `dtype`; weights and sums stay in fp32."""
    with _without_tf32(), nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype):
        yield


@contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """Context in which everything on `device` computes in fp32, also within `compute`."""
    with _without_tf32(), without_autocast(device):
        yield


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context in which operations on `device` keep the dtype of their tensors."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Context without TF32, which keeps ten bits of fp32 and is the default in cuDNN's convolutions."""
    with ExitStack() as stack:
        try:
            matmul, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        except RuntimeError:  # the program uses PyTorch's newer settings; then these cannot be read
            backends: Any = torch.backends
            for setting in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv):
                stack.callback(setattr, setting, "fp32_precision", setting.fp32_precision)
                setting.fp32_precision = "ieee"
        else:
            stack.callback(torch.set_float32_matmul_precision, matmul)
            torch.set_float32_matmul_precision("highest")
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", convolutions)
            torch.backends.cudnn.allow_tf32 = False
        yield


def describe() -> list[Device]:
    """All devices of this machine, the one that "auto" chooses first."""
    devices = []
    for index in range(torch.cuda.device_count()):
        device, properties = torch.device("cuda", index), torch.cuda.get_device_properties(index)
        devices.append(Device(str(device), properties.name, properties.total_memory, _precisions(device)))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU", None, _precisions(torch.device("mps"))))
    threads = torch.get_num_threads()
    title = f"{threads} thread{'s' if threads != 1 else ''}"
    return [*devices, Device("cpu", title, None, _precisions(torch.device("cpu")))]


def _precisions(device: torch.device) -> tuple[str, ...]:
    if device.type == "cpu":
        return ("fp32", "bf16")  # fp16 on processors is slower than fp32 and less exact than bf16
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8:
        return ("fp32", "fp16")  # bf16 before Ampere is emulated
    return ("fp32", "bf16", "fp16")
