"""Read latent files and render them again.

A latent file keeps the patch in half precision. The image saved with it was rendered from these rounded values and with
batch size 1, so rendering the file again gives the same image, bit for bit on the same device.
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
"""Prefix of the tensors of the patch."""
DECODER = ":decoder"
"""Suffix of the name of a generator that is part of an encoder's file."""


@dataclass(frozen=True)
class Latent:
    """The content of a latent file; `metadata` records the image, the models and the options."""

    path: Path
    w: Tensor  # [1, L, 512]
    patch: Mapping[str, Tensor]  # each [1, ...], in half precision
    metadata: Mapping[str, Any]


def half_patch(patch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A patch as files store it."""
    return {name: change.half() for name, change in patch.items()}


def render(
    generator: StyleGenerator,
    w: Tensor,  # [1, L, 512]
    patch: Mapping[str, Tensor],  # each [1, ...]
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The image [1, 3, H, W] in fp32 on the CPU, computed in `dtype` on the device of the generator."""
    device = generator.w_avg.device
    with torch.no_grad(), compute(device, dtype):
        # Contiguous: convolutions of a slice of a batch can differ in the last bits from those of a file's tensors.
        changes = {name: change.to(device).contiguous() for name, change in patch.items()}
        return generator(w.float().to(device).contiguous(), patch=changes).float().cpu()


def read(path: Path) -> Latent:
    """Read a latent file. RestyleError if it was not written by restyle, or holds more than one latent."""
    tensors, metadata = read_latent(path)
    if "w" not in tensors or tensors["w"].dim() != 2:
        raise RestyleError(f"'{path}' does not hold the latent of one image", "write it again with `restyle invert`")
    patch = {name.removeprefix(PATCH): tensor[None] for name, tensor in tensors.items() if name.startswith(PATCH)}
    return Latent(path, tensors["w"][None], patch, metadata)


def render_latent(
    path: Path,
    device: str | torch.device = "cpu",
    generator: StyleGenerator | None = None,
    ensure: Callable[[catalog.Entry], Path] = fetch.installed_path,
) -> Tensor:
    """The image [1, 3, H, W] of a latent file, computed in the precision in which it was inverted.

    Without `generator`, the one that the file names is loaded; `ensure` returns the path of a catalog entry.
    RestyleError if it is not installed, or if another file now has its name.
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
    """The generator that the file names, with the crop of the inverted image. RestyleError as in `render_latent`."""
    name = latent.metadata.get("generator")
    if not isinstance(name, str):
        raise RestyleError(f"'{latent.path}' does not say which generator it belongs to")
    path = _find(name, latent, ensure)
    if (wanted := _table(latent.metadata, "networks").get(name)) and sha256(path) != wanted:
        raise RestyleError(
            f"'{latent.path}' was made with another '{name}' than the installed one",
            "invert the image again, with --overwrite",
        )
    generator = read_module(path, device, "generator")
    assert isinstance(generator, StyleGenerator)  # as every network of this role
    size = _table(latent.metadata, "alignment").get("size")
    if isinstance(size, list) and size[0] < size[1] and generator.config.crop is None:
        side = generator.config.resolution
        generator.config = replace(generator.config, crop=(side * size[0] // size[1], side))
    return generator


def _find(name: str, latent: Latent, ensure: Callable[[catalog.Entry], Path]) -> Path:
    """The file of the generator `name`: a catalog entry, a path, or a file next to the models of the chain."""
    file = name.removesuffix(DECODER)
    for entry in catalog.entries():
        if (entry.file == file) if name.endswith(DECODER) else (entry.name == name):
            return ensure(entry)
    models = [Path(link.rpartition(":")[0]) for link in str(latent.metadata.get("chain", "")).split(",")]
    siblings = [model.with_name(file) for model in models] + [
        model.with_name(f"{file}.safetensors") for model in models
    ]
    for path in (Path(file), *siblings):
        if path.is_file():
            return path
    raise RestyleError(
        f"the generator '{name}' of '{latent.path}' is not installed", "`restyle weights list` shows all"
    )


def _table(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = metadata.get(key)
    return value if isinstance(value, Mapping) else {}
