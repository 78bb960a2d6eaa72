"""Several pictures for one: the code that was found, its fine layers mixed with those of sampled codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.images import RESULT, save_picture, to_picture
from restyle_cli.inversion import Inversion
from restyle_cli.latents import render
from restyle_cli.methods.mixing import mix, sample_w
from restyle_cli.results import SUFFIXES, Inverted, Results, Writer, latent_tensors, remove
from restyle_cli.store.files import write_latent
from restyle_cli.strip import Cell, draw_strip

SHEET = "variants"
"""The kind of the file with all of them side by side."""


def check_fine(generator: nn.Module) -> None:
    """RestyleError when the generator has no fine layers, which variants are made of."""
    mix(generator.start(1), generator.start(1)[0])


@dataclass(frozen=True, kw_only=True)
class VariantResults(Results):
    """Results with `count` further pictures, each a file, and all on a sheet; their codes are in the latent file.

    The first is of the random numbers of `seed`, the next of `seed` + 1, …, the same ones for every picture; `alpha`
    says how far fine layers go towards sampled ones.
    """

    count: int
    seed: int = 0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", self.kinds | set(self._ends()))

    @property
    def suffixes(self) -> Mapping[str, str]:
        """As of all results; the latent file stays the last."""
        others = {kind: end for kind, end in SUFFIXES.items() if kind != self.mark}
        return {**others, **self._ends(), self.mark: SUFFIXES[self.mark]}

    def beside(self, inversion: Inversion, generator: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
        """The variants' codes [count, L, w_dim], and their pictures [count, 3, H, W]."""
        w = inversion.w.to(generator.w_avg)
        codes = torch.cat([mix(w, sample_w(generator, seed), self.alpha) for seed in self._seeds()]).float().cpu()
        images = [render(generator, code[None], inversion.patch, dtype) for code in codes]
        return {"codes": codes, "images": torch.cat(images)}

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """As all results are written; of an earlier run with more variants nothing is left over."""
        made = super().write(inverted)
        mark = inverted.photo.files[self.mark]
        base = mark.name.removesuffix(self.suffixes[self.mark])
        index = self.count + 1
        while (left := mark.with_name(f"{base}.variant-{index}.png")).is_file():
            remove(left)
            index += 1
        return made

    def _ends(self) -> dict[str, str]:
        singles = {f"variant-{k}": f".variant-{k}.png" for k in range(1, self.count + 1)}
        return {**singles, SHEET: f".{SHEET}.png"}

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.count)

    def _describe(self, inverted: Inverted) -> dict[str, Any]:
        return super()._describe(inverted) | {"seeds": list(self._seeds())}

    def _writers(self) -> Mapping[str, Writer]:
        singles = {f"variant-{k + 1}": partial(self._write_variant, k) for k in range(self.count)}
        return {**super()._writers(), **singles, SHEET: self._write_sheet, self.mark: self._write_codes}

    def _write_variant(self, index: int, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        save_picture(to_picture(inverted.beside["images"][index]), file, {RESULT: "variant"})

    def _write_sheet(self, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        cells = [Cell(to_picture(inverted.photo.x), "given")]
        for k, seed in enumerate(self._seeds(), start=1):
            cells.append(Cell(to_picture(inverted.beside["images"][k - 1]), f"variant {k}", [f"seed {seed}"]))
        save_picture(draw_strip(cells), file, {RESULT: SHEET})

    def _write_codes(self, file: Path, inverted: Inverted, made: dict[str, Any]) -> None:
        codes = {"w_variants": inverted.beside["codes"]}
        write_latent(file, latent_tensors(inverted.inversion, made["has_steps"]) | codes, made)
