"""Draw the heatmap sheet of a photo or of the average of a folder: the change of each step in image and latent."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from restyle_cli.heatmap.changes import GROUPS, Bytes, Changes
from restyle_cli.heatmap.measures import TITLE, UNIT, Floats
from restyle_cli.run.strip import HEIGHT, Cell, draw_strip, stack, text_sheet

COLOURS = {"coarse": (68, 84, 160), "middle": (31, 138, 112), "fine": (214, 118, 28)}
"""Colours of the bars of the layer groups."""
_BARS, _SMALL = 128, 17  # px: height of the bars, font size of the numbers in them
_FAINT, _STRONG = 0.1, 0.9  # opacity of the colour map at 0 and at 1
_BLACK, _GREY = (24, 24, 24), (200, 200, 200)


def draw_changes(changes: Changes, top: float) -> Image.Image:
    """Three rows: the changes over the images, on one scale up to `top`; each change on its own scale; moves per layer.

    The common scale shows the square root of a change, because the last steps would be black otherwise.
    """
    height, width = changes.target.shape[:2]
    bars_width = round(width * HEIGHT / height)
    common = [
        Cell(Image.fromarray(changes.target), "target" if changes.count == 1 else f"target, mean of {changes.count}")
    ]
    own = [Cell(Image.fromarray(changes.images[0]), "start", ["the first guess"])]
    bars = [Cell(_draw_legend(bars_width), "layers of the latent")]
    highest = float(changes.shares.max(initial=0))
    for index, (step, record) in enumerate(changes.described()):
        since = "" if record["since"] == step - 1 else f", since {record['since']}"
        heat = changes.maps[index]
        over = overlay(changes.images[index + 1], np.sqrt(normalised(heat, top)))
        title = f"step {step}{since}"
        common.append(Cell(Image.fromarray(over), title, [f"change {format_number(record['distance'])}"]))
        heat_image = Image.fromarray(apply_colormap(normalised(heat, heat.max())))
        lines = [f"broad {record['broad']:.0%}, detail {1 - record['broad']:.0%}"]
        own.append(Cell(heat_image, f"half of it in {record['area']:.0%} of the image", lines))
        bar_chart = _draw_bars(changes, index, bars_width, highest)
        bars.append(Cell(bar_chart, f"{record['way']:.0%} of the latent's path"))
    rows = stack([draw_strip(common), draw_strip(own), draw_strip(bars, _BARS)])
    text = [
        f"Change: {TITLE}. Above: all steps on one scale, 0 to {format_number(top)} {UNIT}, "
        "square root; below it: each step on its own scale. Bars: the share of each layer in the step's move."
    ]
    return stack([rows, text_sheet(text, rows.width)])


def overlay(
    image: Bytes,  # [H, W, 3]
    heat: Floats,  # [H, W] from 0 to 1
) -> Bytes:
    """The image in grey, blended with the colours of `heat`; more opaque where it is higher."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    share = (_FAINT + (_STRONG - _FAINT) * heat)[..., None]
    return np.round(grey * (1 - share) + apply_colormap(heat) * share).astype(np.uint8)


def apply_colormap(
    heat: Floats,  # [H, W] from 0 to 1
) -> Bytes:
    """`heat` in the perceptually uniform colour map "magma", [H, W, 3]."""
    bgr = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def normalised(heat: Floats, top: float) -> Floats:
    """heat / `top`, clipped to [0, 1]; all 0 if `top` is 0."""
    return np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)


def format_number(value: float) -> str:
    """At least three digits: "23.9", "0.870", "134"."""
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def _draw_bars(changes: Changes, index: int, width: int, highest: float) -> Image.Image:
    """A bar per layer, `highest` at full height, and the share of each layer group above its bars."""
    image = Image.new("RGB", (width, _BARS), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_SMALL)
    shares = changes.shares[index]
    full, bottom = _BARS - 26, _BARS - 2
    for name, share in changes.groups(index).items():
        layers = range(len(shares))[GROUPS[name]]
        for layer in layers:
            left, right = (round(edge * width / len(shares)) for edge in (layer, layer + 1))
            height = round(full * float(shares[layer]) / highest) if highest > 0 else 0
            draw.rectangle((left + 1, bottom - height, right - 2, bottom), COLOURS[name])
        if layers:
            middle = (layers[0] + layers[-1] + 1) / 2 * width / len(shares)
            draw.text((middle, 0), f"{share:.0%}", COLOURS[name], font, anchor="ma")
    draw.line((0, _BARS - 1, width, _BARS - 1), _GREY)
    return image


def _draw_legend(width: int) -> Image.Image:
    image = Image.new("RGB", (width, _BARS), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_SMALL)
    for row, (name, layers) in enumerate(GROUPS.items()):
        top = 14 + row * 34
        last = f" to {layers.stop}" if layers.stop else " on"
        draw.rectangle((0, top, 20, top + 20), COLOURS[name])
        draw.text((30, top + 10), f"{name}: {layers.start + 1}{last}", _BLACK, font, anchor="lm")
    return image
