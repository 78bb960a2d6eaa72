"""The state dicts in a checkpoint: in dicts within dicts, and in keys with a prefix ("g_ema.conv1.weight").

Projects wrap their networks in their own ways, and save much beside them. This module finds every state dict with its
place; `detect` recognises and selects.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.allowlist import Array, PickledModule, as_tensor

MAX_TENSORS = 100_000
MAX_DEPTH = 4
"""Dicts within dicts that are searched; the moments of an optimiser are deeper."""
OPTS, AVERAGE = "opts", "latent_avg"
"""Keys of what is saved beside the networks: options of the training, and the generator's average latent."""
_WRAPPED = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod)\.")
"""What DataParallel and torch.compile add to keys."""
_TRAINING = re.compile(r"(?:.*_)?opt(?:im|imi[sz]er)?s?(?:_.*)?|exp_avg.*|sched.*|.*scaler", re.IGNORECASE)
"""Dicts of a training's state. They may have a moment for each parameter, under its name."""
_AVERAGED = frozenset(["ema", "avg", "average", "averaged", "running", "smooth", "shadow", "swa", "gs"])
"""Words in the names of dicts with a running average of the weights."""
_MAIN = frozenset(("state_dict", "g", "generator"))
"""Names of dicts that a file is for, where none is an average."""


@dataclass
class StateDict:
    """Tensors by their keys without `prefix`, and the options and the average latent that belong to them."""

    place: tuple[str, ...]
    tensors: dict[str, Tensor]
    opts: dict[str, Any] = field(default_factory=dict)
    average: Tensor | None = None
    prefix: str = ""  # what the file has before these keys

    @property
    def rank(self) -> int:
        """The lowest rank is preferred among several networks of one role. Averaged weights come first."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", " ".join(self.place))
        if _AVERAGED & {word.lower() for word in words}:
            return 0
        return 1 if not self.place or self.place[0].lower() in _MAIN else 2

    def inner(self) -> Iterator[StateDict]:
        """The state dicts under the first parts of the keys ("generator.", "discriminator."), taken out of this one."""
        groups: dict[str, dict[str, Tensor]] = {}
        for key in [key for key in self.tensors if "." in key]:
            group, _, name = key.partition(".")
            groups.setdefault(group, {})[name] = self.tensors.pop(key)
        for group, tensors in groups.items():
            if not _TRAINING.fullmatch(group):
                average = tensors.pop(AVERAGE, self.average)
                yield StateDict((*self.place, group), tensors, self.opts, average, f"{self.prefix}{group}.")

    def shapes(self) -> StateDict:
        """The same with meta tensors."""
        tensors = {key: torch.empty_like(value, device="meta") for key, value in self.tensors.items()}
        average = None if self.average is None else torch.empty_like(self.average, device="meta")
        return StateDict(self.place, tensors, self.opts, average, self.prefix)


def find_state_dicts(content: Any) -> list[StateDict]:
    """Every state dict in what `read_checkpoint` returns, which is emptied on the way.

    RestyleError for tensors that claim to be larger than their data, and for an average latent that is no tensor.
    """
    found = list(_walk(content, StateDict((), {}), MAX_DEPTH))
    if sum(len(state.tensors) for state in found) > MAX_TENSORS:
        raise RestyleError(f"it has more than {MAX_TENSORS} tensors")
    return found


def options(value: Any) -> dict[str, Any]:
    """Options as a dict, whether they are a dict or a Namespace; {} for anything else. `device`, where the training
    ran, is dropped."""
    values = vars(value) if isinstance(value, argparse.Namespace) else value
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(key, str) and key != "device"}


def number(opts: Mapping[str, Any], name: str, default: float) -> float:
    """The option `name`; RestyleError when it is not a number."""
    value = opts.get(name)
    try:
        return default if value is None else float(value)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise RestyleError(f"its option '{name}' is {str(value)[:50]!r}, not a number") from error


def _walk(content: Any, around: StateDict, depth: int) -> Iterator[StateDict]:
    if isinstance(content, PickledModule):
        content, opts = content.state_dict(), content.options()
    elif isinstance(content, dict):
        opts = options(content.pop(OPTS, None))
    else:
        return
    opts = around.opts | opts
    average = _average(content.pop(AVERAGE, None), around.average)
    here = StateDict(around.place, {}, opts, average)
    inner: list[StateDict] = []
    for key in [key for key in content if isinstance(key, str)]:
        value = content.pop(key)
        if isinstance(value, dict | PickledModule):
            if depth and not _TRAINING.fullmatch(key):
                inner += _walk(value, StateDict((*around.place, key), {}, opts, average), depth - 1)
        elif _is_weight(key, value) and (tensor := as_tensor(value)) is not None:
            _check_size(key, tensor)
            here.tensors.setdefault(_WRAPPED.sub("", key), tensor)
        elif "." in key and isinstance(value, Array):
            raise RestyleError(f"its '{key}' is no array of numbers")
    here.average = _average(here.tensors.pop(AVERAGE, None), average)
    if here.tensors:
        yield here
    yield from inner


def _is_weight(key: str, value: Any) -> bool:
    """Whether it may belong to a network: keys of lists and of counters ("iter", "n_averaged") have no dot."""
    if "." in key or _WRAPPED.sub("", key) == AVERAGE:
        return True
    tensor = None if isinstance(value, int | float | list | tuple) else as_tensor(value)
    return tensor is not None and tensor.numel() != 1


def _average(value: Any, default: Tensor | None) -> Tensor | None:
    if value is None:
        return default
    average = as_tensor(value)
    if average is None:
        raise RestyleError(f"its '{AVERAGE}' is no array of numbers")
    _check_size(AVERAGE, average)
    return average.float() if not average.is_floating_point() else average


def _check_size(key: str, value: Tensor) -> None:
    """RestyleError for a tensor that is not dense, or larger than its data."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise RestyleError(f"the tensor '{key}' is of a kind that restyle does not read")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise RestyleError(f"the tensor '{key}' claims to be larger than its data")
