"""Training a hypernetwork in miniature: it starts from another method's code and gets nearer to the picture."""

import pytest
from miniature import ENCODER, recipe, rows

from restyle_cli.errors import RestyleError
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train.loop import run

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
def trained(tmp_path, tiny_generator):
    """A folder with a generator, an encoder of one step for it, and the hypernetwork of `HYPER`."""
    text = ENCODER.format(name="one", method="psp", more="", iterations=1, losses="{ latent = 1.0 }")
    run(recipe(tmp_path, text), tmp_path / "one", steps=40)
    run(recipe(tmp_path, HYPER), tmp_path / "touch")
    return tmp_path


def test_it_goes_on_from_the_latent_that_was_found_and_from_an_earlier_one(trained):
    (row,) = rows(trained / "touch")
    assert float(row["l2_3"]) < 0.97 * float(row["l2_1"]), "step 1 is the encoder's, 2 and later are the weights'"
    path = trained / "touch" / "touch.safetensors"
    assert read_header(path)["extra"]["method"] == "hyperstyle"
    assert read_module(path).config.targets[0][0] == "convs.0"

    again = HYPER.replace('name = "touch"', 'name = "again"\nstart_from = "touch"')
    run(recipe(trained, again.replace("check_every = 120", "check_every = 1")), trained / "again", steps=1)
    (first,) = rows(trained / "again")
    assert float(first["l2_3"]) == pytest.approx(float(row["l2_3"]), rel=0.01)


def test_a_recipe_that_finds_no_code_is_refused(tmp_path):
    with pytest.raises(RestyleError, match="names no `first`"):
        run(recipe(tmp_path, HYPER.replace('first = "one"\n', "")), tmp_path / "touch")
