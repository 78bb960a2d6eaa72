"""The bundled models: the generator renders known portraits, and the encoders invert them."""

from itertools import pairwise

import pytest
import torch

from restyle_cli.data.looks import COLUMN_GROUPS, COLUMNS, FINE, TRAITS, LookSpace, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.images import fit
from restyle_cli.inversion import invert, iterate
from restyle_cli.models import load_method
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_header, read_module

pytestmark = pytest.mark.weights

LOUD = [
    "yaw",
    "hair_length",
    "hat",
    "beard",
    "glasses",
    "smile",
    "mouth_open",
    "eye_open",
    "gaze_x",
    "fringe",
    "light_x",
]


@pytest.fixture(scope="module")
def generator():
    return read_module(fetch.ensure(catalog.find("portrait")))


@pytest.fixture(scope="module")
def space():
    return LookSpace(512)


@pytest.fixture(scope="module")
def people():
    """(looks, images at 256 px) of twelve held-out people."""
    values = looks(sample_z(12, HELD_OUT))
    return values, draw_looks(values, 256, finer=1)


def test_the_generator_renders_true_latents(generator, space, people):
    values, images = people
    drawn = generator(generator.w_plus(space.embed(values)))
    error = (drawn - fit(images, generator.size)).square().mean(dim=(1, 2, 3))
    assert error.mean() < 0.008  # 27 dB on [0, 1]
    assert error.max() < 0.02


def test_the_average_latent_is_the_mean_face(generator, space):
    drawn = generator(generator.start(1))
    mean = draw_looks(space.mean[None], generator.config.resolution)
    assert (drawn - mean).square().mean() < 0.01


def test_layers_answer_for_their_own_traits(generator, space, people):
    """Latents of two people, mixed at layer 5: the shapes of the first, the colours and light of the second."""
    own = people[0]
    others = own.roll(1, dims=0)
    w, other = (generator.w_plus(space.embed(values)) for values in (own, others))
    mixed = generator(torch.cat([w[:, :5], other[:, 5:]], dim=1))
    wanted = draw_looks(torch.where(COLUMN_GROUPS == FINE, others, own), 128)
    own, first, second = ((mixed - picture).square().mean() for picture in (wanted, generator(w), generator(other)))
    assert own < 0.008
    assert own < 0.1 * first and own < 0.1 * second


@pytest.mark.parametrize("trait", LOUD)
def test_traits_are_learned(generator, space, trait):
    """At least 0.8 of the change of the rendering when a trait moves by 1.2 standard deviations."""
    assert trait in TRAITS
    index = COLUMNS.index(trait)
    span = 1.2 * space.spread[index]
    low, high = space.mean.clone(), space.mean.clone()
    low[index] = (low[index] - span).clamp_min(0.0 if isinstance(TRAITS[trait], tuple) else -1.0)
    high[index] = (high[index] + span).clamp_max(1.0)
    ends = torch.stack([low, high])
    drawn = fit(draw_looks(ends, 128), generator.size)
    made = generator(generator.w_plus(space.embed(ends)))
    change, wanted = made[1] - made[0], drawn[1] - drawn[0]
    assert float((change * wanted).sum() / wanted.square().sum()) > 0.8


def test_restyle_falls_at_every_step(people):
    method = load_method("restyle-psp-portrait")
    result = invert(people[1], method, steps=5)
    errors = [float(step.l2.mean()) for step in result.steps]
    assert all(after < before for before, after in pairwise(errors)), errors


def test_the_single_pass_lowers_the_error(people):
    method = load_method("psp-portrait")
    states = list(iterate(people[1], [method]))
    before, after = ((fit(s.image, (256, 256)) - people[1]).square().mean() for s in states)
    assert after < 0.25 * before


@pytest.mark.parametrize(("name", "steps"), [("psp-portrait", 1), ("restyle-psp-portrait", 5)])
def test_latents_of_e4e_are_nearer_to_w(space, people, name, steps):
    """Compared with its parent: less spread of the layers, and each latent nearer to those of valid portraits."""
    free, held = (invert(people[1], load_method(n), steps=steps).w for n in (name, name.replace("psp", "e4e")))
    apart = [float((w - w.mean(dim=1, keepdim=True)).square().mean()) for w in (held, free)]
    beyond = [float(space.beyond(w).square().mean()) for w in (held, free)]
    assert apart[0] < 0.6 * apart[1]
    assert beyond[0] < 0.6 * beyond[1]


@pytest.mark.parametrize("name", ["portrait", "psp-portrait", "restyle-psp-portrait"])
def test_files_have_the_recipe_in_their_metadata(name):
    extra = read_header(fetch.ensure(catalog.find(name)))["extra"]
    assert extra["trained"]["recipe"] == name and extra["trained"]["steps"] > 0
