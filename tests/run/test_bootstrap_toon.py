"""Bootstrapping with the embedded networks, against the true toon twins of portraits nobody trained on."""

from __future__ import annotations

import pytest
import torch

from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.images import fit
from restyle_cli.inversion import iterate
from restyle_cli.models import load_method

TARGET = "restyle-psp-toon"
pytestmark = pytest.mark.weights


def test_bootstrapped_codes_come_nearer_to_the_twin_than_those_from_the_average() -> None:
    z = sample_z(16, HELD_OUT + 3)
    portraits, toons = draw(z, 256, "portrait"), draw(z, 256, "toon")
    first, target = load_method("restyle-psp-portrait"), load_method(TARGET)

    def error(*schedule: object) -> torch.Tensor:
        with torch.no_grad():
            *_, state = iterate(portraits, schedule)
        return (fit(state.image, (256, 256)) - toons).square().mean(dim=(1, 2, 3))

    bootstrapped, average = error(first, target, target), error(target, target)
    assert bootstrapped.mean() < average.mean()
    assert (bootstrapped < average).float().mean() > 0.5
