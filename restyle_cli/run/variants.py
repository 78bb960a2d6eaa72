"""Variants: the reconstruction with random fine layers (style mixing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import RESULT, save_image, to_image
from restyle_cli.inversion import Inversion
from restyle_cli.methods.mixing import mix, sample_w
from restyle_cli.run.folder import Output, remove
from restyle_cli.run.latents import render
from restyle_cli.run.outputs import Inverted, Results, latent_tensors
from restyle_cli.run.strip import Cell, draw_strip
from restyle_cli.store.files import write_latent


@dataclass(frozen=True)
class Variants:
    """The variants of one image."""

    seeds: Sequence[int]
    w: Tensor  # [N, L, w_dim]
    images: Tensor  # [N, 3, H, W]

    def add_to(self, record: dict[str, Any]) -> None:
        """Add the seeds."""
        record["seeds"] = list(self.seeds)


def check_fine(generator: StyleGenerator) -> None:
    """RestyleError if the generator has no fine layers to mix."""
    mix(generator.start(1), generator.start(1)[0])


def with_variants(results: Results, count: int, seed: int, alpha: float) -> Results:
    """Results with `count` variants: a file each, all on a sheet, and their latents in the latent file.

    Variant k uses the seed `seed` + k - 1 for every image. `alpha` from 0 to 1 is the strength of the mixing.
    """
    outputs = [Output(f"variant-{k + 1}", f".variant-{k + 1}.png", partial(_write_variant, k)) for k in range(count)]
    outputs.append(Output("variants", ".variants.png", _write_sheet))
    return replace(
        results,
        kinds=results.kinds | {output.kind for output in outputs},
        outputs=[*results.outputs, *outputs],
        mark=replace(results.mark, write=_write_latents),
        extra=partial(_mix_all, range(seed, seed + count), alpha),
    )


def _mix_all(
    seeds: Sequence[int], alpha: float, x: Tensor, inversion: Inversion, generator: StyleGenerator, dtype: torch.dtype
) -> Variants:
    w = inversion.w.to(generator.w_avg)
    w_variants = torch.cat([mix(w, sample_w(generator, seed), alpha) for seed in seeds]).float().cpu()
    images = [render(generator, variant[None], inversion.patch, dtype) for variant in w_variants]
    return Variants(seeds, w_variants, torch.cat(images))


def _write_variant(index: int, file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    save_image(to_image(_variants(inverted).images[index]), file, {RESULT: "variant"})


def _write_sheet(file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    """Write the sheet; remove the further variants of an earlier run."""
    variants = _variants(inverted)
    cells = [Cell(to_image(inverted.photo.x), "input")]
    for k, (seed, image) in enumerate(zip(variants.seeds, variants.images, strict=True), start=1):
        cells.append(Cell(to_image(image), f"variant {k}", [f"seed {seed}"]))
    save_image(draw_strip(cells), file, {RESULT: "variants"})
    base, further = file.name.removesuffix(".variants.png"), len(variants.seeds) + 1
    while (old := file.with_name(f"{base}.variant-{further}.png")).is_file():
        remove(old)
        further += 1


def _write_latents(file: Path, inverted: Inverted, record: dict[str, Any]) -> None:
    tensors = latent_tensors(inverted.inversion, record["has_steps"])
    write_latent(file, tensors | {"w_variants": _variants(inverted).w}, record)


def _variants(inverted: Inverted) -> Variants:
    assert isinstance(inverted.extra, Variants), "made by with_variants"
    return inverted.extra
