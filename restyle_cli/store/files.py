"""Our files: safetensors whose header tells how to rebuild what they hold.

One metadata key, `config`, holds JSON: `{"format": 1, "family": ..., "config": {...}, "extra": {...}}`. One
key and not several, because safetensors writes several in an order that changes from run to run.

Networks in files of other projects are read through `legacy`, behind the same function.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.io import write_atomic
from restyle_cli.store import legacy
from restyle_cli.store.build import Unfit, build_module, check_finite, role_of
from restyle_cli.store.header import damaged, metadata, read_safetensors_header
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.memory import memory_for
from restyle_cli.store.paths import sha256 as sha256

FORMAT = 1
LATENT = "latent"
"""Family of a file that holds a code and no network."""


def write_module(
    path: Path, module: nn.Module, family: str, extra: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write the network with its own `config`; `half` stores fp16, which `read_module` widens again.

    Tensors whose names begin with one of the module's `keep_fp32` are stored in fp32 all the same.
    """
    exact: tuple[str, ...] = getattr(module, "keep_fp32", ())
    tensors = {name: _stored(t, half and not name.startswith(exact)) for name, t in module.state_dict().items()}
    _write(path, tensors, family, module.config.to_dict(), extra or {})


def write_latent(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write codes (`w [L, 512]`, `w_steps [N+1, L, 512]`, …) and what is known of their making."""
    # Cloned: rows of one batch share their memory, which safetensors refuses.
    _write(path, {name: _stored(tensor).clone() for name, tensor in tensors.items()}, LATENT, {}, metadata)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says of itself: `format`, `family`, `config`, `extra`. Reads no tensor.

    RestyleError when the file is missing, damaged or not one of ours.
    """
    described = metadata(read_safetensors_header(path)).get("config")
    if not isinstance(described, dict) or not isinstance(described.get("family"), str):
        raise RestyleError(f"'{path}' does not say what it holds", "it was not written by restyle")
    if described.get("format") != FORMAT:
        raise RestyleError(
            f"'{path}' has format {described.get('format')}, this version reads {FORMAT}", "update restyle"
        )
    for key in ("config", "extra"):
        if not isinstance(described.setdefault(key, {}), dict):
            raise damaged(path, f"its '{key}' is not a table")
    return described


def read_module(path: Path, device: str | torch.device = "cpu", role: str | None = None) -> nn.Module:
    """Rebuild the network in `path`, ours or another project's, in fp32, ready for use (`eval`).

    `role` ("generator", "encoder", "perceptual", "discriminator") says which one is wanted: files of other projects
    hold several. RestyleError when there is none, or it does not fit.
    """
    if legacy.is_foreign(path):
        return legacy.build(legacy.pick(legacy.open_parts(path, role), role, path), device, path)
    header = _network_header(path, role)
    with memory_for(path):
        tensors = _read_tensors(path, device)
        try:
            check_finite(tensors)
            return build_module(header["family"], header["config"], tensors, device)
        except Unfit as error:
            raise damaged(path, error.message, error.hint) from error


def describe(path: Path, role: str | None = None) -> list[Part]:
    """The networks in `path`, ours or another project's: what they are, without their tensors' values.

    With `role`, what lies beside a network of that role may be of no use. RestyleError when there is none, or the file
    is damaged.
    """
    if legacy.is_foreign(path):
        return legacy.describe(path, role)
    header = _network_header(path, None)
    role = role_of(header["family"])
    if role is None:
        raise damaged(path, f"it holds a '{header['family']}', which this version does not know", "update restyle")
    return [Part(role, header["family"], header["config"], {}, header["extra"])]


def read_latent(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Codes by name and what was written with them. RestyleError when `path` is no latent file of ours."""
    header = read_header(path)
    if header["family"] != LATENT:
        raise RestyleError(f"'{path}' holds a network of family '{header['family']}', not a latent code")
    return _read_tensors(path, "cpu"), header["extra"]


def _write(path: Path, tensors: dict[str, Tensor], family: str, config: dict[str, Any], extra: dict[str, Any]) -> None:
    described = {"format": FORMAT, "family": family, "config": config, "extra": extra}
    header = {"config": json.dumps(described, sort_keys=True)}
    # Through bytes: safetensors' own writing has errors that are no OSError, and files that only their owner reads.
    data = save(tensors, header)

    def write(aside: Path) -> None:
        aside.write_bytes(data)

    write_atomic(path, write)


def _stored(tensor: Tensor, half: bool = False) -> Tensor:
    dtype = torch.float16 if half and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _network_header(path: Path, role: str | None) -> dict[str, Any]:
    """`read_header`, of a network and, where `role` is given, of that role; else RestyleError."""
    header = read_header(path)
    if header["family"] == LATENT:
        raise RestyleError(f"'{path}' holds a latent code, not a network")
    if role is not None and role_of(header["family"]) not in (role, None):
        raise RestyleError(f"'{path}' holds a network of family '{header['family']}', not the {role} that is needed")
    return header


def _read_tensors(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    try:
        if _is_utf8(path):
            return load_file(path, device=str(device))
        return {name: tensor.to(device) for name, tensor in load(path.read_bytes()).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, "its tensors cannot be read") from error


def _is_utf8(path: Path) -> bool:
    """Whether safetensors can open the file itself."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
