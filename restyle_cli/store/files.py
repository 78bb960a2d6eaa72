"""Read and write models and latents: safetensors whose header tells how to rebuild what they contain.

One metadata key, `config`, has JSON: `{"format": 1, "family": ..., "config": {...}, "extra": {...}}`. It is one key
because safetensors writes several in an order that changes from run to run.

Models in files of other projects are read through `legacy`, by the same functions.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
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
from restyle_cli.store.inputs import damaged, memory_for, metadata, read_safetensors_header
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.paths import sha256 as sha256

FORMAT = 1
LATENT = "latent"
"""Family of a file with latents and no network."""
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def write_module(
    path: Path, module: nn.Module, family: str, extra: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write a network of this package with its `config`; with `half` in fp16, which `read_module` converts back.

    Tensors whose names begin with one of the module's `keep_fp32` stay in fp32.
    """
    config: Any = module.config
    exact = getattr(module, "keep_fp32", ())
    tensors = {name: _stored(t, half and not name.startswith(exact)) for name, t in module.state_dict().items()}
    _write(path, tensors, family, config.to_dict(), extra or {})


def write_latent(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write latents (`w [L, 512]`, `w_steps [N+1, L, 512]`, …) and their metadata."""
    # Cloned: rows of one batch share memory, which safetensors refuses.
    _write(path, {name: _stored(tensor).clone() for name, tensor in tensors.items()}, LATENT, {}, metadata)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says about itself: `format`, `family`, `config`, `extra`. Reads no tensor.

    RestyleError when the file is missing, damaged or not written by restyle.
    """
    header = metadata(read_safetensors_header(path)).get("config")
    if not isinstance(header, dict) or not isinstance(header.get("family"), str):
        raise RestyleError(f"'{path}' does not say what it contains", "it was not written by restyle")
    if header.get("format") != FORMAT:
        message = f"'{path}' has format {header.get('format')}, this version reads {FORMAT}"
        raise RestyleError(message, "update restyle")
    for key in ("config", "extra"):
        if not isinstance(header.setdefault(key, {}), dict):
            raise damaged(path, f"its '{key}' is not a table")
    return header


def read_module(path: Path, device: str | torch.device = "cpu", role: str | None = None) -> nn.Module:
    """The network in `path`, written by restyle or another project, in fp32 and eval mode.

    `role` ("generator", "encoder", "perceptual", "discriminator") selects one, as files of other projects have several.
    RestyleError when there is none, or it cannot be built.
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
    """The networks in `path`, written by restyle or another project, without the values of their tensors.

    With `role`, networks of other roles need not be supported. RestyleError when there is none, or the file is damaged.
    """
    if legacy.is_foreign(path):
        return legacy.describe(path, role)
    header = _network_header(path, None)
    role = role_of(header["family"])
    if role is None:
        reason = f"it contains a '{header['family']}', which this version does not know"
        raise damaged(path, reason, "update restyle")
    return [Part(role, header["family"], header["config"], {}, header["extra"])]


def read_latent(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Latents by name, and their metadata. RestyleError when `path` is no latent file written by restyle."""
    header = read_header(path)
    if header["family"] != LATENT:
        raise RestyleError(f"'{path}' contains a model of family '{header['family']}', not a latent")
    return _read_tensors(path, "cpu"), header["extra"]


def write_torch(path: Path, content: Any) -> None:
    """`torch.save`, atomically."""

    def write(part: Path) -> None:
        with part.open("wb") as file:  # given a path, torch writes by itself, and its errors are no OSErrors
            try:
                torch.save(content, file)
            except RuntimeError as error:  # the archive could not be finished after an OSError
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    write_atomic(path, write)


@contextmanager
def write_hint(hint: str) -> Iterator[None]:
    """What cannot be written in this block is reported with this hint."""
    try:
        yield
    except RestyleError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise RestyleError(error.message, f"free some space, or {hint}" if cause.errno in _FULL else hint) from cause


def _write(path: Path, tensors: dict[str, Tensor], family: str, config: dict[str, Any], extra: dict[str, Any]) -> None:
    header = {"format": FORMAT, "family": family, "config": config, "extra": extra}
    # As bytes: safetensors' own writing has errors that are no OSErrors, and files that only their owner can read.
    data = save(tensors, {"config": json.dumps(header, sort_keys=True)})
    write_atomic(path, lambda part: part.write_bytes(data))


def _stored(tensor: Tensor, half: bool = False) -> Tensor:
    dtype = torch.float16 if half and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _network_header(path: Path, role: str | None) -> dict[str, Any]:
    """`read_header` of a network, and of that role if one is given; RestyleError otherwise."""
    header = read_header(path)
    if header["family"] == LATENT:
        raise RestyleError(f"'{path}' contains a latent, not a model")
    if role is not None and role_of(header["family"]) not in (role, None):
        raise RestyleError(f"'{path}' contains a model of family '{header['family']}', but a {role} is needed")
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
