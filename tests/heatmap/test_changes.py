"""The changes of each step: against sums by hand, written and read, and averaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.changes import Changes, Mean, changes_of, read_changes, write_changes
from restyle_cli.heatmap.measures import lpips_maps
from restyle_cli.images import displayed, fit, to_image
from restyle_cli.inversion import Inversion, invert
from restyle_cli.methods.encoder import ReStyle


@pytest.fixture(scope="module")
def inverted() -> tuple[torch.Tensor, Inversion]:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 256, 256) * 2 - 1
    return x, invert(x, ReStyle("tiny", tiny.encoder(), tiny.generator()), 4, keep_w=True)


def of(inverted: tuple[torch.Tensor, Inversion], index: int) -> Changes:
    x, inversion = inverted
    return changes_of(x[index], inversion.one(index), tiny.lpips())


def test_changes_are_between_neighbouring_steps(inverted: tuple[torch.Tensor, Inversion]) -> None:
    x, inversion = inverted
    changes = of(inverted, 1)
    assert changes.steps.tolist() == [0, 1, 2, 3, 4]
    w = inversion.w_steps[1]
    for k in range(4):
        np.testing.assert_allclose(changes.layers[k], (w[k + 1] - w[k]).norm(dim=1), rtol=1e-5)
        pair = torch.cat([fit(displayed(inversion.image_steps[j][1:]), (256, 256)) for j in (k, k + 1)])
        np.testing.assert_allclose(changes.maps[k], lpips_maps(tiny.lpips(), pair)[0], rtol=1e-3, atol=1e-3)  # fp16
        assert np.array_equal(changes.images[k + 1], np.asarray(to_image(pair[1])))
    assert np.array_equal(changes.target, np.asarray(to_image(x[1])))


def test_shares_add_up(inverted: tuple[torch.Tensor, Inversion]) -> None:
    changes = of(inverted, 0)
    np.testing.assert_allclose(changes.shares.sum(axis=1), 1, rtol=1e-5)
    assert changes.way.sum() == pytest.approx(1)
    for k, (step, record) in enumerate(changes.described(), start=1):
        assert (step, record["since"]) == (k, k - 1)
        assert sum(record["layers"].values()) == pytest.approx(1)
        assert record["layers"]["coarse"] == pytest.approx(
            changes.layers[k - 1, :4].sum() / changes.layers[k - 1].sum()
        )
        assert record["layers"]["fine"] == 0  # a generator of 32 px has none


def test_steps_left_out_are_named(inverted: tuple[torch.Tensor, Inversion]) -> None:
    x, inversion = inverted
    one = inversion.one(0)
    some = dataclasses.replace(one, image_steps={k: one.image_steps[k] for k in (0, 1, 4)})
    changes = changes_of(x[0], some, tiny.lpips())
    assert [(step, record["since"]) for step, record in changes.described()] == [(1, 0), (4, 1)]
    np.testing.assert_allclose(changes.layers[1], (one.w_steps[0, 4] - one.w_steps[0, 1]).norm(dim=1), rtol=1e-5)


def test_nothing_changed() -> None:
    zero = np.zeros
    still = Changes(
        np.arange(3),
        zero((4, 4, 3), np.uint8),
        zero((3, 4, 4, 3), np.uint8),
        *(zero(shape, np.float32) for shape in ((2, 4, 4), (2, 8), (2,), (2,))),
    )
    assert still.top == 0
    assert [record["way"] for _, record in still.described()] == [0, 0]
    assert not still.shares.any()


def test_the_average(inverted: tuple[torch.Tensor, Inversion]) -> None:
    first, second = of(inverted, 0), of(inverted, 1)
    mean = Mean()
    mean.add(first)
    mean.add(second)
    average = mean.result()
    assert average.count == mean.count == 2
    for name in ("maps", "layers", "area", "broad"):
        expected = (getattr(first, name) + getattr(second, name)) / 2
        np.testing.assert_allclose(getattr(average, name), expected, rtol=1e-5, atol=1e-7)
    assert np.abs(average.images - (first.images / 2 + second.images / 2)).max() <= 0.5
    with pytest.raises(ValueError, match="no images"):
        Mean().result()


def test_to_a_file_and_back(inverted: tuple[torch.Tensor, Inversion], tmp_path: Path) -> None:
    changes = of(inverted, 0)
    write_changes(tmp_path / "a.npz", changes, {"model": "tiny"})
    back, record = read_changes(tmp_path / "a.npz")
    for field in dataclasses.fields(Changes):
        assert np.array_equal(getattr(back, field.name), getattr(changes, field.name)), field.name
    assert record == {"model": "tiny"}
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_allclose(file["distance"], changes.maps.mean(axis=(1, 2)))


@pytest.mark.parametrize("bytes", [b"", b"not a zip", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00"])
def test_files_of_another_kind(tmp_path: Path, bytes: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(bytes)
    with pytest.raises(RestyleError, match=r"a\.npz"):
        read_changes(path)


def test_damaged_files(inverted: tuple[torch.Tensor, Inversion], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_changes(path, of(inverted, 0), {})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RestyleError):
        read_changes(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(RestyleError):
        read_changes(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    with pytest.raises(RestyleError):
        read_changes(path.with_suffix(".npy"))
