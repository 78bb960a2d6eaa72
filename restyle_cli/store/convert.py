"""Convert model files of other projects to restyle's, one model each, and generators to rosinality's layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.store import catalog, fetch, legacy
from restyle_cli.store.build import role_of
from restyle_cli.store.files import read_header, read_module, write_hint, write_module, write_torch
from restyle_cli.store.legacy.checkpoint_part import ROLES, Part
from restyle_cli.store.legacy.rosinality import not_representable, to_rosinality
from restyle_cli.store.paths import sha256

LAYOUTS = ("restyle", "rosinality")
"""restyle's own, and that of rosinality's code, for generators only."""
SUFFIX = ".safetensors"
ELSEWHERE = "name another folder or file to write to"


@dataclass(frozen=True)
class Written:
    """A model that was written, or existed already (`shared`), and how much it differs from the source.

    `difference` is the greatest absolute one: of the image of one latent for a generator, of the latents of one image
    for an encoder, of the tensors for other networks.
    """

    role: str
    family: str
    file: Path
    difference: float
    shared: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """Where models come from, for their metadata."""

    path: Path
    digest: str
    entry: catalog.Entry | None

    @classmethod
    def of(cls, path: Path) -> Origin:
        """The file's SHA-256, and the catalog entry with that or with the file's name."""
        digest = sha256(path)
        known = [entry for entry in catalog.entries() if not entry.own]
        same = [entry for entry in known if digest in (entry.sha256, fetch.remembered(entry))]
        named = [entry for entry in known if entry.file == path.name and entry.sha256 in (None, digest)]
        return cls(path, digest, next(iter(same + named), None))

    @property
    def licence(self) -> str:
        """What may be done with the models, in one line."""
        if self.entry is None:
            return "unknown: that of the file it was converted from"
        return (
            f"weights: {self.entry.licence_weights}; data: {self.entry.licence_data}; "
            f"commercial use: {self.entry.commercial}"
        )

    def metadata(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """`extra` with source and licence, unless it has them."""
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
    """Write each model in `source` to its own file, and compare it with the source.

    `target` is a folder, or the file of the main model; the others get its name and their role. A generator that is in
    the folder already is not written again, as encoders refer to it by name. `half` stores fp16. `origin`: that of
    `source`, if it is known already. RestyleError when `source` cannot be read, or a file exists and `overwrite` is
    False.
    """
    parts = _opened(source)
    if layout == "rosinality":
        return [_to_rosinality(parts, source, target, overwrite)]
    origin = origin or Origin.of(source)
    files = _files(source, target, parts, SUFFIX)
    for role, file in files.items():
        if role != "generator":  # which may be the same one
            _check_free(file, overwrite)
    new = [file for file in files.values() if not file.exists()]
    written: list[Written] = []
    generator: str | None = None
    try:
        for part in sorted(parts, key=lambda part: ROLES.index(part.role), reverse=True):  # generators before encoders
            file = files[part.role]
            part = replace(part, extra=origin.metadata(part.extra) | ({"generator": generator} if generator else {}))
            if part.role == "encoder" and generator is None:
                part.extra.setdefault("generator", origin.entry.generator if origin.entry else None)
            with write_hint(ELSEWHERE):
                done = _write(part, source, file, half, overwrite)
            if part.role == "generator":
                generator = done.file.stem
            written.append(done)
    except BaseException:
        for file in new:  # they belong together
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


def _files(source: Path, target: Path, parts: list[Part], suffix: str) -> dict[str, Path]:
    """The file to write for each role."""
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
    """RestyleError for values beyond the range of half precision, 65,504."""
    for name, tensor in module.state_dict().items() if half else ():
        if tensor.is_floating_point() and not bool(tensor.half().isfinite().all()):
            raise RestyleError(f"the tensor '{name}' exceeds half precision", "leave --half out")


def _digest(part: Part, half: bool) -> str:
    """A hash of a generator's configuration, values and precision."""
    digest = hashlib.sha256(json.dumps([part.config, half], sort_keys=True).encode())
    for name in sorted(part.tensors):
        digest.update(name.encode())
        digest.update(part.tensors[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _same_generator(file: Path, digest: str) -> Path | None:
    """A file with the same generator in the folder of `file`. One with a name of the catalog does not count: an encoder
    that refers to it would get the catalog's."""
    known = {entry.name for entry in catalog.entries()}
    for path in sorted(file.parent.glob(f"*{SUFFIX}")):
        try:
            if path.stem not in known and read_header(path)["extra"].get("tensors") == digest:
                return path
        except RestyleError:
            continue
    return None


def _to_rosinality(parts: list[Part], source: Path, target: Path, overwrite: bool) -> Written:
    part = next((part for part in parts if part.role == "generator"), None)
    if part is None:
        roles = ", ".join(part.role for part in parts)
        raise RestyleError(f"'{source}' contains no generator, but: {roles}", "rosinality's layout is for generators")
    if part.family != "stylegan2":
        raise RestyleError(f"'{source}' contains a {part.family}", "rosinality's layout is for StyleGAN2")
    file = _files(source, target, [part], ".pt")["generator"]
    _check_free(file, overwrite)
    module = legacy.build(part, path=source)
    assert isinstance(module, StyleGAN2)
    content = to_rosinality(module)
    with write_hint(ELSEWHERE):
        write_torch(file, content)
    read = read_module(file)
    assert isinstance(read, StyleGAN2)
    read.config = module.config  # the layout has no crop
    difference = _difference("generator", module, read)
    return Written("generator", part.family, file, difference, notes=tuple(not_representable(module)))


def _check_free(file: Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise RestyleError(f"'{file}' exists already", "--overwrite replaces it")


@torch.no_grad()
def _difference(role: str, before: Any, after: Any) -> float:
    """See `Written`. RestyleError when the model produces NaN or infinity."""
    random = torch.Generator().manual_seed(0)
    if role == "generator":
        w = before.start(1) + 0.5 * torch.randn(1, before.layers, before.config.w_dim, generator=random)
        outputs = [before(w), after(w)]
    elif role == "encoder":
        size = before.config.input_size
        height, width = size if isinstance(size, tuple) else (size, size)
        x = torch.rand(1, before.config.input_channels, height, width, generator=random) * 2 - 1
        outputs = [before(x), after(x)]
    else:
        outputs = [before.state_dict(), after.state_dict()]
    pairs = zip(*map(_tensors, outputs), strict=True)
    difference = max((float((a.float() - b.float()).abs().max()) for a, b in pairs), default=0.0)
    if not difference < float("inf"):
        raise RestyleError(f"the {role} produces NaN or infinite values", "use an earlier checkpoint of its training")
    return difference


def _tensors(output: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """The tensors of an output: one, or several by name."""
    return [value for value in (output.values() if isinstance(output, Mapping) else [output]) if value.numel()]
