"""The numbers that the original research code computes, and the made-up weights it computed them with.

`golden/fill.py` makes the weights from their names alone; `golden/manifests/` lists names and shapes of the
published files; `golden/fixtures/` holds what the original code answers; `golden/cases.json` says to which
inputs. Half precision and TF32 need limits of their own: turn them off for parity.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import fill
from torch import Tensor

from restyle_cli.store.legacy import psp, stylegan2
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.detect import family_of
from restyle_cli.store.legacy.state_dicts import StateDict

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


def weights(manifest: str, wanted: Callable[[str], bool] = lambda key: True, salt: str = "") -> dict[str, Tensor]:
    """The tensors of a published file under their own names; only those `wanted`, for making them is slow."""
    content = describe(manifest)
    shapes = {key: tuple(shape) for key, (shape, _) in content["keys"].items() if wanted(key)}
    made: dict[str, Tensor] = {}  # a tensor that has several names is made once
    with ThreadPoolExecutor(2) as pool:  # numpy lets go of the interpreter's lock
        names = {fill.canonical(key): key for key in shapes}
        values = pool.map(lambda key: fill.tensor(key, shapes[key], content["family"], salt), names.values())
        made = {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, values, strict=True)}
    return {key: made[fill.canonical(key)] for key in shapes}


def describe(manifest: str) -> dict[str, Any]:
    """What is known of a published file: `keys` with shapes, `family`, `container`, `opts`."""
    return json.loads(gzip.decompress((GOLDEN / "manifests" / f"{manifest}.json.gz").read_bytes()))


def write_checkpoint(
    path: Path,
    manifest: str,
    *,
    salt: str = "",
    tensors: dict[str, Tensor] | None = None,
    opts: dict[str, Any] | None = None,
    zipped: bool = True,
) -> Path:
    """A file of the published form: its tensors (made up, or `tensors`) in the container that the manifest tells.

    `opts` are added to the manifest's. `zipped`: PyTorch's newer form.
    """
    state = weights(manifest, salt=salt) if tensors is None else tensors
    torch.save(contents(manifest, state, salt, opts), path, _use_new_zipfile_serialization=zipped)
    return path


def contents(
    manifest: str, state: dict[str, Tensor], salt: str = "", opts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a published file holds: the tensors, wrapped, and what lies beside them; options are a Namespace."""
    about = describe(manifest)
    wrapped: dict[str, Any] = {}
    for name, what in ({} if about["container"] == "bare" else about["container"]).items():
        if what == "keys":
            wrapped[name] = OrderedDict(state)
        elif name == "latent_avg":
            wrapped[name] = torch.from_numpy(fill.tensor("latent_avg", tuple(what), "plain", salt))
        elif name == "opts":
            wrapped[name] = argparse.Namespace(**about["opts"], **{"device": "cuda:0", **(opts or {})})
    return wrapped or OrderedDict(state)


def error(name: str, output: str, value: Tensor) -> float:
    """Greatest difference of `value` to the stored output of a case; to be held against `limit`."""
    sample, _ = fill.summary(value.numpy())
    found = float(np.abs(sample - outputs(name)[output]).max())
    print(f"{name} {output}: greatest difference {found:.2e}, limit {limit(name, output):.2e}")
    return found


def recognised(tensors: Mapping[str, Tensor], opts: Mapping[str, Any] | None = None, prefix: str = "") -> Part | None:
    """The network that the tensors under `prefix` are, as `detect` recognises it; None if it is not known."""
    under = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    family = family_of(under)
    return family and family.load(StateDict((), under, dict(opts or {}), prefix=prefix))


# --- encoders

_STYLE = re.compile(r"encoder\.styles\.(\d+)\.")


def encoder_weights(manifest: str, groups: dict[str, range]) -> dict[str, Tensor]:
    """An encoder's tensors under our names.

    `groups` says which styles are stacked under which name, {"heads": range(18)}; the rest is left out.
    """

    def wanted(key: str) -> bool:
        match = _STYLE.match(key)
        return match is None or any(int(match[1]) in styles for styles in groups.values())

    return rename_encoder(weights(manifest, wanted), groups)


def rename_encoder(theirs: dict[str, Tensor], groups: dict[str, range]) -> dict[str, Tensor]:
    """From the published names to ours; see `legacy.psp`."""
    state = StateDict((), {key.removeprefix("encoder."): value for key, value in theirs.items()})
    ours = {
        f"{group}.{kind}": stack
        for group, heads in groups.items()
        for kind, stack in psp.stack_heads(state, heads).items()
    }
    rest = {key: value for key, value in state.tensors.items() if not key.startswith("styles.")}
    return ours | {key if key.startswith("latlayer") else f"backbone.{key}": value for key, value in rest.items()}


# --- generators


def rename_generator(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """From rosinality's names to ours, with an average code; see `legacy.stylegan2`."""
    average = torch.from_numpy(0.5 * fill.normal("latent_avg", (512,)))
    tensors, _ = stylegan2.RosinalityStyleGAN2().renamed(StateDict((), theirs))
    return tensors | {"w_avg": average.expand(layers, -1)}
