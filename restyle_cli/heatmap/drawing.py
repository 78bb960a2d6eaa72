"""The sheet of a photo, or of a folder's average: every step's change over its picture, bare, and in the code."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from restyle_cli.heatmap.changes import GROUPS, Bytes, Changes
from restyle_cli.heatmap.measures import Floats, Measure
from restyle_cli.strip import HEIGHT, Cell, draw_strip, stack, text_sheet

COLOURS = {"coarse": (68, 84, 160), "middle": (31, 138, 112), "fine": (214, 118, 28)}
"""Of the bars of the layers."""
_BARS, _SMALL = 128, 17  # px: how high the bars are, and the numbers in them
_FAINT, _STRONG = 0.1, 0.9  # how much of the colour map is seen where nothing and where most has changed
_INK, _LINE = (24, 24, 24), (200, 200, 200)


def draw_changes(changes: Changes, measure: Measure, top: float) -> Image.Image:
    """Above, the changes over the steps' pictures, on one scale that ends at `top`; below it, each on its own scale.

    At the bottom the moves of the code, layer by layer. On the one scale, brightness goes with the square root of a
    change: the last steps would be black.
    """
    height, width = changes.target.shape[:2]
    bars_width = round(width * HEIGHT / height)
    above = [Cell(Image.fromarray(changes.target), _of_all("target", changes))]
    middle = [Cell(Image.fromarray(changes.pictures[0]), "start", ["the first guess"])]
    below = [Cell(_legend(bars_width), "layers of the code")]
    highest = float(changes.shares.max(initial=0))
    for index, (step, said) in enumerate(changes.described()):
        since = "" if said["since"] == step - 1 else f", since {said['since']}"
        heat, own = changes.maps[index], changes.maps[index].max()
        over = overlay(changes.pictures[index + 1], np.sqrt(normalised(heat, top)))
        title = f"step {step}{since}"
        above.append(Cell(Image.fromarray(over), title, [f"change {format_number(said['distance'])}"]))
        bare = Image.fromarray(apply_colormap(normalised(heat, own)))
        lines = [f"broad {said['broad']:.0%}, detail {1 - said['broad']:.0%}"]
        middle.append(Cell(bare, f"half of it in {said['area']:.0%} of the picture", lines))
        bars = _bars(changes, index, bars_width, highest)
        below.append(Cell(bars, f"{said['way']:.0%} of the code's way"))
    rows = stack([draw_strip(above), draw_strip(middle), draw_strip(below, _BARS)])
    text = [
        f"Change: {measure.title}. Above: all steps on one scale, 0 to {format_number(top)} {measure.unit}, "
        "square root; below it: each step on its own scale. Bars: what each layer took of the step's move."
    ]
    return stack([rows, text_sheet(text, rows.width)])


def overlay(
    picture: Bytes,  # [H, W, 3]
    heat: Floats,  # [H, W] from 0 to 1
) -> Bytes:
    """The picture in grey, and the colours of the heat over it, the more of them the hotter."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    share = (_FAINT + (_STRONG - _FAINT) * heat)[..., None]
    return np.round(grey * (1 - share) + apply_colormap(heat) * share).astype(np.uint8)


def apply_colormap(
    heat: Floats,  # [H, W] from 0 to 1
) -> Bytes:
    """[H, W, 3] in the colours of "magma": the lighter, the more, in equal steps to the eye."""
    bgr = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def normalised(heat: Floats, top: float) -> Floats:
    """The map from 0 to 1, which is `top` and more; 0 where there is no change at all."""
    return np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)


def format_number(value: float) -> str:
    """Three digits, or more: "23.9", "0.870", "134"."""
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def _of_all(title: str, changes: Changes) -> str:
    return title if changes.count == 1 else f"{title}, mean of {changes.count}"


def _bars(changes: Changes, index: int, width: int, highest: float) -> Image.Image:
    """A bar for each layer, `highest` up to the brim, and above each group the part that fell on it."""
    picture = Image.new("RGB", (width, _BARS), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_SMALL)
    shares = changes.shares[index]
    room, floor = _BARS - 26, _BARS - 2
    for name, share in changes.groups(index).items():
        layers = range(len(shares))[GROUPS[name]]
        for layer in layers:
            left, right = (round(edge * width / len(shares)) for edge in (layer, layer + 1))
            height = round(room * float(shares[layer]) / highest) if highest > 0 else 0
            pen.rectangle((left + 1, floor - height, right - 2, floor), COLOURS[name])
        if layers:
            middle = (layers[0] + layers[-1] + 1) / 2 * width / len(shares)
            pen.text((middle, 0), f"{share:.0%}", COLOURS[name], font, anchor="ma")
    pen.line((0, _BARS - 1, width, _BARS - 1), _LINE)
    return picture


def _legend(width: int) -> Image.Image:
    picture = Image.new("RGB", (width, _BARS), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_SMALL)
    for row, (name, layers) in enumerate(GROUPS.items()):
        top = 14 + row * 34
        last = f" to {layers.stop}" if layers.stop else " on"
        pen.rectangle((0, top, 20, top + 20), COLOURS[name])
        pen.text((30, top + 10), f"{name}: {layers.start + 1}{last}", _INK, font, anchor="lm")
    return picture
