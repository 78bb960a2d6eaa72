"""Our files: safetensors whose header tells how to rebuild what they hold.

One metadata key, `config`, holds JSON: `{"format": 1, "family": ..., "config": {...}, "extra": {...}}`. One
key and not several, because safetensors writes several in an order that changes from run to run.

A network is built on the meta device and its tensors are put in place: no random numbers, no second copy.
Hence a network makes constants that are not stored (`persistent=False`) on the CPU explicitly, or in its
forward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from restyle_cli.encoders import ENCODERS
from restyle_cli.errors import RestyleError
from restyle_cli.generators import GENERATORS
from restyle_cli.images import write_atomic
from restyle_cli.store.empty import empty

FORMAT = 1
MAX_HEADER = 16 * 1024 * 1024
"""Bytes of header that are read at most; ours have some 100 kB."""
MAX_SETTING = 65_536
"""Greatest whole number in a network's description: a hostile one would have us build without end."""
LATENT = "latent"
"""Family of a file that holds a code and no network."""


def write_module(
    path: Path, module: nn.Module, family: str, extra: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write the network with its own `config`; `half` stores fp16, which `read_module` widens again."""
    tensors = {name: _stored(tensor, half) for name, tensor in module.state_dict().items()}
    _write(path, tensors, family, module.config.to_dict(), extra or {})


def write_latent(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write codes (`w [L, 512]`, `w_steps [N+1, L, 512]`, …) and what is known of their making."""
    # Cloned: rows of one batch share their memory, which safetensors refuses.
    _write(path, {name: _stored(tensor).clone() for name, tensor in tensors.items()}, LATENT, {}, metadata)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says of itself: `format`, `family`, `config`, `extra`. Reads no tensor.

    RestyleError when the file is missing, damaged or not one of ours.
    """
    header = _read_safetensors_header(path)
    metadata = header.get("__metadata__")
    text = metadata.get("config") if isinstance(metadata, dict) else None
    described = _parse_json(text.encode()) if isinstance(text, str) else None
    if not isinstance(described, dict) or not isinstance(described.get("family"), str):
        raise RestyleError(f"'{path}' does not say what it holds", "it was not written by restyle")
    if described.get("format") != FORMAT:
        raise RestyleError(
            f"'{path}' has format {described.get('format')}, this version reads {FORMAT}", "update restyle"
        )
    for key in ("config", "extra"):
        if not isinstance(described.setdefault(key, {}), dict):
            raise _damaged(path, f"its '{key}' is not a table")
    return described


def read_module(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """Rebuild the network in `path`, in fp32, ready for use (`eval`). RestyleError when it does not fit."""
    header = read_header(path)
    if header["family"] == LATENT:
        raise RestyleError(f"'{path}' holds a latent code, not a network")
    module = _build_empty(path, header["family"], header["config"])
    tensors = _read_tensors(path, device)
    _check_fit(path, module, tensors)
    module.load_state_dict({name: _widened(tensor) for name, tensor in tensors.items()}, assign=True)
    left = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    assert not left, f"constants left on the meta device: {left}"
    return module.to(device).eval().requires_grad_(False)


def read_latent(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Codes by name and what was written with them. RestyleError when `path` is no latent file of ours."""
    header = read_header(path)
    if header["family"] != LATENT:
        raise RestyleError(f"'{path}' holds a network of family '{header['family']}', not a latent code")
    return _read_tensors(path, "cpu"), header["extra"]


def sha256(path: Path) -> str:
    """The SHA-256 of any file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, tensors: dict[str, Tensor], family: str, config: dict[str, Any], extra: dict[str, Any]) -> None:
    described = {"format": FORMAT, "family": family, "config": config, "extra": extra}
    metadata = {"config": json.dumps(described, sort_keys=True)}
    # Through bytes: safetensors' own writing has errors that are no OSError, and files that only their owner reads.
    data = save(tensors, metadata)

    def write(aside: Path) -> None:
        aside.write_bytes(data)

    write_atomic(path, write)


def _stored(tensor: Tensor, half: bool = False) -> Tensor:
    dtype = torch.float16 if half and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", dtype).contiguous()


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _read_safetensors_header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning of the file, after its length was held against the file's."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _damaged(path, "it is cut off, or no safetensors file")
            if length > MAX_HEADER:
                raise _damaged(path, f"its header claims {length / 1e6:.0f} MB")
            header = _parse_json(file.read(length))
    except OSError as error:
        raise RestyleError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not JSON")
    return header


def _parse_json(text: bytes) -> Any:
    """The value written in `text`, or None when it is not JSON (or nested without end)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _build_empty(path: Path, family: str, config: dict[str, Any]) -> nn.Module:
    registry = GENERATORS if family in GENERATORS else ENCODERS
    if family not in registry:
        raise RestyleError(f"'{path}' holds a '{family}', which this version does not know", "update restyle")
    network = registry.load(family)
    if (largest := max(_whole_numbers(config), default=0)) > MAX_SETTING:
        raise _damaged(path, f"its description speaks of {largest}")
    try:
        with empty():
            return network(network.Config.from_dict(config))
    except RestyleError as error:
        raise _damaged(path, error.message) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"it describes a '{family}' that cannot be built") from error


def _whole_numbers(config: dict[str, Any]) -> Iterator[int]:
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            yield value
        elif isinstance(value, list | dict):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _read_tensors(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, "its tensors cannot be read") from error


def _check_fit(path: Path, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """RestyleError naming the first tensor that is missing, left over or of another shape."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise _damaged(path, f"the tensor '{name}' is missing")
        if tensor.shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, its description asks for {list(tensor.shape)}"
            raise _damaged(path, f"the tensor '{name}' has shape {shapes}")
    for name in tensors:
        if name not in expected:
            raise _damaged(path, f"the tensor '{name}' has no place in what the file describes")


def _damaged(path: Path, reason: str) -> RestyleError:
    return RestyleError(f"'{path}' cannot be used: {reason}", "fetch or write it again")
