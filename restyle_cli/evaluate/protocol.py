"""What an evaluation measures, and its protocol: how images are framed, resized and measured, and by which models."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import restyle_cli
from restyle_cli.align import AlignOptions
from restyle_cli.devices import describe
from restyle_cli.evaluate.schedule import Schedule, schedules
from restyle_cli.methods import spec_of
from restyle_cli.metrics import Missing
from restyle_cli.metrics.base import Column, Metric
from restyle_cli.models import Plan
from restyle_cli.run.prepare import Machine
from restyle_cli.store import catalog
from restyle_cli.store.paths import sha256

PACKAGES = ("torch", "numpy", "pillow", "dlib-bin", "lpips")
ALIGNED = {
    "auto": "faces cropped as in FFHQ, unless the image already fits",
    "always": "faces cropped as in FFHQ",
    "never": "whole images",
}
LICENCES = ("licence_code", "licence_weights", "licence_data", "commercial")


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and how: the methods of `plans` on the inputs, or the inputs `against` other images."""

    inputs: Sequence[Path]
    folder: Path  # of the report
    metrics: Sequence[Metric]
    missing: Mapping[str, Missing]  # metrics that cannot be computed
    machine: Machine
    align: AlignOptions
    plans: Sequence[Plan] = ()
    against: Path | None = None
    note: Callable[[str], None] = lambda text: None  # receives lines for people

    @cached_property
    def schedules(self) -> list[Schedule]:
        """The methods of the report."""
        if self.against is None:
            return schedules(self.plans)
        return [Schedule(str(self.against), str(self.against), (0,), ("given",))]

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of all metrics."""
        return [column for metric in self.metrics for column in metric.columns]

    @property
    def ranking(self) -> int:
        """Index of the column that ranks images as best and worst: LPIPS, else the first."""
        return next((i for i, column in enumerate(self.columns) if column.key == "lpips"), 0)

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        """The record of each model file that inverts or measures; every file is hashed once."""
        entries = {entry.name: entry for entry in catalog.entries()}
        files: dict[tuple[str, str], Path] = {}
        for plan in self.plans:
            for model in plan.models:
                for name, path in model.files():
                    files[name, "guides" if name == model.perceptual else "inverts"] = path
        for metric in self.metrics:
            for entry, path in metric.networks:
                entries[entry.name] = entry
                files[entry.name, metric.name] = path
        digests = {path: sha256(path) for path in set(files.values())}
        return [_network(name, use, path, digests[path], entries.get(name)) for (name, use), path in files.items()]

    def settings(self) -> dict[str, Any]:
        """The settings that the results depend on. The keys appear in the message that refuses to resume."""
        return {
            "inputs": [str(path.resolve()) for path in self.inputs],
            "folder to compare with": str(self.against.resolve()) if self.against else None,
            "methods": [plan.chain for plan in self.plans],
            "metrics": [metric.name for metric in self.metrics],
            "networks": {network["name"]: network["sha256"] for network in self.networks},
            "alignment": self.align.mode,
            "batch size": self.machine.batch_size,
            **self.machine.notes,
        }


def protocol(evaluation: Evaluation) -> dict[str, Any]:
    """The protocol of an evaluation, for the report."""
    inverts = evaluation.against is None
    return {
        "inputs": [str(path) for path in evaluation.inputs],
        "against": None if inverts else str(evaluation.against),
        "framing": _alignment(evaluation.align) if inverts else "whole images, not aligned",
        "resize": "inputs to the encoder's 256 px by Pillow's bilinear filter; results clamped to [-1, 1], then "
        "resized to 256x256, down by area averaging or up bilinearly; compared at 256x256"
        if inverts
        else "both to 256x256 by Pillow's bilinear filter",
        "range": "[-1, 1]",
        **_optimising(evaluation.plans),
        "statistics": "mean ± standard error over the images",
        "metrics": [
            {
                "name": metric.name,
                "columns": [column.key for column in metric.columns],
                "how": metric.protocol,
                "networks": [entry.name for entry, _ in metric.networks],
            }
            for metric in evaluation.metrics
        ],
        "missing": [{"name": name, "reason": e.message, "hint": e.hint} for name, e in evaluation.missing.items()],
        **({"seconds": _SECONDS} if inverts else {}),
        "peak_memory": "tensors on the GPU at most, those of the metrics' networks included"
        if evaluation.machine.device.type == "cuda"
        else "the whole process at most while the method ran, Python, PyTorch and the metrics' networks included",
        "batch_size": evaluation.machine.batch_size,
        "networks": evaluation.networks,
        "versions": _versions(),
        "machine": f"{platform.system()} {platform.machine()}; "
        + ", ".join(f"{device.name}: {device.title}" for device in describe()),
    }


_SECONDS = (
    "per image of a batch, from the start of the run to the end of the step; without reading, framing and measuring; "
    "after a warm-up run; the next images are read at the same time"
)


def _alignment(align: AlignOptions) -> str:
    return ALIGNED[align.mode] if align.rule == "face" else f"rule of the domain: {align.rule}"


def _optimising(plans: Sequence[Plan]) -> dict[str, str]:
    """What the optimisation methods compare, at which size and by which model; empty if there is none."""
    models = {model.name: model for plan in plans for model in plan.models if model.perceptual is not None}
    how = [
        f"{name}: {spec_of(model.method).compares or 'see its package'} (here by {model.perceptual})"
        for name, model in models.items()
    ]
    return {"optimising": "; ".join(how)} if how else {}


def _network(name: str, use: str, path: Path, digest: str, entry: catalog.Entry | None) -> dict[str, Any]:
    """The record of a model file; `source` is where it came from, if known."""
    source = "a file of the user"
    if entry is not None:
        source = "bundled" if entry.embedded else entry.page or source
    licences = {key: getattr(entry, key) if entry else "unknown" for key in LICENCES}
    return {"name": name, "for": use, "file": path.name, "sha256": digest, "source": source, **licences}


def _versions() -> dict[str, str]:
    versions = {"restyle": restyle_cli.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
