"""The numbers that the original research code computes, and the made-up weights it computed them with.

`golden/fill.py` makes the weights from their names alone; `golden/manifests/` lists names and shapes of the
published files; `golden/fixtures/` holds what the original code answers; `golden/cases.json` says to which
inputs. Half precision and TF32 need limits of their own: turn them off for parity.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import fill
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def case(name: str) -> dict[str, Any]:
    """One entry of cases.json."""
    entries = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
    return next(entry for entry in entries if entry["id"] == name)


def outputs(name: str) -> dict[str, np.ndarray]:
    """The stored outputs of a case, without their statistics."""
    with np.load(GOLDEN / "fixtures" / f"{name}.npz") as file:
        return {key: file[key] for key in file.files if not key.endswith(".stats")}


def limit(name: str, output: str) -> float:
    """How far a float32 implementation may be off: ten times the original's own float32 error where it was
    measured against float64, else 1e-4 of the output's root mean square."""
    about = case(name)["outputs"][output]
    return 10 * about["fp32_maxerr"] if "fp32_maxerr" in about else 1e-4 * about["rms"]


def picture(name: str, height: int = 256, width: int = 256) -> Tensor:
    """The picture of a name as networks take it, [1, 3, height, width] in [-1, 1]."""
    return torch.from_numpy(fill.image(name, (1, 3, height, width)))


def weights(manifest: str, wanted: Callable[[str], bool] = lambda key: True) -> dict[str, Tensor]:
    """The tensors of a published file under their own names; only those `wanted`, for making them is slow."""
    content = json.loads(gzip.decompress((GOLDEN / "manifests" / f"{manifest}.json.gz").read_bytes()))
    shapes = {key: tuple(shape) for key, (shape, _) in content["keys"].items() if wanted(key)}
    with ThreadPoolExecutor(2) as pool:  # numpy lets go of the interpreter's lock
        values = pool.map(lambda key: fill.tensor(key, shapes[key], content["family"]), shapes)
        return {key: torch.from_numpy(np.asarray(value)) for key, value in zip(shapes, values, strict=True)}


# --- encoders

_STYLE = re.compile(r"encoder\.styles\.(\d+)\.(?:convs\.(\d+)|(linear))\.(weight|bias)")


def encoder_weights(manifest: str, groups: dict[str, range]) -> dict[str, Tensor]:
    """An encoder's tensors under our names.

    `groups` says which styles are stacked under which name, {"heads": range(18)}; the rest is left out.
    """

    def wanted(key: str) -> bool:
        match = _STYLE.fullmatch(key)
        return match is None or any(int(match[1]) in styles for styles in groups.values())

    return rename_encoder(weights(manifest, wanted), groups)


def rename_encoder(theirs: dict[str, Tensor], groups: dict[str, range]) -> dict[str, Tensor]:
    """From the published names to ours: backbone and lateral layers keep theirs, heads are stacked."""
    ours = {}
    for key, value in theirs.items():
        if not _STYLE.fullmatch(key):
            name = key.removeprefix("encoder.")
            ours[name if name.startswith("latlayer") else f"backbone.{name}"] = value
    for group, styles in groups.items():
        for kind in _layers(theirs, styles[0]):
            # A head is a list of convolutions and activations, so their convolutions are 0, 2, 4, …
            name = re.sub(r"convs\.(\d+)", lambda match: f"convs.{int(match[1]) // 2}", kind)
            ours[f"{group}.{name}"] = torch.stack([theirs[f"encoder.styles.{i}.{kind}"] for i in styles])
    return ours


def _layers(keys: Iterable[str], style: int) -> list[str]:
    start = f"encoder.styles.{style}."
    return [key.removeprefix(start) for key in keys if key.startswith(start)]


# --- generators


def rename_generator(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """From rosinality's names to ours. The filters are constants of the code and left out."""
    ours = {"const": theirs["input.input"]}
    for key, value in theirs.items():
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            ours[f"mapping.layers.{int(match[1]) - 1}.{match[2]}"] = value
        elif match := re.fullmatch(r"noises\.noise_(\d+)", key):
            ours[f"noise_{match[1]}"] = value
        elif match := re.fullmatch(r"(conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.(.+)", key):
            room, _, index = match[1].partition(".")
            place = int(index) + 1 if index else 0
            name = {
                "conv.weight": "weight",
                "conv.modulation.weight": "affine.weight",
                "conv.modulation.bias": "affine.bias",
                "noise.weight": "noise_strength",
                "activate.bias": "bias",
                "bias": "bias",
            }.get(match[2])
            if name:
                value = value[0] if name == "weight" else value.reshape(()) if name == "noise_strength" else value
                value = value.reshape(-1) if name == "bias" else value
                ours[f"{'convs' if room.startswith('conv') else 'to_rgbs'}.{place}.{name}"] = value
    average = torch.from_numpy(0.5 * fill.normal("latent_avg", (512,)))
    return ours | {"w_avg": average.expand(layers, -1)}
