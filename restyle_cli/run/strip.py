"""Strips: images side by side on one sheet, each with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

HEIGHT = 256
"""Height of every image in px. Smaller ones are enlarged, so that the images of small generators can be seen."""
_GAP, _MARGIN, _TEXT, _LINE = 8, 12, 18, 24
_BACKGROUND, _BLACK, _GREY, _ACCENT = (255, 255, 255), (24, 24, 24), (96, 96, 96), (11, 110, 79)


@dataclass(frozen=True)
class Cell:
    """An image with a title and lines of text below; `marked` highlights it."""

    image: Image.Image
    title: str
    lines: Sequence[str] = ()
    marked: bool = False


def draw_strip(cells: Sequence[Cell], height: int = HEIGHT) -> Image.Image:
    """The cells in a row, each image `height` px high, with the captions below."""
    images = [_scaled(cell.image, height) for cell in cells]
    depth = _GAP + _LINE * max(1 + len(cell.lines) for cell in cells)
    width = 2 * _MARGIN + sum(p.width for p in images) + _GAP * (len(cells) - 1)
    sheet = Image.new("RGB", (width, 2 * _MARGIN + height + depth), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    left = _MARGIN
    for cell, image in zip(cells, images, strict=True):
        sheet.paste(image, (left, _MARGIN))
        top = _MARGIN + height
        if cell.marked:
            draw.rectangle((left, top, left + image.width - 1, top + _GAP // 2 - 1), _ACCENT)
        for row, text in enumerate((cell.title, *cell.lines)):
            colour = _ACCENT if cell.marked else _GREY if row else _BLACK
            position = (left, top + _GAP + row * _LINE)
            draw.text(position, _truncated(text, image.width, font), colour, font)
        left += image.width + _GAP
    return sheet


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """The sheets below each other, aligned left; adjacent margins overlap."""
    width = max(sheet.width for sheet in sheets)
    height = sum(sheet.height for sheet in sheets) - _MARGIN * (len(sheets) - 1)
    stacked = Image.new("RGB", (width, height), _BACKGROUND)
    top = 0
    for sheet in sheets:
        stacked.paste(sheet, (0, top))
        top += sheet.height - _MARGIN
    return stacked


def text_sheet(lines: Sequence[str], width: int) -> Image.Image:
    """A sheet of text, `width` px wide; long lines are wrapped."""
    font = ImageFont.load_default(_TEXT)
    wrapped = [part for line in lines for part in _wrapped(line, width - 2 * _MARGIN, font)]
    sheet = Image.new("RGB", (width, 2 * _MARGIN + _LINE * len(wrapped)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, text in enumerate(wrapped):
        draw.text((_MARGIN, _MARGIN + row * _LINE), text, _GREY, font)
    return sheet


def shown_steps(last: int, most: int = 10) -> list[int]:
    """At most `most` of the steps 0 … `last`, both included: all, or a selection that gets sparser."""
    if last < most:
        return list(range(last + 1))
    ratio = last ** (1 / (most - 2))
    spread = [round(ratio**i) for i in range(most - 1)]
    return sorted({0, last, *(min(max(step, i + 1), last) for i, step in enumerate(spread))})


def _scaled(image: Image.Image, height: int) -> Image.Image:
    if image.height == height:
        return image
    filter = Image.Resampling.BICUBIC if image.height < height else Image.Resampling.LANCZOS
    return image.resize((max(round(image.width * height / image.height), 1), height), filter)


def _truncated(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text`, truncated to `width` px."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """`text` in lines of at most `width` px, wrapped between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
