"""What the content of a foreign file is: its wrappers are peeled off, and each network inside is recognised."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy import alae, encoder, generator, genforce, hyper, perceptual
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.stand_ins import PickledModule

Match = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Part | None]
MATCHES: tuple[Match, ...] = (encoder.match, hyper.match, generator.match, genforce.match, alae.match, perceptual.match)
"""Who knows networks; the first that knows some tensors has them."""
MAX_TENSORS = 100_000
_MAIN = ("state_dict", "g_ema", "G_ema")
"""Names under which files keep the network that they are for."""
_BESIDE = ("g", "d", "discriminator_state_dict", "optimizer", "discriminator_optimizer_state_dict", "G", "D", "opts")
_DECODER = "decoder."
_RELATIVE = ("psp", "e4e", "e4e-w")
"""Methods whose encoders give codes relative to the average, or not: the others always do."""


@dataclass
class Group:
    """Tensors that belong together and the options that they came with. `needed`: the file is for these."""

    tensors: dict[str, Tensor]
    opts: dict[str, Any] = field(default_factory=dict)
    needed: bool = True


def detect(content: Any, role: str | None = None, shapes_only: bool = False) -> list[Part]:
    """The networks of a file, from what `read_checkpoint` gives, which is emptied on the way.

    With `role`, the tensors of other networks than those are of the meta device; with `shapes_only`, all are. Their
    values are not looked at. RestyleError, a sentence about the file's content, when nothing is recognised.
    """
    groups = peel(content)
    if isinstance(content, dict):
        content.clear()  # an optimiser's state can be larger than the networks
    parts = []
    while groups:
        group = groups.pop(0)
        part = _recognised(_shapes(group.tensors), group)
        if part is None:
            continue
        space = generator.latent_space(group.tensors) if part.role == "generator" else None
        if not shapes_only and role in (None, part.role):
            part = _recognised(group.tensors, group) or part
        parts.append(replace(part, extra=part.extra | {"latent_space": space}) if space else part)
    return parts


def peel(content: Any) -> list[Group]:
    """The groups of tensors in a file, bare of wrappers and prefixes; a decoder is a group of its own."""
    if isinstance(content, PickledModule):
        return [Group(content.tensors(), _plain(content.options()))]
    if not isinstance(content, dict):
        raise RestyleError("it holds no network, only a single value")
    if modules := [content.get(name) for name in ("G_ema", "G") if isinstance(content.get(name), PickledModule)]:
        content.clear()
        return peel(modules[0])
    if autoencoder := alae.networks(content.get("models")):
        content.clear()
        return [Group(_tensors(tensors)) for tensors in autoencoder]
    opts, average = _plain(content.get("opts")), content.pop("latent_avg", None)
    main = next((name for name in _MAIN if isinstance(content.get(name), dict)), None)
    groups: list[Group] = []
    if main is not None:
        groups += _split(_tensors(content.pop(main)), opts, average)
    elif isinstance(content.get("g"), dict):
        groups += _split(_tensors(content.pop("g")), opts, average)
    elif bare := _tensors(content):
        groups += _split(bare, opts, average)
    else:
        for name in [name for name in content if name not in _BESIDE]:
            if found := _tensors(content[name]):
                groups += _split(found, opts, average)
    for name in ("d", "discriminator_state_dict"):
        if found := _tensors(content.get(name)):
            groups.append(Group(found, opts, needed=not groups))
    if not groups:
        raise RestyleError("it holds no tensors that restyle looks for")
    return groups


def _split(tensors: dict[str, Tensor], opts: dict[str, Any], average: Any) -> list[Group]:
    """The decoder of an encoder's file apart from the encoder; what is known of one is told to the other."""
    if tensors and all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensors.pop(key) for key in list(tensors)}
    decoder = {key.removeprefix(_DECODER): tensors.pop(key) for key in list(tensors) if key.startswith(_DECODER)}
    relative = bool(opts.get("start_from_latent_avg", isinstance(average, Tensor)))
    if not decoder:
        if isinstance(average, Tensor) and "input.input" in tensors:
            tensors["latent_avg"] = average
        return [Group(tensors, opts | {"start_from_latent_avg": relative})]
    if isinstance(average, Tensor):
        decoder["latent_avg"] = average
    size = 4 * 2 ** sum(re.fullmatch(r"to_rgbs\.\d+\.bias", key) is not None for key in decoder)
    encoder_opts = opts | {"start_from_latent_avg": relative, "output_size": size}
    groups = [Group(tensors, encoder_opts)] if tensors else []
    return [*groups, Group(decoder, opts)]


def _recognised(tensors: dict[str, Tensor], group: Group) -> Part | None:
    for match in MATCHES:
        if (part := match(tensors, group.opts)) is not None:
            absolute = part.extra.get("method") in _RELATIVE and not group.opts["start_from_latent_avg"]
            return replace(part, extra=part.extra | {"absolute": True}) if absolute else part
    if not group.needed:
        return None
    some = ", ".join(f"'{key}'" for key in list(tensors)[:3])
    raise RestyleError(f"its {len(tensors)} tensors ({some}, …) are of no network that restyle knows")


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}


def _tensors(table: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which is emptied of them. RestyleError for one that is larger than its data."""
    if not isinstance(table, dict):
        return {}
    found = {key: table[key] for key in table if isinstance(key, str) and isinstance(table[key], Tensor)}
    if len(found) > MAX_TENSORS:
        raise RestyleError(f"it holds more than {MAX_TENSORS} tensors")
    for key, value in found.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise RestyleError(f"the tensor '{key}' is of a kind that restyle does not read")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise RestyleError(f"the tensor '{key}' claims to be larger than its data")
        del table[key]
    return found


def _plain(opts: Any) -> dict[str, Any]:
    """Options as a table. `device`, where the training ran, says nothing about where to run."""
    values = vars(opts) if isinstance(opts, argparse.Namespace) else opts
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(key, str) and key != "device"}
