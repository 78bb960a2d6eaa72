"""How good an inversion is, in numbers. A new metric is a file and a line in the table.

A metric whose network is not installed is no number at all: never another network's in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restyle_cli.errors import UsageError, did_you_mean
from restyle_cli.metrics.missing import Missing
from restyle_cli.registry import Registry

if TYPE_CHECKING:
    import torch

    from restyle_cli.metrics.metric import Metric

METRICS = Registry(
    "metric",
    {
        "l2": "restyle_cli.metrics.pixel:L2",
        "lpips": "restyle_cli.metrics.lpips:LPIPSDistance",
        "structure": "restyle_cli.metrics.structure:StructureDistance",
        "ms_ssim": "restyle_cli.metrics.ms_ssim:MSSSIM",
        "id/curricularface": "restyle_cli.metrics.identity:CurricularIdentity",
        "id/dlib": "restyle_cli.metrics.dlib_identity:DlibIdentity",
        "id/portrait": "restyle_cli.metrics.drawn_identity:DrawnPortraitIdentity",
    },
)
IDENTITY = "id"
"""Asked for by this name, identity is measured by the first that is installed of those for the domain."""
IDENTITIES = ("id/curricularface", "id/dlib")
"""Those for photographs of faces."""
DEFAULT = ("l2", "lpips", "ms_ssim", IDENTITY)
STAND_IN = {"lpips": "structure"}
"""Measured by default where that one is not installed, under its own name."""
UNREAD = {"fid": "no Inception network is among those that restyle reads"}
"""Metrics of the published tables that cannot be measured here, and why."""


@dataclass(frozen=True)
class Chosen:
    """The metrics to measure, and by name those that cannot be and why."""

    metrics: tuple[Metric, ...]
    missing: dict[str, Missing]


NO_FACES = Missing("id cannot be measured: the pictures of this domain are no faces")


def choose(
    names: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    identities: Sequence[str] = IDENTITIES,
) -> Chosen:
    """The metrics called `names`, ready on `device`; without names all of `DEFAULT` that are installed.

    `identities`: the metrics, best first, that tell who is who in such pictures; without any there is no identity
    unless it is named. Missing when one was asked for by name and its network is not installed; UsageError for a name
    that is none.
    """
    if names is None:
        return _installed(device, identities)
    known = [*METRICS.names(), IDENTITY]
    if not names:
        raise UsageError("no metric is named", f"choose from {', '.join(known)}")
    for name in names:
        if name in UNREAD:
            raise Missing(f"{name} cannot be measured: {UNREAD[name]}", f"choose from {', '.join(known)}")
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(f"no metric named '{name}'", near or f"choose from {', '.join(known)}")
    found: dict[str, Metric] = {}
    for name in names:
        metric = _identity(device, identities or IDENTITIES) if name == IDENTITY else METRICS.load(name)(device)
        found.setdefault(metric.name, metric)
    return Chosen(tuple(found.values()), {})


def _installed(device: str | torch.device, identities: Sequence[str]) -> Chosen:
    metrics: list[Metric] = []
    missing: dict[str, Missing] = {}
    for name in DEFAULT:
        try:
            if name == IDENTITY and not identities:
                raise NO_FACES
            metrics.append(_identity(device, identities) if name == IDENTITY else METRICS.load(name)(device))
        except Missing as error:
            missing[name] = error
            if name in STAND_IN:
                metrics.append(METRICS.load(STAND_IN[name])(device))
    missing |= {name: Missing(f"{name} cannot be measured: {reason}") for name, reason in UNREAD.items()}
    return Chosen(tuple(metrics), missing)


def _identity(device: str | torch.device, identities: Sequence[str]) -> Metric:
    """The first identity metric whose network is installed; Missing, as the last of them says it, if none is."""
    for name in identities[:-1]:
        try:
            return METRICS.load(name)(device)
        except Missing:
            continue
    return METRICS.load(identities[-1])(device)
