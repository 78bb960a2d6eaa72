"""The strip of `restyle bootstrap`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from restyle_cli.images import RESULT, save_image, to_image
from restyle_cli.inversion import Inversion
from restyle_cli.run.folder import Output
from restyle_cli.run.outputs import Inverted, Results, shown_images
from restyle_cli.run.strip import Cell, draw_strip, shown_steps, stack


def with_bootstrap_strip(results: Results, first: str, target: str) -> Results:
    """Results whose strip shows the photo, the step of the `first` domain, and the steps of the `target` domain.

    An inversion to compare with (the target's encoder from its own average latent) is a second row.
    """
    strip = Output("strip", ".strip.png", partial(_write_strip, first, target), image_steps=shown_steps)
    outputs = [strip if output.kind == "strip" else output for output in results.outputs]
    return replace(results, outputs=outputs, all_finite=True)


def _write_strip(first: str, target: str, file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    photo, inversion, compared = to_image(inverted.photo.x), inverted.inversion, inverted.compared
    images = shown_images(inversion)
    cells = [Cell(photo, "photo"), _cell(inversion, 1, images[1], first)]
    cells += [_cell(inversion, k, image, f"{target}, step {k - 1}") for k, image in images.items() if k > 1]
    sheet = draw_strip(cells)
    if compared is not None:
        blank = Cell(Image.new("RGB", photo.size, "white"), "for comparison,", ["from the average:"])
        titles = {0: f"{target}, average"}
        row = [
            _cell(compared, k, image, titles.get(k, f"{target}, step {k}"), mark=False)
            for k, image in shown_images(compared).items()
        ]
        sheet = stack([sheet, draw_strip([blank, *row])])
    save_image(sheet, file, {RESULT: "strip"})


def _cell(inversion: Inversion, k: int, image: Tensor, title: str, mark: bool = True) -> Cell:
    selected = mark and k > 1 and k == int(inversion.kept_step)
    return Cell(to_image(image[0]), title, [f"L2 {float(inversion.steps[k].l2):.4f}"], selected)
