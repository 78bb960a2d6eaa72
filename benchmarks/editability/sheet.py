"""Edits of one portrait with the latents of every method: rows are methods, columns are edits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from measures import Domain, Move
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restyle_cli.data.portraits import draw_looks
from restyle_cli.images import to_image

SIDE, TITLE, MARGIN, GAP, TEXT = 128, 250, 12, 6, 18
INK, PAPER = (24, 24, 24), (255, 255, 255)


class Rendered(Protocol):
    """The latents of one method."""

    name: str
    w: Tensor

    def render(self, move: Tensor | None, rows: slice) -> Tensor:
        """Images [n, 3, H, W] of the portraits in `rows`, moved by `move` [n, w_dim]."""


def largest_moves(moves: Sequence[Move], look: Tensor, domain: Domain) -> list[Move]:
    """For each trait the move that changes this `look` [LOOK_DIM] most."""

    def change(move: Move) -> float:
        after = domain.moved(look[None], move)[0]
        return float(((after - look) / domain.space.spread).norm())

    names = dict.fromkeys(move.name for move in moves)
    return [max((move for move in moves if move.name == name), key=change) for name in names]


def write_sheet(
    path: Path, methods: Sequence[Rendered], values: Tensor, moves: Sequence[Move], domain: Domain, person: int
) -> None:
    """Write the sheet: the rendering of the person after each move, then every method."""
    here = slice(person, person + 1)
    look = values[here]
    changed = [look, *(domain.moved(look, move) for move in moves)]
    ways = [domain.space.embed(after) - domain.space.embed(look) for after in changed]
    rows = {"renderings": torch.cat([draw_looks(after, SIDE) for after in changed])}
    rows |= {latents.name: torch.cat([latents.render(way, here) for way in ways]) for latents in methods}
    titles = ["inverted", *(move.title for move in moves)]
    width, height = (MARGIN + TITLE + len(titles) * (SIDE + GAP), 3 * MARGIN + TEXT + len(rows) * (SIDE + GAP))
    sheet = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for column, title in enumerate(titles):
        centre = MARGIN + TITLE + column * (SIDE + GAP) + SIDE // 2
        pen.text((centre, MARGIN + TEXT // 2), title, INK, font, anchor="mm")
    for row, (name, images) in enumerate(rows.items()):
        top = 2 * MARGIN + TEXT + row * (SIDE + GAP)
        lines = name.replace(",", ",\n")
        pen.text((MARGIN, top + SIDE // 2), lines, INK, font, anchor="lm")
        for column, image in enumerate(map(to_image, images)):
            sheet.paste(image.resize((SIDE, SIDE)), (MARGIN + TITLE + column * (SIDE + GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = sheet.quantize(256, Image.Quantize.MEDIANCUT, kmeans=3)
    sheet.quantize(palette=colours).save(path, optimize=True)  # dithered; in all colours it would take 2 MB
