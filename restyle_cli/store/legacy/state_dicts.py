"""Where the tensors of a checkpoint lie: in tables within tables, and in names within names ("g_ema.conv1.weight").

Projects wrap their networks in ways of their own, and save much beside them. Here all of it comes down to tables of
tensors with a place; what each is, and which of them counts, is decided elsewhere.
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
"""Tables within tables; the moments of an optimiser lie deeper."""
OPTS, AVERAGE = "opts", "latent_avg"
"""Names of what is told beside the networks: how they were trained, and the generator's average latent code."""
_PARTS = ("encoder", "decoder", "hypernet")
"""Tables that belong together, as if they were one with these names before those of the tensors."""
_WRAPPED = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod)\.")
"""What DataParallel and torch.compile put into names, before all of them or some."""
_TRAINING = re.compile(r"(?:.*_)?opt(?:im|imi[sz]er)?s?(?:_.*)?|exp_avg.*|sched.*|.*scaler", re.IGNORECASE)
"""Tables of a training's state. They can hold a moment for each parameter, under its name."""
_AVERAGED = frozenset(["ema", "avg", "average", "averaged", "running", "smooth", "shadow", "swa", "gs"])
"""Words in the names of tables that hold a running average of the weights."""
_MAIN = frozenset(("state_dict", "g", "generator"))
"""Names of tables that a file is for, where none is an average."""


@dataclass
class Table:
    """Tensors that lie together, under their names without those of `place`, and what was told of them."""

    place: tuple[str, ...]
    tensors: dict[str, Tensor]
    opts: dict[str, Any] = field(default_factory=dict)
    average: Tensor | None = None
    prefix: str = ""  # the end of `place` that the file has in its tensors' names

    @property
    def rank(self) -> int:
        """Which table counts among several of one kind: the one with the lowest. Averaged weights come first."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", " ".join(self.place))
        if _AVERAGED & {word.lower() for word in words}:
            return 0
        return 1 if not self.place or self.place[0].lower() in _MAIN else 2

    def inner(self) -> Iterator[Table]:
        """The tables that the first parts of the names make ("generator.", "discriminator."); this one is emptied."""
        tensors, rooms = self.tensors, dict[str, dict[str, Tensor]]()
        for key in [key for key in tensors if "." in key]:
            room, _, name = key.partition(".")
            rooms.setdefault(room, {})[name] = tensors.pop(key)
        for room, found in rooms.items():
            if not _TRAINING.fullmatch(room):
                average = found.pop(AVERAGE, self.average)
                yield Table((*self.place, room), found, self.opts, average, f"{self.prefix}{room}.")

    def take(self, rooms: tuple[str, ...]) -> Table:
        """Those tensors whose names begin with one of `rooms`, taken out of this table."""
        taken = {key: self.tensors.pop(key) for key in list(self.tensors) if key.startswith(rooms)}
        return Table(self.place, taken, self.opts, self.average, self.prefix)


def tables(content: Any) -> list[Table]:
    """Every table of tensors in what `read_checkpoint` gives, which is emptied on the way.

    RestyleError for tensors that claim to be larger than their data, and for a latent average that is none.
    """
    found = list(_walk(content, Table((), {}), MAX_DEPTH))
    if sum(len(table.tensors) for table in found) > MAX_TENSORS:
        raise RestyleError(f"it holds more than {MAX_TENSORS} tensors")
    return found


def options(told: Any) -> dict[str, Any]:
    """Options as a table. `device`, where the training ran, says nothing about where to run."""
    values = vars(told) if isinstance(told, argparse.Namespace) else told
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(key, str) and key != "device"}


def number(opts: Mapping[str, Any], name: str, otherwise: float) -> float:
    """The option `name`; RestyleError when it is no number."""
    value = opts.get(name)
    try:
        return otherwise if value is None else float(value)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise RestyleError(f"its option '{name}' is {str(value)[:50]!r}, not a number") from error


def _walk(content: Any, around: Table, depth: int) -> Iterator[Table]:
    if isinstance(content, PickledModule):
        content, told = content.state_dict(), content.options()
    elif isinstance(content, dict):
        told = content.pop(OPTS, None)
    else:
        return
    opts = around.opts | options(told)
    average = _average(content.pop(AVERAGE, None), around.average)
    here = Table(around.place, {}, opts, average)
    beside: list[Table] = []
    for key in [key for key in content if isinstance(key, str)]:
        value = content.pop(key)
        if isinstance(value, dict | PickledModule):
            if depth and not _TRAINING.fullmatch(key):
                for table in _walk(value, Table((*around.place, key), {}, opts, average), depth - 1):
                    if key in _PARTS and table.place == (*around.place, key):
                        bare = {name.removeprefix(f"{key}."): value for name, value in table.tensors.items()}
                        here.tensors |= {f"{key}.{name}": value for name, value in bare.items()}
                    else:
                        beside.append(table)
        elif _is_weight(key, value) and (tensor := as_tensor(value)) is not None:
            _check(key, tensor)
            here.tensors.setdefault(_WRAPPED.sub("", key), tensor)
        elif "." in key and isinstance(value, Array):
            raise RestyleError(f"its '{key}' is no array of numbers")
    here.average = _average(here.tensors.pop(AVERAGE, None), average)
    if here.tensors:
        yield here
    yield from beside


def _is_weight(key: str, value: Any) -> bool:
    """Whether it can belong to a network: names of lists and of counters ("iter", "n_averaged") have no dot in them."""
    if "." in key or _WRAPPED.sub("", key) == AVERAGE:
        return True
    tensor = None if isinstance(value, int | float | list | tuple) else as_tensor(value)
    return tensor is not None and tensor.numel() != 1


def _average(told: Any, otherwise: Tensor | None) -> Tensor | None:
    if told is None:
        return otherwise
    average = as_tensor(told)
    if average is None:
        raise RestyleError(f"its '{AVERAGE}' is no array of numbers")
    _check(AVERAGE, average)
    return average.float() if not average.is_floating_point() else average


def _check(key: str, value: Tensor) -> None:
    """RestyleError for a tensor that is not of plain numbers, or larger than its data."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise RestyleError(f"the tensor '{key}' is of a kind that restyle does not read")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise RestyleError(f"the tensor '{key}' claims to be larger than its data")
