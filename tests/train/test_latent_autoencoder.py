"""The latent autoencoder in miniature: whose turn it is, what each update changes, and that W is found again."""

import csv

import numpy as np
import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.inversion import invert
from restyle_cli.models import load_method
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train import drawings, latent_autoencoder
from restyle_cli.train.config import read_recipe
from restyle_cli.train.latent_autoencoder import R1_EVERY, LatentAutoencoder
from restyle_cli.train.loop import learning_rate, run
from tests.train.test_loop import recipe

RECIPE = """
name = "tiny"
family = "alae"
precision = "fp32"
check_every = {check}
betas = [0.0, 0.99]
[data]
pictures = 256
resolution = 16
[network]
resolution = 16
z_dim = 8
w_dim = 8
mapping_layers = 2
mapping_width = 8
mapping_lr_mul = 0.1
channels = {{ 4 = 12, 8 = 12, 16 = 8 }}
[[stages]]
resolution = 8
steps = {first}
batch = 8
lr = 3e-3
[[stages]]
resolution = 16
steps = {last}
batch = 8
lr = 3e-3
"""
PARTS = ("generator.mapping", "generator", "encoder", "stems", "head")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Draw without compiling, and few held-out pictures."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    real = drawings.held_out
    monkeypatch.setattr(
        latent_autoencoder, "held_out", lambda n, resolution, style: real(16, min(resolution, 32), style)
    )


@pytest.fixture
def task(tmp_path):
    torch.manual_seed(0)
    made = LatentAutoencoder(read_recipe(recipe(tmp_path, RECIPE.format(check=9, first=9, last=9))), tmp_path)
    made.prepare(lambda text: None)
    return made


def learnt(network):
    """The parts that have gradients; the mapping network apart from the rest of the generator."""
    names = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    return {next(part for part in PARTS if name.startswith(part)) for name in names}


def descend(task, update, stage, steps, lr=0.01):
    """What one of the updates reaches alone, on the same batch: its loss before and after."""
    optimiser = torch.optim.Adam(task.network.parameters(), lr)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss = update(stage, np.random.default_rng(0))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses[0], losses[-1]


def verdicts(task, stage):
    """How real drawings and samples seem."""
    scores = task.scores(task.network, stage)
    return scores["real"], scores["made"]


def test_each_update_changes_its_own_networks(task):
    stage = task.recipe.stages[1]
    changed = []
    for _ in range(6):
        task.network.zero_grad(set_to_none=True)
        task.backward(stage, np.random.default_rng(0))
        changed.append(learnt(task.network))
    round_of = [{"encoder", "head"}, {"generator", "generator.mapping"}, {"encoder", "generator"}]
    assert changed == round_of * 2
    task.network.zero_grad(set_to_none=True)
    task.backward(task.recipe.stages[0], np.random.default_rng(0))
    assert learnt(task.network) == {"encoder", "head", "stems"}, "a smaller picture comes in by a layer of its own"


def test_the_judge_learns_to_tell_and_the_generator_to_pass(task):
    stage = task.recipe.stages[1]
    before, after = descend(task, task.judge, stage, 40)
    real, made = verdicts(task, stage)
    assert after < before and real > made + 0.5
    before, after = descend(task, task.draw, stage, 40)
    assert after < before and verdicts(task, stage)[1] > made + 0.2, "samples seem more real than they did"


def test_steep_verdicts_cost_where_the_round_asks(task):
    stage = task.recipe.stages[1]
    with_it = float(task.judge(stage, np.random.default_rng(0)).detach())
    task.updates = 3
    without = float(task.judge(stage, np.random.default_rng(0)).detach())
    task.updates = 3 * R1_EVERY
    assert with_it > without
    assert float(task.judge(stage, np.random.default_rng(0)).detach()) == with_it


def test_codes_are_found_again_after_reciprocity_alone(task):
    stage = task.recipe.stages[1]
    before = task.scores(task.network, stage)["reciprocity"]
    mapping = [parameter.clone() for parameter in task.network.generator.mapping.parameters()]
    descend(task, task.reciprocate, stage, 60)
    assert task.scores(task.network, stage)["reciprocity"] < 0.5 * before
    for was, now in zip(mapping, task.network.generator.mapping.parameters(), strict=True):
        assert torch.equal(was, now), "W stays where it is"


