"""Pictures side by side on one sheet, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

HEIGHT = 256
"""Pixels that every picture is high, whatever the generator's size: small ones are enlarged to be seen."""
_GAP, _MARGIN, _TEXT, _LINE = 8, 12, 18, 24
_PAPER, _INK, _GREY, _MARK = (255, 255, 255), (24, 24, 24), (96, 96, 96), (11, 110, 79)


@dataclass(frozen=True)
class Cell:
    """A picture, its title and the lines below; `marked` is set off by colour."""

    image: Image.Image
    title: str
    lines: Sequence[str] = ()
    marked: bool = False


def draw_strip(cells: Sequence[Cell], height: int = HEIGHT) -> Image.Image:
    """The cells in a row, each picture `height` pixels high, captions below."""
    pictures = [_scaled(cell.image, height) for cell in cells]
    depth = _GAP + _LINE * max(1 + len(cell.lines) for cell in cells)
    width = 2 * _MARGIN + sum(p.width for p in pictures) + _GAP * (len(cells) - 1)
    sheet = Image.new("RGB", (width, 2 * _MARGIN + height + depth), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    left = _MARGIN
    for cell, picture in zip(cells, pictures, strict=True):
        sheet.paste(picture, (left, _MARGIN))
        top = _MARGIN + height
        if cell.marked:
            pen.rectangle((left, top, left + picture.width - 1, top + _GAP // 2 - 1), _MARK)
        for row, text in enumerate((cell.title, *cell.lines)):
            colour = _MARK if cell.marked else _GREY if row else _INK
            place = (left, top + _GAP + row * _LINE)
            pen.text(place, _shortened(text, picture.width, font), colour, font)
        left += picture.width + _GAP
    return sheet


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """The sheets one below the other, on the left edge; the margins between them are shared."""
    width = max(sheet.width for sheet in sheets)
    height = sum(sheet.height for sheet in sheets) - _MARGIN * (len(sheets) - 1)
    stacked = Image.new("RGB", (width, height), _PAPER)
    top = 0
    for sheet in sheets:
        stacked.paste(sheet, (0, top))
        top += sheet.height - _MARGIN
    return stacked


def text_sheet(lines: Sequence[str], width: int) -> Image.Image:
    """A sheet of text, `width` pixels wide, to stand below others; lines that are too long are broken."""
    font = ImageFont.load_default(_TEXT)
    broken = [part for line in lines for part in _broken(line, width - 2 * _MARGIN, font)]
    sheet = Image.new("RGB", (width, 2 * _MARGIN + _LINE * len(broken)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, text in enumerate(broken):
        pen.text((_MARGIN, _MARGIN + row * _LINE), text, _GREY, font)
    return sheet


def shown_steps(last: int, most: int = 10) -> list[int]:
    """Which of the steps 0 … `last` to show: all, or the first ones and then ever fewer, `most` at most."""
    if last < most:
        return list(range(last + 1))
    ratio = last ** (1 / (most - 2))
    spread = [round(ratio**i) for i in range(most - 1)]
    return sorted({0, last, *(min(max(step, i + 1), last) for i, step in enumerate(spread))})


def _scaled(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    filter = Image.Resampling.BICUBIC if picture.height < height else Image.Resampling.LANCZOS
    return picture.resize((max(round(picture.width * height / picture.height), 1), height), filter)


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text`, with its end cut off where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _broken(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """`text` in lines of at most `width` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
