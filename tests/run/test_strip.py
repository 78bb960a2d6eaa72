"""The sheet of captioned pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from restyle_cli.run.strip import HEIGHT, Cell, draw_strip, shown_steps, stack, text_sheet

GREY = (128, 128, 128)


def cell(title: str, *lines: str, size: tuple[int, int] = (128, 128), marked: bool = False) -> Cell:
    return Cell(Image.new("RGB", size, GREY), title, lines, marked)


def ink_below(sheet: Image.Image, left: int, width: int = HEIGHT) -> np.ndarray:
    """What of the captions below a picture is not paper, [rows, columns]."""
    return (np.asarray(sheet)[12 + HEIGHT :, left : left + width] != 255).any(axis=2)


def test_pictures_of_every_size_are_shown_at_one_height() -> None:
    sheet = draw_strip([cell("a"), cell("b", size=(1024, 1024)), cell("c", size=(512, 384)), cell("d", size=(16, 16))])
    grey = (np.asarray(sheet) == GREY).all(axis=2)
    columns = grey[12 : 12 + HEIGHT].all(axis=0)
    edges = np.flatnonzero(np.diff(columns.astype(int), prepend=0, append=0))
    widths = (edges[1::2] - edges[::2]).tolist()
    assert widths == [HEIGHT, HEIGHT, round(512 / 384 * HEIGHT), HEIGHT]
    assert grey.any(axis=1).sum() == HEIGHT


def test_captions_can_be_read() -> None:
    sheet = draw_strip([cell("step 3", "L2 0.0451"), cell("step 4", "L2 0.0451")])
    first, second = ink_below(sheet, 12), ink_below(sheet, 12 + HEIGHT + 8)
    rows = np.flatnonzero(first.any(axis=1))
    assert rows.max() - rows.min() >= 30  # two lines of letters, not specks
    assert not np.array_equal(first[:32], second[:32])  # another title
    assert np.array_equal(first[32:], second[32:])  # the same line
    assert not first[-4:].any()  # nothing is cut off at the lower edge
    dark = np.asarray(sheet.convert("L"))[12 + HEIGHT :]
    assert dark.min() < 60


def test_captions_stay_below_their_picture() -> None:
    long = draw_strip([cell("a very long title that no picture of this width has room for"), cell("")])
    assert ink_below(long, 12).any()
    assert not ink_below(long, 12 + HEIGHT).any()


def test_the_kept_step_is_set_off() -> None:
    plain, marked = draw_strip([cell("step 1")]), draw_strip([cell("step 1", marked=True)])
    bar = np.asarray(marked)[12 + HEIGHT + 1, 12 : 12 + HEIGHT].astype(int)
    assert (bar[:, 1] > bar[:, 0] + 50).all()  # green, all along
    assert (np.asarray(plain)[12 + HEIGHT + 1] == 255).all()


@pytest.mark.parametrize("last", [1, 2, 5, 8, 9, 10, 11, 15, 30, 100, 1000, 5000])
@pytest.mark.parametrize("most", [10, 20])
def test_shown_steps(last: int, most: int) -> None:
    steps = shown_steps(last, most)
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == last
    assert len(steps) == min(last + 1, most)
    assert steps[1] == 1


def test_sheets_one_below_the_other() -> None:
    first, second = draw_strip([cell("a"), cell("b")]), draw_strip([cell("c")], height=100)
    both = np.asarray(stack([first, second]))
    assert both.shape[1] == first.width
    assert np.array_equal(both[: first.height - 12], np.asarray(first)[:-12])
    assert np.array_equal(both[first.height - 12 :, : second.width], np.asarray(second))
    assert (both[first.height :, second.width :] == 255).all()


def test_notes_are_broken_into_lines() -> None:
    words = "a text that is too long for one line of this sheet"
    narrow, wide = (np.asarray(text_sheet([words], width)) for width in (200, 2000))
    assert narrow.shape[0] > wide.shape[0]
    assert not (narrow[:, -12:] != 255).any()
    ink = [int((sheet < 200).sum()) for sheet in (narrow, wide)]
    assert ink[0] == pytest.approx(ink[1], rel=0.1)  # no word is lost
