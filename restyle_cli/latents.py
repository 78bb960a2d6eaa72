"""Latent files read back: a code, how the generator was changed for it, and the picture that they draw.

Changes of the generator are kept in half precision, and the picture beside a latent file is drawn with these very
values, alone and not in a batch: so the file draws it again, bit for bit on the same device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli.devices import PRECISIONS, compute
from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_latent, read_module, sha256

PATCH = "patch."
"""What the names of tensors begin with that change the generator."""
DECODER = ":decoder"
"""What the name of a generator ends with that stands in an encoder's file."""


@dataclass(frozen=True)
class Latent:
    """What a latent file holds; `metadata` says of what and how."""

    path: Path
    w: Tensor  # [1, L, 512]
    patch: Mapping[str, Tensor]  # each [1, ...], in half precision
    metadata: Mapping[str, Any]


def half_patch(patch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A patch as files keep it."""
    return {name: change.half() for name, change in patch.items()}


def render(
    generator: StyleGenerator,
    w: Tensor,  # [1, L, 512]
    patch: Mapping[str, Tensor],  # each [1, ...]
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The picture of one code [1, 3, H, W], computed in `dtype` where the generator is, given on the CPU."""
    device = generator.w_avg.device
    with torch.no_grad(), compute(device, dtype):
        # Contiguous: a row of a batch would take other ways through the convolutions than what a file gives.
        changes = {name: change.to(device).contiguous() for name, change in patch.items()}
        return generator(w.float().to(device).contiguous(), patch=changes).float().cpu()


def read(path: Path) -> Latent:
    """The latent file `path`. RestyleError when it is none of ours."""
    tensors, metadata = read_latent(path)
    if "w" not in tensors or tensors["w"].dim() != 2:
        raise RestyleError(f"'{path}' holds no code of one picture", "write it again: `restyle invert`")
    patch = {name.removeprefix(PATCH): tensor[None] for name, tensor in tensors.items() if name.startswith(PATCH)}
    return Latent(path, tensors["w"][None], patch, metadata)


def render_latent(
    path: Path,
    device: str | torch.device = "cpu",
    generator: StyleGenerator | None = None,
    ensure: Callable[[catalog.Entry], Path] = fetch.installed_path,
) -> Tensor:
    """The picture [1, 3, H, W] of a latent file, in the precision that it was made in.

    Without `generator` it is drawn by the one that the file names, found by `ensure`. RestyleError when that is not
    here, or is another one of the same name.
    """
    latent = read(path)
    if generator is None:
        generator = load_generator(latent, device, ensure)
    dtype = PRECISIONS.get(str(latent.metadata.get("precision")), torch.float32)
    return render(generator, latent.w, latent.patch, dtype)


def load_generator(
    latent: Latent,
    device: str | torch.device = "cpu",
    ensure: Callable[[catalog.Entry], Path] = fetch.installed_path,
) -> StyleGenerator:
    """The generator that the file names, whose pictures are cut as the photo was. RestyleError as `render_latent`."""
    name = latent.metadata.get("generator")
    if not isinstance(name, str):
        raise RestyleError(f"'{latent.path}' does not say which generator draws it")
    path = _find(name, latent, ensure)
    if (wanted := _table(latent.metadata, "networks").get(name)) and sha256(path) != wanted:
        raise RestyleError(
            f"'{latent.path}' was made with another '{name}' than the one that is here",
            "invert the picture again, with --overwrite",
        )
    generator = read_module(path, device, "generator")
    assert isinstance(generator, StyleGenerator)  # what all of that role are
    size = _table(latent.metadata, "alignment").get("size")
    if isinstance(size, list) and size[0] < size[1] and generator.config.crop is None:
        side = generator.config.resolution
        generator.config = replace(generator.config, crop=(side * size[0] // size[1], side))
    return generator


def _find(name: str, latent: Latent, ensure: Callable[[catalog.Entry], Path]) -> Path:
    """The file of the generator: of the catalog, by itself, or with the models of the chain."""
    file = name.removesuffix(DECODER)
    for entry in catalog.entries():
        if (entry.file == file) if name.endswith(DECODER) else (entry.name == name):
            return ensure(entry)
    models = [Path(link.rpartition(":")[0]) for link in str(latent.metadata.get("chain", "")).split(",")]
    beside = [model.with_name(file) for model in models] + [model.with_name(f"{file}.safetensors") for model in models]
    for path in (Path(file), *beside):
        if path.is_file():
            return path
    raise RestyleError(f"the generator '{name}' of '{latent.path}' is not here", "`restyle weights list` shows all")


def _table(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = metadata.get(key)
    return value if isinstance(value, Mapping) else {}
