"""Style mixing of an inverted latent: its fine layers are mixed with those of random latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import RESULT, save_image, to_image
from restyle_cli.inversion import Inversion
from restyle_cli.methods.mixing import mix, sample_w
from restyle_cli.run.latents import render
from restyle_cli.run.outputs import SUFFIXES, Inverted, Results, Writer, latent_tensors, remove
from restyle_cli.run.strip import Cell, draw_strip
from restyle_cli.store.files import write_latent

SHEET = "variants"
"""Kind of the file with all variants side by side."""


def check_fine(generator: StyleGenerator) -> None:
    """RestyleError if the generator has no fine layers to mix."""
    mix(generator.start(1), generator.start(1)[0])


@dataclass(frozen=True, kw_only=True)
class VariantResults(Results):
    """Results with `count` variants: a file each, all on a sheet, and their latents in the latent file.

    Variant k uses the seed `seed` + k - 1 for every image. `alpha` from 0 to 1 is the strength of the mixing.
    """

    count: int
    seed: int = 0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", self.kinds | set(self._ends()))

    @property
    def suffixes(self) -> Mapping[str, str]:
        """The suffixes of `Results` and the variants; the latent file is the last."""
        others = {kind: end for kind, end in SUFFIXES.items() if kind != self.mark}
        return {**others, **self._ends(), self.mark: SUFFIXES[self.mark]}

    def beside(self, inversion: Inversion, generator: StyleGenerator, dtype: torch.dtype) -> dict[str, Tensor]:
        """Latents [count, L, w_dim] of the variants as "codes", and "images" [count, 3, H, W]."""
        w = inversion.w.to(generator.w_avg)
        w_variants = torch.cat([mix(w, sample_w(generator, seed), self.alpha) for seed in self._seeds()]).float().cpu()
        images = [render(generator, w_variant[None], inversion.patch, dtype) for w_variant in w_variants]
        return {"codes": w_variants, "images": torch.cat(images)}

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """Write the files; removes the further variants of an earlier run."""
        record = super().write(inverted)
        mark = inverted.photo.files[self.mark]
        base = mark.name.removesuffix(self.suffixes[self.mark])
        index = self.count + 1
        while (left := mark.with_name(f"{base}.variant-{index}.png")).is_file():
            remove(left)
            index += 1
        return record

    def _ends(self) -> dict[str, str]:
        singles = {f"variant-{k}": f".variant-{k}.png" for k in range(1, self.count + 1)}
        return {**singles, SHEET: f".{SHEET}.png"}

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.count)

    def _describe(self, inverted: Inverted) -> dict[str, Any]:
        return super()._describe(inverted) | {"seeds": list(self._seeds())}

    def _writers(self) -> Mapping[str, Writer]:
        singles = {f"variant-{k + 1}": partial(self._write_variant, k) for k in range(self.count)}
        return {**super()._writers(), **singles, SHEET: self._write_sheet, self.mark: self._write_latents}

    def _write_variant(self, index: int, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        save_image(to_image(inverted.beside["images"][index]), file, {RESULT: "variant"})

    def _write_sheet(self, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        cells = [Cell(to_image(inverted.photo.x), "input")]
        for k, seed in enumerate(self._seeds(), start=1):
            cells.append(Cell(to_image(inverted.beside["images"][k - 1]), f"variant {k}", [f"seed {seed}"]))
        save_image(draw_strip(cells), file, {RESULT: SHEET})

    def _write_latents(self, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        w_variants = {"w_variants": inverted.beside["codes"]}
        write_latent(file, latent_tensors(inverted.inversion, made["has_steps"]) | w_variants, made)
