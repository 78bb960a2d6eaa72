"""`restyle align` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import LANDMARKS, Run, as_json
from PIL import Image

from restyle_cli.align import aligned_mark, crop_quad, mapped
from restyle_cli.api import align
from restyle_cli.images import open_image, save_image

QUAD = [[-3, -12], [-3, 204], [213, 204], [213, -12]]


@pytest.fixture
def photo(here: Path) -> Path:
    """A photo, and a file of its landmarks."""
    colours = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    Image.fromarray(colours).resize((250, 220), Image.Resampling.BICUBIC).save("photo.png")
    Path("points.json").write_text(json.dumps(LANDMARKS))
    return Path("photo.png")


def test_a_crop_and_its_transform(restyle: Run, photo: Path) -> None:
    result = restyle("align", photo, "--landmarks", "points.json", "--size", 128)
    assert result.exit_code == 0
    crop = open_image("restyle-out/align/photo.png")
    quad = tuple(tuple(float(c) for c in corner) for corner in QUAD)
    assert np.array_equal(crop, crop_quad(open_image(photo), quad, 128))
    made = json.loads(Path("restyle-out/align/photo.json").read_text())
    assert np.allclose(made["alignment"]["quad"], QUAD)
    there = mapped(np.array(QUAD, float), made["alignment"]["matrix"])
    assert np.allclose(there, [(-0.5, -0.5), (-0.5, 127.5), (127.5, 127.5), (127.5, -0.5)])
    assert np.allclose(mapped(there, made["alignment"]["back"]), QUAD)
    assert (made["alignment"]["size"], made["source"]["size"]) == ([128, 128], [250, 220])
    assert "restyle-out/align/photo.png" in result.stdout
    assert "216" in result.stdout  # pixels across in the photo


def test_a_crop_is_left_alone_by_other_commands(restyle: Run, photo: Path) -> None:
    restyle("align", photo, "--landmarks", "points.json")
    again = align("restyle-out/align/photo.png")
    assert (again.how, again.faces) == ("fits", 0)


def test_the_transform_is_read_as_landmarks(restyle: Run, photo: Path) -> None:
    restyle("align", photo, "--landmarks", "points.json")
    restyle("align", photo, "--landmarks", "restyle-out/align/photo.json", "-o", "again")
    one, two = (json.loads(Path(name, "photo.json").read_text()) for name in ("restyle-out/align", "again"))
    assert one["alignment"] == two["alignment"]


def test_json(restyle: Run, photo: Path) -> None:
    values = as_json(restyle("align", photo, "--landmarks", "points.json", "--json"))
    assert (values["command"], values["summary"]["done"]) == ("align", 1)
    (image,) = values["images"]
    assert image["outputs"] == {"image": "restyle-out/align/photo.png", "transform": "restyle-out/align/photo.json"}
    assert np.allclose(image["alignment"]["quad"], QUAD)
    assert any("no face is detected" in doubt for doubt in image["alignment"]["doubts"])


def test_a_second_run_skips_what_is_done(restyle: Run, photo: Path) -> None:
    run = ("align", photo, "--landmarks", "points.json", "--json")
    statuses = [
        as_json(restyle(*run, *more))["images"][0]["status"] for more in ((), (), ("--size", 64), ("--size", 64))
    ]
    assert statuses == ["done", "skipped", "done", "skipped"]
    Path("restyle-out/align/photo.json").write_text("[]")
    assert as_json(restyle(*run))["images"][0]["status"] == "done"
    assert as_json(restyle(*run, "--overwrite"))["images"][0]["status"] == "done"


def test_a_crop_that_fits_is_taken_as_it_is(restyle: Run, here: Path) -> None:
    drawn = Image.effect_noise((128, 128), 60).convert("RGB")
    save_image(drawn, here / "drawn.png", aligned_mark())
    assert as_json(restyle("align", "drawn.png", "--size", 128, "--json"))["images"][0]["alignment"]["how"] == "fits"
    assert np.array_equal(open_image("restyle-out/align/drawn.png"), drawn)
    assert "landmarks" not in json.loads(Path("restyle-out/align/drawn.json").read_text())


def test_every_face(restyle: Run, here: Path) -> None:
    data = pytest.importorskip("skimage.data")
    both = Image.new("RGB", (620, 320), "grey")
    both.paste(Image.fromarray(data.astronaut()).resize((256, 256)), (10, 30))
    both.paste(Image.fromarray(data.astronaut()).resize((320, 320)), (300, 0))
    both.save("us.jpg", quality=95)
    result = restyle("align", "us.jpg", "--face", "all", "-q")
    assert sorted(path.name for path in Path("restyle-out/align").iterdir()) == [
        "us.1.json",
        "us.1.png",
        "us.2.json",
        "us.2.png",
    ]
    assert "1 of 2" in result.stdout
    assert "warning: 'us.jpg', face 2: the face is very small" in result.stderr
    one, two = (np.asarray(open_image(f"restyle-out/align/us.{n}.png"), float) for n in (1, 2))
    assert np.abs(one - two).mean() < 12  # the same person in two sizes


def test_cars_are_only_resized(restyle: Run, photo: Path) -> None:
    restyle("align", photo, "--domain", "cars", "--size", 512)
    crop = open_image("restyle-out/align/photo.png")
    assert np.array_equal(crop, open_image(photo).resize((512, 384), Image.Resampling.BILINEAR))
    result = restyle("align", photo, "--domain", "cars", "--face", "all")
    assert result.exit_code == 2
    assert "not for faces" in result.stderr


def test_bad_files_do_not_stop_a_folder(restyle: Run, photo: Path, here: Path) -> None:
    Path("photos").mkdir()
    photo.rename("photos/photo.png")
    Path("photos/text.jpg").write_text("no picture")
    Image.new("RGB", (96, 96)).save("photos/black.png")
    Path("points.json").write_text(json.dumps({"photo.png": LANDMARKS}))
    result = restyle("align", "photos", "--landmarks", "points.json", "--json")
    assert result.exit_code == 1
    assert {image["input"]: image["status"] for image in as_json(result)["images"]} == {
        "photos/black.png": "failed",
        "photos/photo.png": "done",
        "photos/text.jpg": "failed",
    }
    assert "error: no face found in 'photos/black.png'" in result.stderr
    assert sorted(path.name for path in Path("restyle-out/align").iterdir()) == ["photo.json", "photo.png"]


def test_pictures_are_not_overwritten(restyle: Run, photo: Path) -> None:
    before = photo.read_bytes()
    result = restyle("align", photo, "--landmarks", "points.json", "-o", ".")
    assert result.exit_code == 1
    assert "--output" in result.stderr
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--size", 8), 2, "8"),
        (("--face", "first"), 2, "'first'"),
        (("--align", "never", "--landmarks", "points.json"), 2, "--landmarks and --align never cannot be combined"),
        (("--domain", "carrs"), 1, "did you mean 'cars'?"),
        (("--landmarks", "nothing.json"), 1, "nothing.json"),
    ],
)
def test_wrong_usage(restyle: Run, photo: Path, options: tuple[object, ...], status: int, told: str) -> None:
    result = restyle("align", photo, *options)
    assert result.exit_code == status
    assert told in result.stderr
    assert not Path("restyle-out/align").exists()
