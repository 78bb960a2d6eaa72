"""`restyle samples`: pictures never trained on, the same for the same seed, framed as the networks expect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from restyle_cli.api import align
from restyle_cli.data import portraits
from restyle_cli.images import to_image

SMALL = ("--size", 32, "-q")


def test_pictures(restyle: Callable[..., Result], tmp_path: Path) -> None:
    done = restyle("samples", "-n", 10, "-o", tmp_path / "new" / "faces", *SMALL)
    assert done.exit_code == 0
    names = [f"portrait-{index:04d}.png" for index in range(10)]
    assert sorted(path.name for path in (tmp_path / "new" / "faces").iterdir()) == names
    assert "portrait-0000.png … portrait-0009.png" in done.stdout
    assert done.stderr == ""
    with Image.open(tmp_path / "new" / "faces" / names[0]) as picture:
        assert (picture.size, picture.mode) == ((32, 32), "RGB")


def test_they_are_drawn_from_held_out_seeds(restyle: Callable[..., Result], tmp_path: Path) -> None:
    restyle("samples", "-n", 2, "--seed", 3, "-o", tmp_path, *SMALL)
    z = portraits.sample_z(16, portraits.HELD_OUT + 3)[:2]
    for index, drawn in enumerate(portraits.draw(z, 32, "portrait")):
        written = Image.open(tmp_path / f"portrait-{index:04d}.png")
        assert written.tobytes() == to_image(drawn).tobytes()


def test_same_seed_same_people_however_many(restyle: Callable[..., Result], tmp_path: Path) -> None:
    for folder, options in {"a": (), "again": (), "other": ("--seed", 1), "more": ("-n", 9)}.items():
        restyle("samples", "-n", 1, "-o", tmp_path / folder, *SMALL, *options)
    first = {folder.name: (folder / "portrait-0000.png").read_bytes() for folder in sorted(tmp_path.iterdir())}
    assert first["a"] == first["again"] == first["more"] != first["other"]


def test_toon_is_the_same_person_in_another_style(restyle: Callable[..., Result], tmp_path: Path) -> None:
    for domain in ("portrait", "toon"):
        restyle("samples", "-n", 1, "--domain", domain, "-o", tmp_path, *SMALL)
    pictures = [(tmp_path / f"{domain}-0000.png").read_bytes() for domain in ("portrait", "toon")]
    assert pictures[0] != pictures[1]


def test_they_need_no_alignment(restyle: Callable[..., Result], tmp_path: Path) -> None:
    restyle("samples", "-n", 1, "-o", tmp_path, *SMALL)
    assert align(tmp_path / "portrait-0000.png").how == "fits"


def test_json(restyle: Callable[..., Result], tmp_path: Path) -> None:
    done = restyle("samples", "-n", 2, "-o", tmp_path, "--json", *SMALL)
    outputs = [str(tmp_path / f"portrait-{index:04d}.png") for index in range(2)]
    assert json.loads(done.stdout) == {
        "command": "samples",
        "domain": "portrait",
        "seed": 0,
        "size": 32,
        "outputs": outputs,
    }


def test_folder_that_cannot_be_written(restyle: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = restyle("samples", "-n", 1, "-o", tmp_path / "file", *SMALL)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: cannot write")


@pytest.mark.parametrize("arguments", [("-n", 0), ("--seed", -1), ("--domain", "ships"), ("--size", 3000)])
def test_wrong_usage(restyle: Callable[..., Result], tmp_path: Path, arguments: tuple[object, ...]) -> None:
    done = restyle("samples", "-o", tmp_path / "none", *arguments)
    assert done.exit_code == 2
    assert not (tmp_path / "none").exists()
