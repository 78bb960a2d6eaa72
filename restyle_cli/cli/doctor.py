"""`restyle doctor`: versions, devices, installed models and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import restyle_cli
from restyle_cli.cli.options import Json, Quiet, Verbose, examples
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog, fetch

PACKAGES = {
    "torch": "everything",
    "numpy": "everything",
    "pillow": "images",
    "safetensors": "model and latent files",
    "opencv-python": "alignment",
    "dlib-bin": "finding faces",
    "face_recognition_models": "finding faces",
    "lpips": "LPIPS from backbones of torchvision",
    "pytorch-msssim": "the MS-SSIM metric",
    "matplotlib": "plots in reports",
    "pydantic": "restyle train",
    "pillow-heif": "HEIC images",
}
"""What each package is needed for, by its name on PyPI."""
EPILOG = examples("restyle doctor", "restyle doctor --json")


def doctor(json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Show versions, devices, installed models and folders.

    Please include the output in bug reports.
    """
    import platform

    packages = {name: _version(name) for name in PACKAGES}
    problems = [problem.full_message for problem in catalog.problems()]
    build: str | None = None
    devices: list[dict[str, Any]] = []
    if packages["torch"]:
        try:
            build, devices = _torch()
        except Exception as error:  # missing libraries and unsuitable drivers are what doctor reports
            problems.append(f"torch cannot be used: {str(error) or type(error).__name__}")
    landmarks = _landmarks()
    known = [(entry, fetch.installed(entry)) for entry in catalog.entries()]
    networks = [(entry.name, fetch.path_of(entry), there) for entry, there in known if there or entry.embedded]
    home = _home()
    values = {
        "restyle": restyle_cli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "torch_build": build,
        "devices": devices,
        "face_landmarks": str(landmarks) if landmarks else None,
        "home": home,
        "networks": [{"name": n, "path": str(p), "installed": there} for n, p, there in networks],
        "problems": problems,
    }
    terminal = Terminal(json, quiet, verbose)
    machine = [("restyle", restyle_cli.__version__), ("Python", platform.python_version())]
    machine += [("torch", build or "missing"), ("platform", platform.platform())]
    terminal.result(
        values,
        Table(["", ""], machine),
        "",
        Table(["package", "version", "for"], [(n, v or "missing", PACKAGES[n]) for n, v in packages.items()]),
        "",
        Table(["device", "what", "memory", "precisions"], [_device_row(device) for device in devices]),
        "",
        Table(["model", ""], [(n, "installed" if there else "missing") for n, _, there in networks]),
        f"\nbundled models:    {fetch.embedded_folder()}",
        f"downloaded models: {home or 'no folder'}",
        f"face landmarks:    {landmarks or 'missing: photos cannot be aligned'}",
    )
    for problem in problems:
        terminal.warn(problem)


def _version(package: str) -> str | None:
    """Installed version, or None."""
    import importlib.metadata  # takes 0.1 s, too long for `restyle --help`

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> tuple[str, list[dict[str, Any]]]:
    """`torch.__version__`, which unlike the package's version names the CUDA build; and the devices."""
    import torch

    from restyle_cli import devices

    found = [
        {"name": d.name, "title": d.title, "memory": d.memory, "precisions": list(d.precisions)}
        for d in devices.describe()
    ]
    return torch.__version__, found


def _home() -> str | None:
    try:
        return str(fetch.home())
    except RestyleError:
        return None


def _device_row(device: dict[str, Any]) -> list[str]:
    memory = human_bytes(device["memory"]) if device["memory"] else "—"
    return [device["name"], device["title"], memory, ", ".join(device["precisions"])]


def _landmarks() -> Path | None:
    """The model file that alignment needs, or None."""
    try:
        from restyle_cli.align import LANDMARKS, model_file

        return model_file(LANDMARKS)
    except (ImportError, RestyleError):
        return None
