"""The drawings: the same everywhere, framed like FFHQ, and every number visible."""

import torch

from restyle_cli.data import looks as looks_module
from restyle_cli.data.looks import COLUMNS, LOOK_DIM, Z_DIM, LookSpace, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw, draw_looks


def test_codes_are_normalised_and_repeatable():
    z = sample_z(5, HELD_OUT)
    assert z.shape == (5, Z_DIM)
    assert torch.allclose(z.square().mean(dim=1), torch.ones(5), atol=1e-4)
    assert torch.equal(z, sample_z(5, HELD_OUT))
    assert not torch.equal(z, sample_z(5, HELD_OUT + 1))


def test_looks_are_bounded():
    values = looks(sample_z(2000, 3))
    assert values.shape == (2000, LOOK_DIM)
    assert values.min() >= -1 and values.max() <= 1


def test_pictures_are_in_range_and_do_not_depend_on_the_batch():
    z = sample_z(3, 7)
    together = draw(z, 32)
    assert together.shape == (3, 3, 32, 32)
    assert together.min() >= -1 and together.max() <= 1
    assert torch.allclose(torch.cat([draw(one, 32) for one in z.split(1)]), together, atol=1e-4)


def test_both_styles_show_the_same_person():
    z = sample_z(16, 11)
    portraits, toons = draw(z, 32), draw(z, 32, "toon")
    assert (portraits - toons).square().mean() > 0.01
    own = (portraits - toons).square().mean(dim=(1, 2, 3))
    stranger = (portraits - toons.roll(1, dims=0)).square().mean(dim=(1, 2, 3))
    assert (own < stranger).all()


def test_every_column_of_a_look_is_visible():
    space = LookSpace(512)
    base = space.mean.clone()
    for name in ("glasses", "beard", "hat", "mouth_open"):
        base[COLUMNS.index(name)] = 0.9  # shape of glasses, length of beard and colour of trim show only then
    first = draw_looks(base[None], 64)
    for index, name in enumerate(COLUMNS):
        moved = base.clone()
        moved[index] -= 0.4
        assert (draw_looks(moved[None], 64) - first).abs().max() > 0.01, f"{name} does not show"


def test_eyes_and_mouth_lie_where_ffhq_puts_them():
    space = LookSpace(512)
    base = space.mean.clone()
    for name, value in {"glasses": 0.0, "hat": 0.0, "beard": 0.0}.items():
        base[COLUMNS.index(name)] = value

    def centre(column: str, change: float) -> tuple[float, float]:
        moved = base.clone()
        index = COLUMNS.index(column)
        moved[index : index + 3] += change
        seen = (draw_looks(moved[None], 256) - draw_looks(base[None], 256)).abs().sum(dim=1)[0]
        ys, xs = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        return float((xs * seen).sum() / seen.sum() / 256), float((ys * seen).sum() / seen.sum() / 256)

    x, y = centre("iris.r", 0.3)
    assert abs(x - 0.5) < 0.02 and abs(y - 0.47) < 0.02
    x, y = centre("lips.r", -0.3)
    assert abs(x - 0.5) < 0.02 and abs(y - 0.74) < 0.025


def test_look_space_is_linear_and_centred():
    space = LookSpace(512)
    values = looks(sample_z(4000, 5))
    w = space.embed(values)
    assert w.mean(dim=0).abs().max() < 0.1
    assert 0.8 < float(w.square().mean()) < 1.2
    assert torch.allclose(w.std(dim=0).mean(), space.deviation().mean(), rtol=0.1)
    half = space.truncated(values, torch.full((4000,), 0.5))
    assert torch.allclose(space.embed(half), w / 2, atol=1e-4)


def test_groups_cover_all_columns():
    groups = looks_module.COLUMN_GROUPS
    assert len(groups) == LOOK_DIM and set(groups.tolist()) == {0, 1, 2}
    assert groups[COLUMNS.index("yaw")] == 0 and groups[COLUMNS.index("smile")] == 1 and groups[-1] == 2


def test_what_lies_beyond_w():
    space, known = LookSpace(512), looks(sample_z(16, seed=5))
    w = space.embed(known)
    assert float(space.beyond(w).abs().max()) < 0.05 * float(w.std()), "looks of other seeds reach hardly farther"
    place = COLUMNS.index("smile")
    far = space.embed(known.index_fill(1, torch.tensor([place]), float(space.most[place]) + 0.5))
    length = 0.5 / space.spread[place] * space.directions[place].norm()
    torch.testing.assert_close(space.beyond(far).norm(dim=1), length.expand(16), rtol=0.02, atol=0)
