"""Who is who: what passes and what stays, the contrast, and a training in miniature."""

import pytest
import torch
from miniature import recipe, rows

from restyle_cli.store.files import read_module
from restyle_cli.train import identify
from restyle_cli.train.identify import contrast, same_people
from restyle_cli.train.looks import COLUMNS, LOOK_DIM
from restyle_cli.train.loop import run

IDENTITY = """
name = "who"
family = "drawn-identity"
generator = "tiny"
precision = "fp32"
check_every = {steps}
clip = 1.0
[data]
pictures = 256
resolution = 16
[network]
input_size = 16
widths = [8, 12]
blocks = [1, 1]
hidden = 16
size = 8
[[stages]]
steps = {steps}
batch = 16
lr = 3e-3
"""


def test_a_person_keeps_the_face_and_changes_the_dress():
    own, other = torch.zeros(2, LOOK_DIM), torch.ones(2, LOOK_DIM)
    again = same_people(own, other)[0]
    assert {again[COLUMNS.index(name)].item() for name in ("face_width", "skin.r", "iris.b", "beard")} == {0.0}
    assert {again[COLUMNS.index(name)].item() for name in ("yaw", "smile", "shirt.r", "light_x")} == {1.0}


def test_contrast_is_least_for_partners_alike_and_strangers_apart():
    one = torch.eye(4)
    alike, swapped = float(contrast(one, one)), float(contrast(one, one.roll(1, dims=0)))
    assert alike < 0.01 < 5 < swapped


def test_it_learns_to_know_people_again(tmp_path, tiny_generator):
    path = run(recipe(tmp_path, IDENTITY.format(steps=150)), tmp_path / "who")
    (row,) = rows(tmp_path / "who")
    assert float(row["found"]) > 3 / 32, "three times as often as by chance"
    assert float(row["same"]) > float(row["strangers"]) + 0.1
    network = read_module(path, role="perceptual")
    assert torch.allclose(network(torch.randn(2, 3, 16, 16)).norm(dim=1), torch.ones(2))


def test_a_recipe_without_a_generator_is_refused(tmp_path):
    text = IDENTITY.format(steps=1).replace('generator = "tiny"\n', "")
    with pytest.raises(identify.RestyleError, match="names no generator"):
        run(recipe(tmp_path, text), tmp_path / "who")
