"""The sheet: colours, scales, bars and captions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from restyle_cli.heatmap.changes import Changes
from restyle_cli.heatmap.drawing import COLOURS, apply_colormap, draw_changes, format_number, normalised, overlay
from restyle_cli.run.strip import HEIGHT

SIDE = 64


def changes(steps: int = 3, layers: int = 12) -> Changes:
    random = np.random.default_rng(0)
    maps = random.random((steps, SIDE, SIDE), dtype=np.float32) * np.array([8, 4, 1])[:steps, None, None]
    return Changes(
        steps=np.arange(steps + 1),
        target=np.full((SIDE, SIDE, 3), 40, np.uint8),
        images=np.full((steps + 1, SIDE, SIDE, 3), 200, np.uint8),
        maps=maps.astype(np.float32),
        layers=np.ones((steps, layers), np.float32),
        area=np.full(steps, 0.25, np.float32),
        broad=np.full(steps, 0.5, np.float32),
    )


def brightness(colours: np.ndarray) -> np.ndarray:
    return colours.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_the_colour_map_gets_brighter_and_channels_are_not_swapped() -> None:
    ramp = apply_colormap(np.linspace(0, 1, 256, dtype=np.float32)[None])[0]
    assert (np.diff(brightness(ramp)) > -1.5).all()
    assert brightness(ramp[-1]) > 220 > 20 > brightness(ramp[0])
    assert ramp[180, 0] > ramp[180, 2] + 80  # two thirds up, magma is orange; with R and B swapped, blue


def test_the_overlay_is_more_opaque_where_the_change_is_larger() -> None:
    image = np.full((2, 2, 3), (250, 20, 20), np.uint8)
    heat = np.array([[0, 0.3], [0.6, 1]], np.float32)
    over, grey = overlay(image, heat).astype(float), 0.299 * 250 + 0.701 * 20
    covered = np.abs(over - grey).sum(axis=2) / np.abs(apply_colormap(heat) - grey).sum(axis=2)
    assert covered.ravel().tolist() == pytest.approx([0.1, 0.34, 0.58, 0.9], abs=0.02)
    assert np.ptp(over[0, 0].astype(int)) <= 3  # nothing has changed there: grey


def test_scales_end_at_one() -> None:
    heat = np.array([[0, 1], [2, 4]], np.float32)
    assert normalised(heat, 2).tolist() == [[0, 0.5], [1, 1]]
    assert not normalised(np.zeros((2, 2), np.float32), 0).any()


def test_the_sheet_has_a_column_a_step() -> None:
    three = draw_changes(changes(), top=8)
    two = draw_changes(changes(2), top=8)
    assert three.width - two.width == HEIGHT + 8
    pixels = np.asarray(three)
    assert (pixels[12 : 12 + HEIGHT, 12 : 12 + HEIGHT] == 40).all()
    start = np.flatnonzero((pixels[:, 100] == 200).all(axis=1))
    assert len(start) == HEIGHT  # the first guess, below the target


def test_the_first_row_has_one_scale_and_the_second_a_scale_per_step() -> None:
    pixels = brightness(np.asarray(draw_changes(changes(), top=8)))
    lefts = [12 + (HEIGHT + 8) * (1 + k) for k in range(3)]
    above = [pixels[12 : 12 + HEIGHT, left : left + HEIGHT] for left in lefts]
    rows = slice(12 + HEIGHT + 80, HEIGHT + 200)  # well inside the second row
    below = [pixels[rows, left : left + HEIGHT].mean() for left in lefts]
    assert np.ptp(below) < 0.1 * np.mean(below)
    spread = [panel.std() for panel in above]
    assert spread[0] > 1.2 * spread[2]


def test_bars_follow_the_layers() -> None:
    even = changes()
    skewed = dataclasses.replace(even, layers=np.repeat([[3.0] * 4 + [1] * 8], 3, axis=0).astype(np.float32))

    def area(of: Changes, name: str) -> int:
        pixels = np.asarray(draw_changes(of, 8))[:, 12 + HEIGHT + 8 :]
        return int((pixels == COLOURS[name]).all(axis=2).sum())

    assert area(even, "coarse") == pytest.approx(area(even, "fine"), rel=0.1)
    assert area(skewed, "coarse") > 2.5 * area(skewed, "fine")


def test_nothing_changed_is_drawn_too() -> None:
    still = dataclasses.replace(
        changes(), maps=np.zeros((3, SIDE, SIDE), np.float32), layers=np.zeros((3, 12), np.float32)
    )
    assert draw_changes(still, still.top).width > 4 * HEIGHT


@pytest.mark.parametrize(("value", "text"), [(23.94, "23.9"), (0.8701, "0.870"), (134.4, "134"), (0, "0.00")])
def test_numbers(value: float, text: str) -> None:
    assert format_number(value) == text
