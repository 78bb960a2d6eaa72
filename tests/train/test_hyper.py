"""Training a hypernetwork in miniature: it starts from another method's code and gets nearer to the picture."""

import csv

import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train import drawings, encode
from restyle_cli.train.loop import run
from tests.train.test_loop import ENCODER, GENERATOR, recipe

HYPER = """
name = "touch"
family = "small-hyper"
method = "hyperstyle"
generator = "tiny"
first = "one"
precision = "fp32"
check_every = 120
clip = 1.0
[data]
pictures = 256
resolution = 16
[network]
input_size = 16
widths = [8, 12]
blocks = [1, 1]
hidden = 16
code = 4
[[stages]]
steps = 120
batch = 4
lr = 3e-3
iterations = 2
losses = { l2 = 4.0 }
"""


@pytest.fixture
def code_finder(tmp_path, monkeypatch):
    """A generator, and an encoder of one step for it."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(encode, "HELD_OUT_PICTURES", 16)
    real = drawings.held_out
    for module in ("distil", "encode"):
        monkeypatch.setattr(
            f"restyle_cli.train.{module}.held_out", lambda n, size, style: real(16, min(size, 32), style)
        )
    run(recipe(tmp_path, GENERATOR.format(check=30)), tmp_path / "tiny")
    text = ENCODER.format(name="one", method="psp", more="", iterations=1, losses="{ latent = 1.0 }")
    run(recipe(tmp_path, text), tmp_path / "one", steps=40)


def test_it_goes_on_from_the_code_that_was_found(tmp_path, code_finder):
    path = run(recipe(tmp_path, HYPER), tmp_path / "touch")
    with (tmp_path / "touch" / "scores.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["l2_3"]) < 0.97 * float(row["l2_1"]), "step 1 is the encoder's, 2 and later are the weights'"
    assert read_header(path)["extra"]["method"] == "hyperstyle"
    assert read_module(path).config.targets[0][0] == "convs.0"


def test_a_recipe_that_finds_no_code_is_refused(tmp_path):
    with pytest.raises(RestyleError, match="names no `first`"):
        run(recipe(tmp_path, HYPER.replace('first = "one"\n', "")), tmp_path / "touch")


def test_it_goes_on_from_an_earlier_one_of_its_shape(tmp_path, code_finder):
    run(recipe(tmp_path, HYPER), tmp_path / "touch")
    again = HYPER.replace('name = "touch"', 'name = "again"\nstart_from = "touch"').replace(
        "check_every = 120", "check_every = 1"
    )
    run(recipe(tmp_path, again), tmp_path / "again", steps=1)
    errors = []
    for name in ("touch", "again"):
        with (tmp_path / name / "scores.csv").open() as file:
            errors.append(float(next(csv.DictReader(file))["l2_3"]))
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    with pytest.raises(RestyleError, match="has another shape"):
        run(recipe(tmp_path, again.replace("hidden = 16", "hidden = 24")), tmp_path / "other")
