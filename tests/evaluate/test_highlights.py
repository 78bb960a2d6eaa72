"""The best and the worst, found one by one."""

from __future__ import annotations

import base64
import io
import random

import pytest
import torch
from PIL import Image

from restyle_cli.evaluate.highlights import MOST, SIDE, Highlights, side_by_side


@pytest.mark.parametrize("higher", [False, True])
def test_they_are_those_of_sorting_all(higher: bool) -> None:
    values = {f"{i}.png": random.Random(i).random() for i in range(200)}
    highlights = Highlights(higher)
    entered = {name for name, value in values.items() if highlights.add(name, value)}
    ranked = sorted(values, key=values.__getitem__, reverse=higher)
    assert highlights.names() == (ranked[:MOST], ranked[: -MOST - 1 : -1])
    assert {*ranked[:MOST], *ranked[-MOST:]} <= entered
    assert len(entered) < 60  # of two hundred: only these leave a picture on disk


def test_of_few_none_is_twice_and_of_equal_ones_the_first_stay() -> None:
    highlights = Highlights(False)
    for name in "abcdef":
        highlights.add(name, 1.0)
    best, worst = highlights.names()
    assert best == list("abcd")
    assert not set(best) & set(worst)


def test_the_small_picture_has_target_and_result() -> None:
    data = base64.b64decode(side_by_side(torch.ones(3, 256, 256), -torch.ones(3, 192, 256)))
    sheet = Image.open(io.BytesIO(data))
    assert sheet.size == (2 * SIDE, SIDE)
    assert sheet.getpixel((SIDE // 2, 10)) == (255, 255, 255)
    assert sheet.getpixel((SIDE + SIDE // 2, 10)) == (0, 0, 0)
    assert len(data) < 20_000
