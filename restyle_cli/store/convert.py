"""From any file of networks to our own, one network each; and generators back to the layout of rosinality's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog, fetch, legacy
from restyle_cli.store.build import role_of
from restyle_cli.store.files import read_header, read_module, write_hint, write_module, write_torch
from restyle_cli.store.legacy.checkpoint_part import ROLES, Part
from restyle_cli.store.legacy.rosinality import not_representable, to_rosinality
from restyle_cli.store.paths import sha256

LAYOUTS = ("restyle", "rosinality")
"""Ours, and that of rosinality's code, for generators alone."""
OURS = ".safetensors"
ELSEWHERE = "name another folder or file to write to"


@dataclass(frozen=True)
class Written:
    """One network that was written, or was there already (`shared`), and how far it is from what was read.

    `difference` is the greatest one of a generator's picture of one code, of an encoder's codes of one picture, and
    of other networks' numbers.
    """

    role: str
    family: str
    file: Path
    difference: float
    shared: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where networks come from, as their headers tell it."""

    path: Path
    digest: str
    entry: catalog.Entry | None

    @classmethod
    def of(cls, path: Path) -> Origin:
        """The file's SHA-256, and what the catalog knows of that or of its name."""
        digest = sha256(path)
        known = [entry for entry in catalog.entries() if not entry.own]
        same = [entry for entry in known if digest in (entry.sha256, fetch.remembered(entry))]
        named = [entry for entry in known if entry.file == path.name and entry.sha256 in (None, digest)]
        return cls(path, digest, next(iter(same + named), None))

    @property
    def licence(self) -> str:
        """One line about what may be done with the networks."""
        if self.entry is None:
            return "not known: that of the file it was converted from"
        return (
            f"weights: {self.entry.licence_weights}; data: {self.entry.licence_data}; "
            f"commercial use: {self.entry.commercial}"
        )

    def told(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """What a header says: what was known before, and where it comes from now."""
        values = dict(extra)
        values.setdefault("source", {"name": self.path.name, "sha256": self.digest})
        values.setdefault("licence", self.licence)
        if self.entry is not None and self.entry.latent_space is not None:
            values.setdefault("published_space", self.entry.latent_space)
        return values


def convert(
    source: Path,
    target: Path,
    *,
    half: bool = False,
    layout: str = LAYOUTS[0],
    overwrite: bool = False,
    origin: Origin | None = None,
) -> list[Written]:
    """Write every network of `source` to files of their own, and compare each with what was read.

    `target` is a folder, or the file of what `source` is for; the others get its name and their role. A generator that
    is in the folder already is not written again: encoders name it. `half` stores fp16. `origin` spares looking at the
    file once more. RestyleError when `source` cannot be read, or a file is there that `overwrite` does not allow to
    replace.
    """
    parts = _opened(source)
    if layout == "rosinality":
        return [_to_rosinality(parts, source, target, overwrite)]
    origin = origin or Origin.of(source)
    files = _files(source, target, parts, OURS)
    for role, file in files.items():
        if role != "generator":  # which may be the same one
            _check_free(file, overwrite)
    new = [file for file in files.values() if not file.exists()]
    written: list[Written] = []
    generator: str | None = None
    try:
        for part in sorted(parts, key=lambda part: ROLES.index(part.role), reverse=True):  # generators before encoders
            file = files[part.role]
            part = replace(part, extra=origin.told(part.extra) | ({"generator": generator} if generator else {}))
            if part.role == "encoder" and generator is None:
                part.extra.setdefault("generator", _generator_of(origin))
            with write_hint(ELSEWHERE):
                done = _write(part, source, file, half, overwrite)
            if part.role == "generator":
                generator = done.file.stem
            written.append(done)
    except BaseException:
        for file in new:  # half of what belongs together
            file.unlink(missing_ok=True)
        raise
    return written[::-1]


def _opened(source: Path) -> list[Part]:
    if legacy.is_foreign(source):
        return legacy.open_parts(source)
    header = read_header(source)
    module = read_module(source)
    role = role_of(header["family"]) or "perceptual"
    return [Part(role, header["family"], header["config"], module.state_dict(), header["extra"])]


def _generator_of(origin: Origin) -> str | None:
    return origin.entry.generator if origin.entry else None


def _files(source: Path, target: Path, parts: list[Part], suffix: str) -> dict[str, Path]:
    """The file of each role."""
    base = target / source.stem if target.is_dir() else target.with_suffix("") if target.suffix == suffix else target
    roles = sorted({part.role for part in parts}, key=ROLES.index)
    return {role: base.with_name(base.name + (f"-{role}" if role != roles[0] else "") + suffix) for role in roles}


def _write(part: Part, source: Path, file: Path, half: bool, overwrite: bool) -> Written:
    extra = {name: value for name, value in part.extra.items() if value is not None}
    if part.role == "generator":
        extra["tensors"] = _digest(part, half)
        if (there := _same_generator(file, extra["tensors"])) is not None:
            return Written(part.role, part.family, there, 0.0, shared=True)
    _check_free(file, overwrite)
    module = legacy.build(part, path=source)
    _check_half(module, half)
    write_module(file, module, part.family, extra, half)
    return Written(part.role, part.family, file, _difference(part.role, module, read_module(file)))


def _check_half(module: nn.Module, half: bool) -> None:
    """RestyleError for numbers beyond 65,504, where half precision ends."""
    for name, tensor in module.state_dict().items() if half else ():
        if tensor.is_floating_point() and not bool(tensor.half().isfinite().all()):
            raise RestyleError(f"the tensor '{name}' does not fit into half precision", "leave --half out")


def _digest(part: Part, half: bool) -> str:
    """What tells two generators apart: configuration, numbers, and how they are stored."""
    digest = hashlib.sha256(json.dumps([part.config, half], sort_keys=True).encode())
    for name in sorted(part.tensors):
        digest.update(name.encode())
        digest.update(part.tensors[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _same_generator(file: Path, digest: str) -> Path | None:
    """A file of the same generator where `file` is to be written. One that is called as one of the catalog is none:
    an encoder that names it would get that one's."""
    known = {entry.name for entry in catalog.entries()}
    for path in sorted(file.parent.glob(f"*{OURS}")):
        try:
            if path.stem not in known and read_header(path)["extra"].get("tensors") == digest:
                return path
        except RestyleError:
            continue
    return None


def _to_rosinality(parts: list[Part], source: Path, target: Path, overwrite: bool) -> Written:
    part = next((part for part in parts if part.role == "generator"), None)
    if part is None:
        held = ", ".join(part.role for part in parts)
        raise RestyleError(f"'{source}' holds no generator, but: {held}", "rosinality's layout is one of generators")
    if part.family != "stylegan2":
        raise RestyleError(f"'{source}' holds a {part.family}", "rosinality's layout is one of StyleGAN2s")
    file = _files(source, target, [part], ".pt")["generator"]
    _check_free(file, overwrite)
    module: Any = legacy.build(part, path=source)
    content = to_rosinality(module)
    with write_hint(ELSEWHERE):
        write_torch(file, content)
    read: Any = read_module(file)
    read.config = module.config  # the crop cannot be written down
    difference = _difference("generator", module, read)
    return Written("generator", part.family, file, difference, notes=tuple(not_representable(module)))


def _check_free(file: Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise RestyleError(f"'{file}' is there already", "--overwrite replaces it")


@torch.no_grad()
def _difference(role: str, before: nn.Module, after: nn.Module) -> float:
    """See `Written`. RestyleError where the network gives no numbers."""
    draw = torch.Generator().manual_seed(0)
    if role == "generator":
        w = before.start(1) + 0.5 * torch.randn(1, before.layers, before.config.w_dim, generator=draw)
        results = [list(_values(module(w))) for module in (before, after)]
    elif role == "encoder":
        size = before.config.input_size
        height, width = size if isinstance(size, tuple) else (size, size)
        x = torch.rand(1, before.config.input_channels, height, width, generator=draw) * 2 - 1
        results = [list(_values(module(x))) for module in (before, after)]
    else:
        results = [list(_values(module.state_dict())) for module in (before, after)]
    difference = max((float((a - b).abs().max()) for a, b in zip(*results, strict=True)), default=0.0)
    if not difference < float("inf"):
        raise RestyleError(f"the {role} produces NaN or infinite values", "take an earlier checkpoint of its training")
    return difference


def _values(result: Any) -> Iterator[Tensor]:
    """The tensors of what a network gives: one, or several by name."""
    for value in result.values() if isinstance(result, Mapping) else (result,):
        if value.numel():
            yield value.float()
