"""Recipes of trainings that take a second, and helpers to run them."""

from __future__ import annotations

import csv
from pathlib import Path

GENERATOR = """
name = "tiny"
family = "stylegan2"
precision = "fp32"
check_every = {check}
[data]
pictures = 256
resolution = 16
[network]
resolution = 16
w_dim = 32
mapping_layers = 1
mapping_lr_mul = 1.0
channels = {{ 4 = 16, 8 = 16, 16 = 8 }}
[[stages]]
resolution = 8
steps = 15
batch = 4
lr = 0.02
losses = {{ l2 = 1.0 }}
[[stages]]
resolution = 16
steps = 15
batch = 4
lr = 0.02
losses = {{ l1 = 1.0, gradient_l2 = 1.0 }}
focus = 1.0
adversary = 0.5
"""

ENCODER = """
name = "{name}"
family = "small"
method = "{method}"
generator = "tiny"
{more}
precision = "fp32"
check_every = 80
clip = 1.0
[data]
pictures = 256
resolution = 16
[network]
input_size = 16
widths = [8, 12]
blocks = [1, 1]
hidden = 16
[[stages]]
steps = 80
batch = 4
lr = 3e-3
iterations = {iterations}
augment = 0.5
losses = {losses}
"""


def recipe(folder: Path, text: str) -> Path:
    """The recipe `text` as a file."""
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    """The scores of a training, one row for each check."""
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))
