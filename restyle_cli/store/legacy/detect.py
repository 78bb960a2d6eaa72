"""The networks in a foreign checkpoint: each state dict is recognised, and those that the file is for are selected."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.build import check_finite
from restyle_cli.store.legacy import alae, hyperstyle, idinvert, perceptual, psp, stylegan2
from restyle_cli.store.legacy.allowlist import PickledModule
from restyle_cli.store.legacy.checkpoint_part import ROLES, Part
from restyle_cli.store.legacy.family import Family
from restyle_cli.store.legacy.state_dicts import AVERAGE, StateDict, find_state_dicts
from restyle_cli.store.spaces import GUESSED

FAMILIES: tuple[Family, ...] = (
    psp.StyleHeadEncoder(),
    psp.PyramidEncoder(),
    hyperstyle.HyperNetwork(),
    psp.OneLayerEncoder(),
    stylegan2.NvidiaStyleGAN2(),
    stylegan2.StyleGAN3(),
    stylegan2.RosinalityStyleGAN2(),
    idinvert.StyleGAN1Family(),
    idinvert.IDInvertEncoderFamily(),
    idinvert.VGG16Family(),
    alae.ALAEGenerator(),
    alae.ALAEEncoder(),
    alae.ALAEHead(),
    perceptual.CurricularFaceFamily(),
    perceptual.ArcFaceFamily(),
    perceptual.MoCoFamily(),
    perceptual.ResNet34Family(),
    perceptual.LPIPSFamily(),
    perceptual.LPIPSVGGFamily(),
    stylegan2.StyleGAN2DiscriminatorFamily(),
    perceptual.LatentDiscriminatorFamily(),
    perceptual.DlibFaceFamily(),
)
"""The first family that matches a state dict reads it."""
MAIN_ROLES = ("generator", "encoder")
"""Roles that files are for: a network of another role beside them served their training."""
MAX_PREFIXES = 4
"""Prefixes of keys that are searched for a network."""


@dataclass
class _Network:
    state: StateDict
    family: Family
    part: Part  # with meta tensors


def family_of(state: dict[str, Tensor]) -> Family | None:
    """The family of a state dict; None if no family matches."""
    return next((family for family in FAMILIES if family.matches(state)), None)


def detect(content: Any, role: str | None = None, shapes_only: bool = False) -> list[Part]:
    """The networks of a file, from what `read_checkpoint` returns, which is emptied on the way: encoder first.

    Copies of the weights other than the averaged ones, optimisers and counters are left out. With `role`, networks of
    other roles have meta tensors; with `shapes_only`, all have. RestyleError, a sentence about the file's content, when
    nothing is recognised.
    """
    if not isinstance(content, dict | PickledModule):
        raise RestyleError("it contains no model, only a single value")
    found = [state for group in alae.regroup(perceptual.from_flax(content)) for state in find_state_dicts(group)]
    if not found:
        raise RestyleError("it contains no tensors that restyle looks for")
    largest = max(found, key=lambda state: len(state.tensors)).tensors
    some = ", ".join(f"'{key}'" for key in list(largest)[:3])
    unknown = RestyleError(f"its {len(largest)} tensors ({some}, …) are of no model that restyle knows")
    networks, unusable = _recognise(found)
    found.clear()
    networks = _select(networks)
    roles = {network.family.role for network in networks}
    for of_role, error in unusable:
        wanted = of_role == role if role else of_role != "perceptual"
        if not roles or (wanted and of_role not in roles):
            raise error
    if not networks:
        raise unknown
    for kind in MAIN_ROLES if role is None else (role,):
        _check_one(kind, [".".join(n.state.place) for n in networks if n.family.role == kind])
    networks.sort(key=lambda network: ROLES.index(network.family.role))
    parts = []
    while networks:  # each is released before the next is loaded
        network = networks.pop(0)
        parts.append(_load(network, with_values=not shapes_only and role in (None, network.family.role)))
    return parts


def _recognise(found: list[StateDict]) -> tuple[list[_Network], list[tuple[str, RestyleError]]]:
    """The networks in these state dicts, by keys and shapes alone, and the role and error of unusable ones."""
    size = max((_rosinality_size(state.tensors) for state in found), default=0)
    networks: list[_Network] = []
    unusable: list[tuple[str, RestyleError]] = []
    waiting = sorted(found, key=lambda state: state.rank)
    while waiting:
        state = waiting.pop(0)
        family = family_of(state.tensors)
        if family is None:
            if len(state.prefix.split(".")) <= MAX_PREFIXES:
                waiting[:0] = state.inner()
            continue
        if size:  # the generator in the same file decides, not the options
            state.opts = state.opts | {"output_size": size}
        try:
            networks.append(_Network(state, family, family.load(state.shapes())))
        except RestyleError as error:
            unusable.append((family.role, error))
    return networks, unusable


def _rosinality_size(tensors: dict[str, Tensor]) -> int:
    """Side of the images of a StyleGAN2 with rosinality's names among these tensors; 0 if there is none."""
    blocks = (re.fullmatch(r"(?:.+\.)?to_rgbs\.(\d)\.bias", key) for key in tensors)
    return max((8 * 2 ** int(found[1]) for found in blocks if found), default=0)


def _select(networks: list[_Network]) -> list[_Network]:
    """The networks of the lowest rank of each role. Several generators or encoders are left where nothing tells which
    one is meant."""
    roles = {network.family.role for network in networks}
    if roles & set(MAIN_ROLES):
        networks = [network for network in networks if network.family.role != "perceptual"]
    best = {role: min((n.state.rank for n in networks if n.family.role == role), default=0) for role in roles}
    selected: list[_Network] = []
    for network in networks:
        role = network.family.role
        first = role in MAIN_ROLES or all(role != other.family.role for other in selected)
        if network.state.rank == best[role] and first:
            selected.append(network)
    return selected


def _check_one(role: str, places: list[str]) -> None:
    if len(places) > 1:
        raise RestyleError(
            f"it contains several models of the kind {role}: {', '.join(places)}",
            f"save one to a file of its own: torch.save(torch.load(FILE)['{places[0]}'], 'one.pt')",
        )


def _load(network: _Network, with_values: bool) -> Part:
    state, part = network.state, network.part
    space = _latent_space(state, part) if part.role == "generator" else {}
    if with_values:
        check_finite({state.prefix + key: value for key, value in state.tensors.items()})
        if part.role == "generator" and state.average is not None:
            check_finite({AVERAGE: state.average})
        part = network.family.load(state)
    return replace(part, extra=part.extra | space)


def _latent_space(state: StateDict, part: Part) -> dict[str, str]:
    """A name that generators with the same mapping network share, a hash of its first layer.

    Encoders have copies of the generator they were trained for, and fine-tuning usually leaves the mapping alone.
    """
    key = part.names.get("mapping.layers.0.weight")
    if key is None:
        return {}
    first = state.tensors[key.removeprefix(state.prefix)].float().contiguous()
    return {"latent_space": f"{GUESSED}{hashlib.sha256(first.numpy().tobytes()).hexdigest()[:12]}"}
