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
        "ms_ssim": "restyle_cli.metrics.ms_ssim:MSSSIM",
        "id/curricularface": "restyle_cli.metrics.identity:CurricularIdentity",
        "id/dlib": "restyle_cli.metrics.dlib_identity:DlibIdentity",
    },
)
IDENTITY = "id"
"""Asked for by this name, identity is measured by the first of `IDENTITIES` that is installed."""
IDENTITIES = ("id/curricularface", "id/dlib")
DEFAULT = ("l2", "lpips", "ms_ssim", IDENTITY)
UNREAD = {"fid": "no Inception network is among those that restyle reads"}
"""Metrics of the published tables that cannot be measured here, and why."""


@dataclass(frozen=True)
class Chosen:
    """The metrics to measure, and by name those that cannot be and why."""

    metrics: tuple[Metric, ...]
    missing: dict[str, Missing]


NO_FACES = Missing("id cannot be measured: the pictures of this domain are no faces")


def choose(names: Sequence[str] | None = None, device: str | torch.device = "cpu", faces: bool = True) -> Chosen:
    """The metrics called `names`, ready on `device`; without names all of `DEFAULT` that are installed.

    `faces`: whether the pictures are portraits; of others there is no identity unless it is named. Missing when one was
    asked for by name and its network is not installed; UsageError for a name that is none.
    """
    if names is None:
        return _installed(device, faces)
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
        metric = _identity(device) if name == IDENTITY else METRICS.load(name)(device)
        found.setdefault(metric.name, metric)
    return Chosen(tuple(found.values()), {})


def _installed(device: str | torch.device, faces: bool) -> Chosen:
    metrics: list[Metric] = []
    missing: dict[str, Missing] = {}
    for name in DEFAULT:
        try:
            if name == IDENTITY and not faces:
                raise NO_FACES
            metrics.append(_identity(device) if name == IDENTITY else METRICS.load(name)(device))
        except Missing as error:
            missing[name] = error
    missing |= {name: Missing(f"{name} cannot be measured: {reason}") for name, reason in UNREAD.items()}
    return Chosen(tuple(metrics), missing)


def _identity(device: str | torch.device) -> Metric:
    """The first identity metric whose network is installed; Missing, as the last of them says it, if none is."""
    for name in IDENTITIES[:-1]:
        try:
            return METRICS.load(name)(device)
        except Missing:
            continue
    return METRICS.load(IDENTITIES[-1])(device)