def test_at_full_size_it_is_the_encoder_and_the_generator_of_the_files(task):
    network, x, w = task.network, torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(x), network.encoder(x)[:, 0])
        torch.testing.assert_close(network.draw(w, 16), network.generator(network.generator.w_plus(w)))


def test_new_layers_fade_in(task):
    network, x, w = task.network, torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 8)
    halved = torch.nn.functional.avg_pool2d(x, 2)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(x, 0.0), network.encode(halved))
        torch.testing.assert_close(torch.nn.functional.avg_pool2d(network.draw(w, 16, 0.0), 2), network.draw(w, 8))
        nearly = network.encode(x, 0.999) - network.encode(x)
        assert 0 < float(nearly.abs().max()) < 0.1
    first, last = task.recipe.stages
    task.begin(first, None)
    assert task.fade(first) == 1
    task.begin(last, first)
    assert task.fade(last) == 0
    task.updates = last.steps // 2
    assert task.fade(last) == 1
    task.begin(last, last)
    assert task.fade(last) == 1


def test_samples_are_pale_at_first_at_every_size(task):
    with torch.no_grad():
        for side in (4, 8, 16):
            assert float(task.network.draw(torch.randn(16, 8), side).abs().mean()) < 0.3


def test_every_parameter_has_one_rate_and_wide_layers_go_slowly(task, tmp_path):
    groups = task.network.groups()
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in task.network.parameters())
    # Adam's first step has the length of the rate, whatever the gradient.
    run(recipe(tmp_path, RECIPE.format(check=1, first=1, last=1)), tmp_path / "run", steps=1)
    torch.manual_seed(0)
    found = read_recipe(tmp_path / "recipe.toml")
    fresh = LatentAutoencoder(found, tmp_path).network.encoder.blocks[1].conv2.weight.detach()
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["network"]
    step = (saved["encoder.blocks.1.conv2.weight"] - fresh).abs().median()
    expected = learning_rate(found.stages[0], 0) * 2**0.5 / (9 * 12) ** 0.5
    assert float(step) == pytest.approx(expected, rel=1e-2)


def test_stopping_and_going_on_equals_not_stopping(tmp_path):
    path = recipe(tmp_path, RECIPE.format(check=30, first=10, last=20))
    run(path, tmp_path / "whole")
    for steps in (4, 10, 14, 23, None):  # in the middle of a round, between stages, while layers fade in
        run(path, tmp_path / "parts", resume=True, steps=steps)
    for name in ("tiny", "tiny-generator"):
        files = (tmp_path / folder / f"{name}.safetensors" for folder in ("whole", "parts"))
        whole, parts = (read_module(file).state_dict() for file in files)
        for key, value in whole.items():
            assert torch.equal(value, parts[key]), f"{key} of {name} differs"


def test_a_short_training_finds_codes_again_and_its_files_invert(tmp_path):
    path = run(recipe(tmp_path, RECIPE.format(check=90, first=30, last=150)), tmp_path / "run")
    with (tmp_path / "run" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["reciprocity"]) < 0.7 * float(rows[0]["reciprocity"])
    assert (tmp_path / "run" / "sheet.png").stat().st_size > 1000
    assert read_header(path)["extra"]["generator"] == "tiny-generator"
    method = load_method(path)
    _, x = drawings.held_out(4, 16, "portrait")
    found = invert(x, method, keep="last")
    assert torch.equal(found.w, read_module(path)(x))
    generator = read_module(tmp_path / "run" / "tiny-generator.safetensors")
    assert torch.equal(found.images, generator(found.w))
    torch.testing.assert_close(generator.w_avg[0], generator.mean_w(20_000), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("resolution = 8", "resolution = 12"), "pictures of 12 px"),
        (("lr = 3e-3", "lr = 3e-3\nlosses = { l2 = 1.0 }"), "names the loss 'l2'"),
    ],
)
def test_recipes_that_cannot_be_trained_are_refused(tmp_path, change, message):
    text = RECIPE.format(check=9, first=9, last=9).replace(*change, 1)
    with pytest.raises(RestyleError, match=message):
        run(recipe(tmp_path, text), tmp_path / "run")
