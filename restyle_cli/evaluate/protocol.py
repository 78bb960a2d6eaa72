"""The protocol of an evaluation: how images were framed, resized and measured, and by which models."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import restyle_cli
from restyle_cli.devices import describe
from restyle_cli.evaluate.memory import peak_protocol
from restyle_cli.evaluate.run import Task
from restyle_cli.methods.spec import SPECS
from restyle_cli.metrics.missing import Missing
from restyle_cli.models import Plan
from restyle_cli.store import catalog
from restyle_cli.store.catalog import Entry
from restyle_cli.store.paths import sha256

PACKAGES = ("torch", "numpy", "pillow", "dlib-bin", "lpips")
ALIGNED = {
    "auto": "faces cropped as in FFHQ, unless the image already fits",
    "always": "faces cropped as in FFHQ",
    "never": "whole images",
}


def protocol(
    inputs: Sequence[Path], task: Task, plans: Sequence[Plan], missing: Mapping[str, Missing]
) -> dict[str, Any]:
    """The protocol of an evaluation of methods."""
    return {
        "inputs": [str(path) for path in inputs],
        "against": None,
        "framing": ALIGNED[task.framing.mode]
        if task.framing.rule == "face"
        else f"rule of the domain: {task.framing.rule}",
        "resize": "inputs to the encoder's 256 px by Pillow's bilinear filter; results clamped to [-1, 1], then "
        "resized to 256x256, down by area averaging or up bilinearly; compared at 256x256",
        "range": "[-1, 1]",
        **_optimising(plans),
        **_measuring(task, missing),
        "seconds": "per image of a batch, from the start of the run to the end of the step; without reading, framing "
        "and measuring; after a warm-up run; the next images are read at the same time",
        "peak_memory": peak_protocol(task.device),
        "batch_size": task.batch_size,
        "networks": [*_inverting(plans), *_metric_networks(task)],
        **_machine(),
    }


def pairs_protocol(inputs: Sequence[Path], against: Path, task: Task, missing: Mapping[str, Missing]) -> dict[str, Any]:
    """The protocol of an evaluation of pairs."""
    return {
        "inputs": [str(path) for path in inputs],
        "against": str(against),
        "framing": "whole images, not aligned",
        "resize": "both to 256x256 by Pillow's bilinear filter",
        "range": "[-1, 1]",
        **_measuring(task, missing),
        "peak_memory": peak_protocol(task.device),
        "batch_size": task.batch_size,
        "networks": _metric_networks(task),
        **_machine(),
    }


def network_files(plans: Iterable[Plan], task_networks: Iterable[tuple[Entry, Path]]) -> dict[str, str]:
    """The SHA-256 of every model file by its name; a run with another file is another run."""
    digests: dict[str, str] = {}
    for plan in plans:
        digests |= plan.networks()
    return digests | {entry.name: sha256(path) for entry, path in task_networks}


def _optimising(plans: Iterable[Plan]) -> dict[str, str]:
    """What the optimisation methods compare, at which size and by which model; empty if there is none."""
    models = {model.name: model for plan in plans for model in plan.models if model.perceptual is not None}
    how = [f"{name}: {SPECS[model.method].compares} (here by {model.perceptual})" for name, model in models.items()]
    return {"optimising": "; ".join(how)} if how else {}


def _measuring(task: Task, missing: Mapping[str, Missing]) -> dict[str, Any]:
    return {
        "statistics": "mean ± standard error over the images",
        "metrics": [
            {
                "name": metric.name,
                "columns": [column.key for column in metric.columns],
                "how": metric.protocol,
                "networks": [entry.name for entry, _ in metric.networks],
            }
            for metric in task.metrics
        ],
        "missing": [{"name": name, "reason": e.message, "hint": e.hint} for name, e in missing.items()],
    }


def _inverting(plans: Iterable[Plan]) -> list[dict[str, Any]]:
    """Each model that inverts, once."""
    entries = {entry.name: entry for entry in catalog.entries()}
    found: dict[str, dict[str, Any]] = {}
    for plan in plans:
        digests = plan.networks()
        for model in plan.models:
            for name, path in model.files():
                use = "guides" if name == model.perceptual else "inverts"
                found[name] = _network(name, use, path, digests[name], entries.get(name))
    return list(found.values())


def _metric_networks(task: Task) -> list[dict[str, Any]]:
    return [
        _network(entry.name, metric.name, path, sha256(path), entry)
        for metric in task.metrics
        for entry, path in metric.networks
    ]


def _network(name: str, use: str, path: Path, digest: str, entry: Entry | None) -> dict[str, Any]:
    """The record of a model file; `source` is where it came from, if known."""
    licences = ("licence_code", "licence_weights", "licence_data", "commercial")
    known = {key: getattr(entry, key) if entry else "unknown" for key in licences}
    source = "a file of the user"
    if entry is not None:
        source = "bundled" if entry.embedded else entry.page or "a file of the user"
    return {"name": name, "for": use, "file": path.name, "sha256": digest, "source": source, **known}


def _machine() -> dict[str, Any]:
    versions = {"restyle": restyle_cli.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    devices = ", ".join(f"{device.name}: {device.title}" for device in describe())
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}; {devices}",
    }
