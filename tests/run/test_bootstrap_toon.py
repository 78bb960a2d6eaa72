"""Bootstrapping with the bundled models, compared with the true toons of held-out portraits."""

from __future__ import annotations

import pytest
import torch

from restyle_cli.data.looks import looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.images import fit
from restyle_cli.inversion import iterate
from restyle_cli.models import load_method

TARGET = "restyle-psp-toon"
pytestmark = pytest.mark.weights


def test_bootstrapped_latents_are_nearer_to_the_toon_than_those_from_the_average() -> None:
    people = looks(sample_z(16, HELD_OUT + 3))
    portraits, toons = (draw_looks(people, 256, style, finer=1) for style in ("portrait", "toon"))
    first, target = load_method("restyle-psp-portrait"), load_method(TARGET)

    def error(*schedule: object) -> torch.Tensor:
        with torch.no_grad():
            *_, state = iterate(portraits, schedule)
        return (fit(state.image, (256, 256)) - toons).square().mean(dim=(1, 2, 3))

    bootstrapped, average = error(first, target, target), error(target, target)
    assert bootstrapped.mean() < average.mean()
    assert (bootstrapped < average).float().mean() > 0.5
