"""Metrics of an inversion. A new metric is a class and a line in the table, or an entry point `restyle.metrics`.

A metric whose network is not installed is left out; no other network's number is shown under its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.registry import Registry

if TYPE_CHECKING:
    import torch

    from restyle_cli.metrics.base import Metric

IDENTITY = "id"
"""Stands for the first identity metric of the domain that is installed."""
UNSUPPORTED = {"fid": "restyle reads no Inception network"}
"""Metrics of the published tables that cannot be measured here, and why."""

METRICS: Registry[type[Metric]] = Registry(
    "metric",
    {
        "l2": "restyle_cli.metrics.pixel:L2",
        "lpips": "restyle_cli.metrics.perceptual:LPIPSDistance",
        "structure": "restyle_cli.metrics.perceptual:StructureDistance",
        "ms_ssim": "restyle_cli.metrics.pixel:MSSSIM",
        "id/curricularface": "restyle_cli.metrics.identity:CurricularFaceIdentity",
        "id/dlib": "restyle_cli.metrics.identity:DlibIdentity",
    },
    group="restyle.metrics",
    base="restyle_cli.metrics.base:Metric",
    reserved=(IDENTITY, *UNSUPPORTED),
)
IDENTITIES = ("id/curricularface", "id/dlib")
"""The identity metrics for photographs of faces, best first."""
DEFAULT = ("l2", "lpips", "ms_ssim", IDENTITY)


class Missing(RestyleError):
    """A metric that cannot be measured here; the hint is the command that installs what it needs."""


@dataclass(frozen=True)
class Chosen:
    """The metrics to measure, and by name those that cannot be measured and why."""

    metrics: tuple[Metric, ...]
    missing: dict[str, Missing]


def choose(
    names: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    identities: Sequence[str] = IDENTITIES,
) -> Chosen:
    """The metrics called `names`, ready on `device`; without names all of `DEFAULT` that are installed.

    `identities`: the identity metrics for the images, best first; empty if they are not faces. Missing if a named
    metric cannot be measured; UsageError for an unknown name.
    """
    known = [*METRICS.names(), IDENTITY]
    hint = f"choose from {', '.join(known)}"
    if names is not None and not names:
        raise UsageError("no metric is named", hint)
    for name in names or ():
        if name in UNSUPPORTED:
            raise Missing(f"{name} cannot be measured: {UNSUPPORTED[name]}", hint)
        if name not in known:
            raise UsageError(f"no metric named '{name}'", did_you_mean(name, known) or hint)
    metrics: dict[str, Metric] = {}
    missing: dict[str, Missing] = {}
    for name in DEFAULT if names is None else names:
        try:
            metric = _load(name, device, identities if names is None else identities or IDENTITIES)
        except Missing as error:
            if names is not None:
                raise
            missing[name] = error
        else:
            metrics.setdefault(metric.name, metric)
    if names is None:
        missing |= {name: Missing(f"{name} cannot be measured: {reason}") for name, reason in UNSUPPORTED.items()}
    return Chosen(tuple(metrics.values()), missing)


def _load(name: str, device: str | torch.device, identities: Sequence[str]) -> Metric:
    """The metric `name`, or for IDENTITY the first of `identities` that is installed; Missing if there is none."""
    if name != IDENTITY:
        return METRICS.load(name)(device)
    reason = Missing("id cannot be measured: the images of this domain are not faces")
    for identity in identities:
        try:
            return METRICS.load(identity)(device)
        except Missing as error:
            reason = error
    raise reason
