"""The measures of editability on latents with known distances and changes."""

import pytest
import torch
from measures import Domain, Move, gain, leak, miss, standard_error

from restyle_cli.data.looks import COLUMNS, looks, sample_z


@pytest.fixture(scope="module")
def domain():
    return Domain.of(512)


@pytest.fixture(scope="module")
def people():
    return looks(sample_z(6, seed=3))


def test_a_move_changes_its_columns_by_their_deviation_and_no_other(domain):
    smile = COLUMNS.index("smile")
    mean = domain.space.mean[None]
    change = domain.moved(mean, Move("smile", ("smile",), 1.5)) - mean
    assert change[0, smile] == pytest.approx(1.5 * float(domain.space.spread[smile]), rel=1e-5)
    assert int((change != 0).sum()) == 1


def test_a_move_ends_at_the_range_of_valid_looks(domain, people):
    moved = domain.moved(people, Move("skin", ("skin.r", "skin.g"), 50.0))
    for column in ("skin.r", "skin.g"):
        place = COLUMNS.index(column)
        assert torch.equal(moved[:, place], domain.space.most[place].expand(len(people)))


def test_true_latents_lie_in_w(domain, people):
    w = domain.space.embed(people)[:, None].expand(-1, 12, -1)
    assert float(domain.spread(w).max()) < 1e-5
    assert float(domain.off_w(w).max()) < 1e-4


def test_spread_of_layers_that_disagree(domain, people):
    w = domain.space.embed(people)[:, None].repeat(1, 12, 1)
    w[:, ::2] += 0.5 * domain.space.deviation()
    w[:, 1::2] -= 0.5 * domain.space.deviation()
    assert domain.spread(w).tolist() == pytest.approx([0.5] * len(people), rel=1e-4)


def test_latents_off_all_directions_are_off_w(domain, people):
    w = domain.space.embed(people)[:, None].repeat(1, 12, 1)
    step = torch.randn(512, generator=torch.Generator().manual_seed(1))  # seed 0 generates the directions
    step -= step @ domain.space.coordinates @ domain.space.directions
    step *= 0.7 / float((step / domain.space.deviation()).square().mean().sqrt())
    assert domain.off_w(w + step).tolist() == pytest.approx([0.7] * len(people), rel=1e-3)
    assert domain.between(w + step, w).tolist() == pytest.approx([0.7] * len(people), rel=1e-3)


def test_gain_and_miss_of_half_a_change():
    wanted = [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])]
    half = [change / 2 for change in wanted]
    assert gain(half, wanted) == pytest.approx(0.5)
    assert miss(half, wanted) == pytest.approx(0.5)


def test_a_gain_of_one_with_a_miss_for_each_person():
    wanted, changes = [torch.tensor([1.0, 1.0])], [torch.tensor([0.0, 2.0])]
    assert gain(changes, wanted) == pytest.approx(1.0)
    assert miss(changes, wanted) == pytest.approx(1.0)


def test_leak_counts_every_value_of_every_move():
    wanted = [torch.zeros(2, 1), torch.zeros(2, 3)]
    changes = [torch.ones(2, 1), torch.zeros(2, 3)]
    assert leak(changes, wanted) == pytest.approx(0.5)


def test_standard_error_of_a_mean():
    values = torch.tensor([0.2, 0.9, 1.4, 0.7, 1.1])
    found = standard_error(gain, [values], [torch.ones(5)])
    assert found == pytest.approx(float(values.std()) / 5**0.5, rel=1e-4)
