"""What the content of a foreign file is: each network in its tables is recognised, and those that count are chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.build import check_finite
from restyle_cli.store.legacy import alae, encoder, generator, genforce, hyper, perceptual
from restyle_cli.store.legacy.allowlist import PickledModule
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.state_dicts import AVERAGE, Table, tables

Match = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Part | None]
MATCHES: dict[Match, str] = {
    encoder.match: "encoder",
    hyper.match: "encoder",
    generator.match: "generator",
    genforce.match: "",
    alae.match: "",
    perceptual.match: "perceptual",
}
"""Who knows networks, and what those are for of which it says that they cannot be used ("": several roles). The first
that knows some tensors has them."""
_FOR = ("generator", "encoder")
"""Roles that files are for: networks of another role beside them served their training."""
_ENCODERS = (encoder.PREFIX, hyper.HYPER)
_RELATIVE = ("psp", "e4e", "e4e-w")
"""Methods whose encoders give codes relative to the average, or not: the others always do."""
MAX_PREFIXES = 4
"""Names within names that are looked through for a network."""

Known = tuple[Table, Part]


class _Unusable(RestyleError):
    """Of a network that is known and cannot be used: why. `role` is what it would be for."""

    def __init__(self, role: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.role = role


def detect(content: Any, role: str | None = None, shapes_only: bool = False) -> list[Part]:
    """The networks of a file, from what `read_checkpoint` gives, which is emptied on the way.

    What lies beside them does not count: other copies of the weights than the averaged ones, optimisers, counters.
    With `role`, the tensors of other networks than those are of the meta device; with `shapes_only`, all are. Their
    values are not looked at. RestyleError, a sentence about the file's content, when nothing is recognised.
    """
    if not isinstance(content, dict | PickledModule):
        raise RestyleError("it holds no network, only a single value")
    found = _tables(content)
    if not found:
        raise RestyleError("it holds no tensors that restyle looks for")
    largest = max(found, key=lambda table: len(table.tensors)).tensors
    some = ", ".join(f"'{key}'" for key in list(largest)[:3])
    unknown = RestyleError(f"its {len(largest)} tensors ({some}, …) are of no network that restyle knows")
    known, unusable = _known(found)
    chosen = _chosen(known)
    found.clear()
    known.clear()
    roles = {part.role for _, part in chosen}
    for error in unusable:
        missed = error.role != "perceptual" if role is None else error.role in ("", role)
        if not roles or (missed and (role or error.role) not in roles):
            raise error
    if not chosen:
        raise unknown
    for kind in _FOR if role is None else (role,):
        _check_one(kind, [".".join(table.place) for table, part in chosen if part.role == kind])
    parts = []
    while chosen:
        table, part = chosen.pop(0)
        parts.append(_read(table, part, with_values=not shapes_only and role in (None, part.role)))
    return parts


def _tables(content: Any) -> list[Table]:
    autoencoder = alae.networks(content.get("models")) if isinstance(content, dict) else []
    if not autoencoder:
        return tables(content)
    content.clear()
    return [table for inner in autoencoder for table in tables(inner)]


def _known(found: list[Table]) -> tuple[list[Known], list[_Unusable]]:
    """The networks in these tables, by their tensors' names and shapes alone, and why some are of no use."""
    size = max((_size(table.tensors) for table in found), default=0)
    known: list[Known] = []
    unusable: list[_Unusable] = []
    waiting = sorted(found, key=lambda table: table.rank)
    while waiting:
        table = waiting.pop(0)
        if "styles.0.linear.weight" in table.tensors:  # an encoder alone
            table.tensors = {f"{encoder.PREFIX}{key}": table.tensors.pop(key) for key in list(table.tensors)}
        part, one = None, table
        if any(key.startswith(_ENCODERS) for key in table.tensors):
            one = table.take(_ENCODERS)
            one.opts = one.opts | ({"output_size": size} if size else {})
        elif table.average is not None and "input.input" in table.tensors:
            table.tensors[AVERAGE] = table.average
        try:
            part = _recognised(_shapes(one.tensors), one)
        except _Unusable as error:
            unusable.append(error)
            if one is table:
                continue
        if part is not None:
            known.append((one, part))
        if (part is None or one is not table) and len(table.prefix.split(".")) <= MAX_PREFIXES:
            waiting[:0] = table.inner()
    return known, unusable


def _size(tensors: Mapping[str, Tensor]) -> int:
    """Side of the images of the StyleGAN2 among these, in rosinality's names, for which the encoders beside it are."""
    blocks = (re.fullmatch(r"(?:.+\.)?to_rgbs\.(\d)\.bias", key) for key in tensors)
    return max((8 * 2 ** int(found[1]) for found in blocks if found), default=0)


def _chosen(known: list[Known]) -> list[Known]:
    """Of each role those of the lowest rank, in the order of the file. Several are left where nothing tells which."""
    roles = {part.role for _, part in known}
    if roles & set(_FOR):
        known = [(table, part) for table, part in known if part.role != "perceptual"]
    best = {role: min((table.rank for table, part in known if part.role == role), default=0) for role in roles}
    chosen: list[Known] = []
    for table, part in known:
        first = part.role in _FOR or all(part.role != other.role for _, other in chosen)
        if table.rank == best[part.role] and first:
            chosen.append((table, part))
    return chosen


def _check_one(role: str, places: list[str]) -> None:
    if len(places) > 1:
        raise RestyleError(
            f"it holds several networks of the kind {role}: {', '.join(places)}",
            f"save one to a file of its own: torch.save(torch.load(FILE)['{places[0]}'], 'one.pt')",
        )


def _read(table: Table, part: Part, with_values: bool) -> Part:
    space = generator.latent_space(table.tensors) if part.role == "generator" else None
    if with_values:
        check_finite({table.prefix + key: value for key, value in table.tensors.items()})
        part = _recognised(table.tensors, table) or part
    extra = part.extra | ({"latent_space": space} if space else {})
    return replace(part, extra=extra)


def _recognised(tensors: dict[str, Tensor], table: Table) -> Part | None:
    for match, role in MATCHES.items():
        try:
            part = match(tensors, table.opts)
        except RestyleError as error:
            raise _Unusable(role, error.message, error.hint) from error
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            if not all(tensor.is_meta for tensor in tensors.values()):
                raise
            raise _Unusable(role, "its tensors have shapes that no such network has") from error
        if part is not None:
            relative = table.opts.get("start_from_latent_avg", table.average is not None)
            absolute = part.extra.get("method") in _RELATIVE and not relative
            return replace(part, extra=part.extra | {"absolute": True}) if absolute else part
    return None


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}
