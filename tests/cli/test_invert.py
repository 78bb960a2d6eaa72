"""`restyle invert` from the outside, on tiny random networks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from commands import LANDMARKS, PSP, RESTYLE, Run, as_json, astronaut, files, picture, put, statuses, two_faces
from PIL import Image

import restyle_cli
from restyle_cli import __version__
from restyle_cli.align.paste import paste
from restyle_cli.cli import output
from restyle_cli.images import displayed, fit, open_image, save_image, to_image, to_tensor
from restyle_cli.inversion import State
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.models import load_method
from restyle_cli.run import outputs, pipeline, strip
from restyle_cli.store.files import read_latent, sha256, write_module

Python = Callable[[str], subprocess.Popen[str]]
SUFFIXES = [".png", ".safetensors", ".strip.png"]


@pytest.fixture
def python(here: Path) -> Python:
    """Start Python in a process of its own, in the working folder of the test."""
    environment = {**os.environ, "PYTHONPATH": str(Path(restyle_cli.__file__).parent.parent)}

    def start(code: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-c", code], text=True, env=environment, **pipes)

    return start


def result_names(*names: str) -> list[str]:
    return sorted(name + suffix for name in names for suffix in SUFFIXES)


# --- what is written


def test_one_picture(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces / "a.png", "-n", 5, "-m", RESTYLE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert files() == result_names("a")
    table = [line.split() for line in result.stdout.splitlines()]
    assert table[0] == ["step", "method", "L2", "seconds"]
    assert [row[:2] for row in table[1:7]] == [["0", "start"], *([str(k), RESTYLE] for k in range(1, 6))]
    assert sum(row[-1] == "selected" for row in table[1:7]) == 1
    assert table[7:] == [
        ["restyle-out/invert/a.png"],
        ["restyle-out/invert/a.strip.png"],
        ["restyle-out/invert/a.safetensors"],
    ]


def test_the_latent_file_holds_the_code_and_how_it_was_made(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "-n", 3, "--save", "latent,steps,npy,image")
    tensors, made = read_latent(Path("restyle-out/invert/a.safetensors"))
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "w": [8, tiny.W_DIM], "w_steps": [4, 8, tiny.W_DIM]
    }  # fmt: skip
    assert torch.equal(tensors["w"], tensors["w_steps"][made["kept_step"]])
    assert made["version"] == __version__
    assert (made["model"], made["chain"], made["generator"]) == (RESTYLE, f"{RESTYLE}:3", "portrait")
    assert set(made["networks"]) == {RESTYLE, "portrait"}
    source = {"name": "a.png", "size": [64, 64], "sha256": sha256(faces / "a.png"), "turned": False}
    assert made["source"] == source
    assert made["alignment"]["how"] == "fits"
    corners = [[-0.5, -0.5], [-0.5, 63.5], [63.5, 63.5], [63.5, -0.5]]
    assert made["alignment"]["quad"] == corners
    assert np.shape(made["alignment"]["matrix"]) == (2, 3)
    assert [step["step"] for step in made["steps"]] == [0, 1, 2, 3]
    assert np.array_equal(np.load("restyle-out/invert/a.npy"), tensors["w"])

    # The latent gives the written image, whose L2 is the recorded one.
    method = load_method(RESTYLE)
    image = method.generator(tensors["w"][None])
    assert np.array_equal(np.asarray(to_image(image[0])), np.asarray(Image.open("restyle-out/invert/a.png")))
    x = to_tensor(open_image(faces / "a.png"), (256, 256))[None]
    l2 = made["steps"][made["best_step"]]["l2"]
    assert float((x - fit(displayed(image), (256, 256))).square().mean()) == pytest.approx(l2, rel=1e-4)  # float32
    assert l2 == min(step["l2"] for step in made["steps"])


def test_the_strip_shows_target_start_and_steps(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "-n", 2)
    sheet = Image.open("restyle-out/invert/a.strip.png").convert("RGB")
    cells = [sheet.crop((12 + 264 * i, 12, 12 + 264 * i + 256, 268)) for i in range(4)]
    assert sheet.width == 12 + 264 * 4 - 8 + 12
    target = to_image(to_tensor(open_image(faces / "a.png"), (256, 256)))
    assert np.array_equal(np.asarray(cells[0]), np.asarray(target))
    method = load_method(RESTYLE)
    average = to_image(method.generator(method.generator.start(1))[0])
    assert np.array_equal(np.asarray(cells[1]), np.asarray(average.resize((256, 256), Image.Resampling.BICUBIC)))
    assert cells[2].tobytes() != cells[3].tobytes()


def test_json(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces, "-n", 2, "--json", "--device", "cpu")
    values = as_json(result)
    keys = ["command", "version", "device", "precision", "model", "chain", "notices", "images", "summary"]
    assert list(values) == keys
    assert [values[key] for key in keys[:6]] == ["invert", __version__, "cpu", "fp32", RESTYLE, f"{RESTYLE}:2"]
    assert [image["input"] for image in values["images"]] == ["faces/a.png", "faces/b.png", "faces/sub/c.png"]
    for image in values["images"]:
        assert set(image) == {"input", "status", "outputs", "steps", "best_step", "kept_step", "alignment"}
        assert [(step["step"], step["method"]) for step in image["steps"]] == [(0, "start"), (1, RESTYLE), (2, RESTYLE)]
        assert all(set(step) == {"step", "method", "l2", "seconds"} for step in image["steps"])
        assert all(Path(file).is_file() for file in image["outputs"].values())
        assert min(image["steps"], key=lambda step: step["l2"])["step"] == image["best_step"]
    assert values["images"][2]["outputs"] == {
        "image": "restyle-out/invert/sub/c.png",
        "strip": "restyle-out/invert/sub/c.strip.png",
        "latent": "restyle-out/invert/sub/c.safetensors",
    }
    assert {key: values["summary"][key] for key in ("done", "skipped", "failed")} == {
        "done": 3,
        "skipped": 0,
        "failed": 0,
    }
    assert values["summary"]["seconds"] > 0


def test_a_folder(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces, "-n", 2)
    assert result.exit_code == 0
    assert files() == result_names("a", "b", "sub/c")
    assert "mean of 3 images" in result.stdout
    assert "3 done, 0 skipped, 0 failed" in result.stdout.splitlines()[-1]


def test_batches_give_what_single_pictures_give(restyle: Run, faces: Path) -> None:
    one = as_json(restyle("invert", faces, "-b", 1, "-o", "one", "--json"))
    three = as_json(restyle("invert", faces, "-b", 3, "-o", "three", "--json"))
    for a, b in zip(one["images"], three["images"], strict=True):
        for left, right in zip(a["steps"], b["steps"], strict=True):
            assert left["l2"] == pytest.approx(right["l2"], rel=1e-4)  # batches round otherwise
    first, second = (read_latent(Path(f"{name}/sub/c.safetensors"))[0]["w"] for name in ("one", "three"))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_kinds_of_output(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "--save", "npy")
    assert files() == ["a.npy", "a.safetensors"]  # the mark that it is done is always there
    result = restyle("invert", faces / "a.png", "--save", "picture")
    assert result.exit_code == 2
    assert "picture" in result.stderr


def test_a_chain(restyle: Run, faces: Path) -> None:
    values = as_json(restyle("invert", faces / "a.png", "--via", f"{PSP},{RESTYLE}:2", "--json"))
    assert values["chain"] == f"{PSP}:1,{RESTYLE}:2"
    assert [step["method"] for step in values["images"][0]["steps"]] == ["start", PSP, RESTYLE, RESTYLE]


def test_the_last_step_is_kept_on_demand(restyle: Run, faces: Path) -> None:
    values = as_json(restyle("invert", faces / "a.png", "--keep", "last", "--save", "steps", "--json"))
    tensors, made = read_latent(Path("restyle-out/invert/a.safetensors"))
    assert made["kept_step"] == 5
    assert torch.equal(tensors["w"], tensors["w_steps"][5])
    l2 = [step["l2"] for step in values["images"][0]["steps"]]
    assert values["images"][0]["best_step"] == l2.index(min(l2))


def test_tolerance(restyle: Run, faces: Path) -> None:
    values = as_json(restyle("invert", faces, "-n", 9, "--tolerance", 1, "--json"))
    assert [len(image["steps"]) for image in values["images"]] == [2, 2, 2]


def test_precision_is_the_one_asked_for(restyle: Run, faces: Path) -> None:
    values = as_json(restyle("invert", faces / "a.png", "--precision", "bf16", "--device", "cpu", "--json"))
    assert values["precision"] == "bf16"
    exact = as_json(restyle("invert", faces / "a.png", "--precision", "fp32", "-o", "exact", "--json"))
    rough = [step["l2"] for step in values["images"][0]["steps"]]
    fine = [step["l2"] for step in exact["images"][0]["steps"]]
    assert rough != fine
    assert rough[:2] == pytest.approx(fine[:2], rel=0.05)  # bfloat16 has three digits


def test_long_tables_show_some_rows(restyle: Run, faces: Path) -> None:
    rows = [line.split()[0] for line in restyle("invert", faces / "a.png", "-n", 60).stdout.splitlines()]
    shown = [int(row) for row in rows if row.isdigit()]
    assert len(shown) <= 21
    assert shown[:4] == [0, 1, 2, 3]
    assert shown[-1] == 60


def test_a_file_as_model(restyle: Run, faces: Path, tiny_store: Path) -> None:
    path = tiny_store / f"{RESTYLE}.safetensors"
    values = as_json(restyle("invert", faces / "a.png", "-m", path, "--json"))
    assert values["model"] == str(path)
    assert values["summary"]["done"] == 1


# --- the default, notes, progress


def test_what_stands_in_is_said_once_on_stderr(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces / "a.png", "--json")
    assert len(result.stderr.splitlines()) == 1
    assert RESTYLE in result.stderr
    assert as_json(result)["model"] == RESTYLE
    assert restyle("invert", faces / "a.png", "-q").stderr == ""


def test_folders_show_the_time_left(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LINE_EVERY", 0.0)
    lines = restyle("invert", faces, "-b", 1, "-m", RESTYLE).stderr.splitlines()
    assert lines
    assert all(line.startswith("inverting: ") and line.endswith(" left") for line in lines)
    assert restyle("invert", faces / "a.png", "-m", RESTYLE, "--overwrite").stderr == ""
    assert restyle("invert", faces, "-q", "--overwrite").stderr == ""


def test_the_module_imports_no_torch(python: Python) -> None:
    code = "import sys, restyle_cli.cli.invert; print([m for m in ('torch', 'PIL', 'numpy') if m in sys.modules])"
    assert python(code).communicate() == ("[]\n", "")


def test_inverting_imports_nothing_needless(python: Python, faces: Path, tiny_store: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from restyle_cli.store import fetch
fetch.embedded_folder = lambda: Path({str(tiny_store)!r})
from restyle_cli.cli.app import app
try:
    app(["invert", "faces", "-q", "-n", "1"])
except SystemExit as end:
    assert not end.code, end.code
print([m for m in ("torchvision", "matplotlib", "scipy", "lpips", "dlib", "cv2") if m in sys.modules])
"""
    printed, errors = python(code).communicate()
    assert errors == ""
    assert printed.splitlines()[-1] == "[]"


# --- a second run


def test_a_second_run_skips_what_is_done(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = as_json(restyle("invert", faces, "--json"))
    before = {name: Path("restyle-out/invert", name).stat().st_mtime_ns for name in files()}
    monkeypatch.setattr(ReStyle, "step", None)  # nothing may be computed
    second = restyle("invert", faces, "--json")
    assert second.exit_code == 0
    assert set(statuses(second).values()) == {"skipped"}
    assert {name: Path("restyle-out/invert", name).stat().st_mtime_ns for name in files()} == before
    for a, b in zip(first["images"], as_json(second)["images"], strict=True):
        assert {**a, "status": "skipped"} == b
    assert "3 skipped" in restyle("invert", faces).stdout


def test_overwrite_does_it_again(restyle: Run, faces: Path) -> None:
    restyle("invert", faces, "-q")
    assert set(statuses(restyle("invert", faces, "--overwrite", "--json")).values()) == {"done"}


def test_a_picture_that_changed_is_done_again(restyle: Run, faces: Path) -> None:
    restyle("invert", faces, "-q")
    put(faces / "b.png", seed=9)
    again = restyle("invert", faces, "--json")
    assert list(statuses(again).values()) == ["skipped", "done", "skipped"]
    assert read_latent(Path("restyle-out/invert/b.safetensors"))[1]["source"]["sha256"] == sha256(faces / "b.png")


@pytest.mark.parametrize(
    "options",
    [
        ("-n", 4),
        ("-m", PSP),
        ("--via", f"{PSP},{RESTYLE}:4"),
        ("--keep", "last"),
        ("--tolerance", 0.5),
        ("--align", "never"),
    ],
)
def test_other_settings_are_another_result(restyle: Run, faces: Path, options: tuple[object, ...]) -> None:
    restyle("invert", faces / "a.png", "-q")
    assert statuses(restyle("invert", faces / "a.png", "--json", *options)) == {"faces/a.png": "done"}
    assert statuses(restyle("invert", faces / "a.png", "--json", *options)) == {"faces/a.png": "skipped"}


def test_another_training_is_another_result(
    restyle: Run, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets = tmp_path / "nets"
    nets.mkdir()
    tiny.write_store(nets)
    model = nets / f"{RESTYLE}.safetensors"
    run = ("invert", faces / "a.png", "-m", model, "--json")
    assert statuses(restyle(*run)) == {"faces/a.png": "done"}
    write_module(model, tiny.encoder(seed=5), "small", {"method": "restyle-psp", "generator": "portrait"})
    assert statuses(restyle(*run)) == {"faces/a.png": "done"}
    assert statuses(restyle(*run)) == {"faces/a.png": "skipped"}


def test_what_is_missing_is_made_again(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "-q")
    for options in (("--save", "image,npy"), ("--save", "steps")):
        assert statuses(restyle("invert", faces / "a.png", "--json", *options)) == {"faces/a.png": "done"}
        assert statuses(restyle("invert", faces / "a.png", "--json", *options)) == {"faces/a.png": "skipped"}
    Path("restyle-out/invert/a.png").unlink()
    assert statuses(restyle("invert", faces / "a.png", "--json")) == {"faces/a.png": "done"}
    Path("restyle-out/invert/a.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    assert statuses(restyle("invert", faces / "a.png", "--json")) == {"faces/a.png": "done"}


# --- names


def test_pictures_that_differ_in_suffix_only_have_results_each(restyle: Run, here: Path) -> None:
    put(here / "faces/a.png", 0)
    put(here / "faces/a.bmp", 1)
    assert restyle("invert", "faces", "--align", "never", "-q").exit_code == 0
    assert files() == result_names("a.bmp", "a.png")


def test_also_in_two_runs(restyle: Run, here: Path) -> None:
    put(here / "faces/a.png", 0)
    put(here / "faces/a.bmp", 1)
    for name in ("a.png", "a.bmp"):
        run = ("invert", here / "faces" / name, "--align", "never", "--json")
        assert list(statuses(restyle(*run)).values()) == ["done"]
        assert list(statuses(restyle(*run)).values()) == ["skipped"]
    assert files() == result_names("a", "a.bmp")
    assert read_latent(Path("restyle-out/invert/a.safetensors"))[1]["source"]["name"] == "a.png"


def test_pictures_are_never_overwritten(restyle: Run, faces: Path) -> None:
    before = (faces / "a.png").read_bytes()
    result = restyle("invert", faces / "a.png", faces / "b.png", "-o", faces, "--json")
    assert result.exit_code == 1
    assert "--output" in result.stderr
    assert (faces / "a.png").read_bytes() == before
    assert set(statuses(result).values()) == {"failed"}


def test_results_are_never_overwritten_by_others(restyle: Run, here: Path) -> None:
    put(here / "faces/a.png", 0)
    put(here / "faces/a.strip.png", 1)  # its picture would be the other's strip
    result = restyle("invert", "faces", "--json")
    assert statuses(result) == {"faces/a.png": "done", "faces/a.strip.png": "failed"}
    assert "'faces/a.strip.png'" in result.stderr
    assert "'faces/a.png'" in result.stderr
    assert files() == result_names("a")


def test_the_output_folder_inside_the_input_is_left_out(restyle: Run, faces: Path) -> None:
    for status in ("done", "skipped"):
        result = restyle("invert", faces, "-o", faces / "out", "--json")
        assert list(statuses(result).values()) == [status] * 3


def test_outputs_stay_inside_the_output_folder(restyle: Run, faces: Path, here: Path) -> None:
    before = set(here.rglob("*"))
    os.chdir("faces/sub")
    assert restyle("invert", "../a.png", "..", "-o", "../../out", "-q").exit_code == 0
    made = set(here.rglob("*")) - before
    assert made
    assert all(path.is_relative_to(here / "out") for path in made)


# --- bad input


def cut_jpeg(path: Path) -> None:
    picture(7, 256).save(path, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def large_png(path: Path) -> None:
    """20000x20000 pixels in 50 kB."""
    Image.new("1", (20000, 20000)).save(path)


BAD = {
    "text.jpg": (lambda path: path.write_text("no picture at all"), "is not an image"),
    "cut.jpg": (cut_jpeg, "cut off"),
    "dot.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "too small: 1x1"),
    "large.png": (large_png, "too large: 20000x20000"),
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_alone(restyle: Run, here: Path, name: str) -> None:
    make, message = BAD[name]
    make(here / name)
    result = restyle("invert", name, "-m", RESTYLE)
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()
    assert error.startswith(f"error: '{name}' ")
    assert message in error
    assert hint.startswith("  hint: ")
    assert files() == []


def test_bad_files_do_not_stop_a_folder(restyle: Run, faces: Path) -> None:
    for name, (make, _) in BAD.items():
        make(faces / name)
    result = restyle("invert", faces, "-m", RESTYLE, "--json")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(BAD)
    for name, (_, message) in BAD.items():
        assert any(f"'faces/{name}'" in line and message in line for line in errors)
        (told,) = (image for image in as_json(result)["images"] if image["input"] == f"faces/{name}")
        assert (told["status"], told["outputs"], told["steps"], told["best_step"]) == ("failed", {}, [], None)
        assert message in told["error"]
    assert files() == result_names("a", "b", "sub/c")
    assert as_json(result)["summary"]["failed"] == len(BAD)


def test_a_missing_file_and_an_empty_folder_among_others(restyle: Run, faces: Path, here: Path) -> None:
    (here / "nothing").mkdir()
    result = restyle("invert", "missing.png", faces, "nothing", "-m", RESTYLE, "--json")
    assert result.exit_code == 1
    assert "no file or folder 'missing.png'" in result.stderr
    assert "no images in the folder 'nothing'" in result.stderr
    assert statuses(result)["missing.png"] == statuses(result)["nothing"] == "failed"
    assert files() == result_names("a", "b", "sub/c")


@pytest.mark.parametrize("name", ["missing.png", "nothing"])
def test_nothing_to_do(restyle: Run, here: Path, name: str) -> None:
    (here / "nothing").mkdir()
    result = restyle("invert", name)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 2
    assert name in result.stderr
    assert not Path("restyle-out/invert").exists()


def test_an_animation_gives_its_first_frame(restyle: Run, here: Path) -> None:
    frames = [picture(0), picture(1)]
    frames[0].save(here / "two.gif", save_all=True, append_images=frames[1:])
    frames[0].save(here / "one.gif")
    assert restyle("invert", "two.gif", "one.gif", "--align", "never", "-q", "--save", "latent").exit_code == 0
    one, two = (read_latent(Path(f"restyle-out/invert/{name}.safetensors"))[0]["w"] for name in ("one", "two"))
    assert torch.equal(one, two)


def test_a_file_without_permission(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    can_open = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return can_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    result = restyle("invert", faces, "-m", RESTYLE)
    assert result.exit_code == 1
    assert "error: 'faces/b.png' cannot be read: permission denied" in result.stderr
    assert files() == result_names("a", "sub/c")


def test_a_picture_without_a_face(restyle: Run, here: Path) -> None:
    save_image(picture(0, 128), here / "wall.png")
    result = restyle("invert", "wall.png", "-m", RESTYLE)
    assert result.exit_code == 1
    assert "error: no face found in 'wall.png'" in result.stderr
    assert "--align never" in result.stderr
    assert restyle("invert", "wall.png", "--align", "never").exit_code == 0


def test_a_photograph_is_aligned(restyle: Run, here: Path) -> None:
    astronaut().save("astronaut.jpg", quality=95)
    values = as_json(restyle("invert", "astronaut.jpg", "-n", 1, "--json"))
    assert values["summary"]["done"] == 1
    made = read_latent(Path("restyle-out/invert/astronaut.safetensors"))[1]
    assert (made["alignment"]["how"], made["alignment"]["faces"]) == ("aligned", 1)
    assert np.mean(made["alignment"]["quad"], axis=0) == pytest.approx((224, 110), abs=10)  # between her eyes


# --- faces


def test_each_face_of_a_photo(restyle: Run, here: Path) -> None:
    two_faces("us.png")
    run = ("invert", "us.png", "-n", 1, "--face", "all", "-m", RESTYLE, "--json")
    values = as_json(restyle(*run))
    assert [image["alignment"]["face"] for image in values["images"]] == [1, 2]
    assert values["summary"]["done"] == 2
    assert files() == result_names("us.1", "us.2")
    left = [
        np.mean(read_latent(Path(f"restyle-out/invert/us.{n}.safetensors"))[1]["alignment"]["quad"], 0)[0]
        for n in (1, 2)
    ]
    assert left[0] > 300 > left[1]
    assert statuses(restyle(*run)) == {"us.png": "skipped"}
    assert as_json(restyle(*run))["summary"]["skipped"] == 2
    Path("restyle-out/invert/us.2.png").unlink()
    assert as_json(restyle(*run))["summary"]["done"] == 2


def test_one_of_two_faces(restyle: Run, here: Path) -> None:
    two_faces("us.png")
    result = restyle("invert", "us.png", "-n", 1, "-m", RESTYLE, "--json")
    assert "warning: 'us.png': there are 2 faces" in result.stderr
    first = as_json(result)["images"][0]["alignment"]
    second = as_json(restyle("invert", "us.png", "-n", 1, "--face", 2, "-m", RESTYLE, "--json"))["images"][0]
    assert second["status"] == "done"  # another face is another result
    assert (first["face"], second["alignment"]["face"]) == (1, 2)
    assert second["alignment"]["quad"] != first["quad"]
    result = restyle("invert", "us.png", "--face", 3, "-m", RESTYLE)
    assert result.exit_code == 1
    assert "error: no face 3 in 'us.png': 2 faces were found" in result.stderr


def test_faces_are_not_written_over_pictures(restyle: Run, faces: Path) -> None:
    (faces / "b.png").rename(faces / "a.1.png")
    before = (faces / "a.1.png").read_bytes()
    result = restyle("invert", faces / "a.png", faces / "a.1.png", "-o", faces, "--face", "all", "--json")
    assert statuses(result) == {"faces/a.png": "failed", "faces/a.1.png": "done"}
    assert "'faces/a.1.png', which is an input" in result.stderr
    assert (faces / "a.1.png").read_bytes() == before


def test_own_landmarks(restyle: Run, here: Path) -> None:
    picture(0, 200).save("a.png")
    picture(1, 200).save("b.png")
    Path("table.json").write_text(json.dumps({"a.png": LANDMARKS, "c.png": LANDMARKS}))
    result = restyle("invert", "a.png", "--landmarks", "table.json", "-m", RESTYLE, "-n", 1, "--json")
    (image,) = as_json(result)["images"]
    assert image["alignment"]["how"] == "aligned"
    assert np.allclose(image["alignment"]["quad"], [(-3, -12), (-3, 204), (213, 204), (213, -12)])
    assert "'table.json' has landmarks for 'c.png', which is not one of the images" in result.stderr
    Path("table.json").write_text(json.dumps({"a.png": np.add(LANDMARKS, 5).tolist()}))
    run = ("invert", "a.png", "--landmarks", "table.json", "-m", RESTYLE, "-n", 1, "--json")
    assert statuses(restyle(*run)) == {"a.png": "done"}  # other points, another result
    assert statuses(restyle(*run)) == {"a.png": "skipped"}

    Path("one.json").write_text(json.dumps(LANDMARKS))
    result = restyle("invert", "a.png", "b.png", "--landmarks", "one.json", "-m", RESTYLE)
    assert result.exit_code == 2
    assert "there are 2" in result.stderr
    result = restyle("invert", "a.png", "--landmarks", "missing.json", "-m", RESTYLE)
    assert result.exit_code == 1
    assert "cannot read 'missing.json'" in result.stderr


def test_paste_back(restyle: Run, here: Path) -> None:
    Path("points.json").write_text(json.dumps(LANDMARKS))
    photo = picture(0, 400)
    photo.save("photo.png")
    run = ("invert", "photo.png", "--landmarks", "points.json", "--paste-back", "-m", RESTYLE, "--json")
    outcome = as_json(restyle(*run))["images"][0]
    assert outcome["outputs"]["pasted"] == "restyle-out/invert/photo.pasted.png"
    pasted, before = np.asarray(Image.open("restyle-out/invert/photo.pasted.png")), np.asarray(photo)
    assert np.array_equal(pasted[215:], before[215:])
    assert np.array_equal(pasted[:, 215:], before[:, 215:])
    assert (pasted[60:150, 60:150] != before[60:150, 60:150]).mean() > 0.5
    assert np.array_equal(
        pasted, np.asarray(paste(photo, Image.open("restyle-out/invert/photo.png"), outcome["alignment"]["quad"]))
    )
    assert statuses(restyle(*run)) == {"photo.png": "skipped"}


def test_paste_back_of_a_crop_is_the_reconstruction_at_its_size(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "--paste-back", "-m", RESTYLE)
    pasted, image = Image.open("restyle-out/invert/a.pasted.png"), Image.open("restyle-out/invert/a.png")
    assert pasted.size == (64, 64)
    assert np.array_equal(pasted, image.resize((64, 64), Image.Resampling.BICUBIC))


def test_paste_back_of_a_photo_on_its_side_is_upright(restyle: Run, here: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (90, 60), 99).save("side.png", exif=exif)
    result = restyle("invert", "side.png", "--align", "never", "--paste-back", "-m", RESTYLE)
    assert "'side.png' is stored rotated (EXIF); 'restyle-out/invert/side.pasted.png' is upright" in result.stderr
    pasted = Image.open("restyle-out/invert/side.pasted.png")
    assert (pasted.size, pasted.mode) == ((60, 90), "L")
    assert "is upright" not in restyle("invert", "side.png", "--align", "never", "--paste-back", "-m", RESTYLE).stderr


def test_a_pasted_picture_of_other_settings_is_not_taken_for_done(restyle: Run, faces: Path) -> None:
    run = ("invert", faces / "a.png", "-m", RESTYLE, "--json")
    restyle(*run, "-n", 1, "--paste-back")
    restyle(*run, "-n", 3)  # leaves the pasted picture of one step behind
    assert statuses(restyle(*run, "-n", 3, "--paste-back")) == {"faces/a.png": "done"}
    assert statuses(restyle(*run, "-n", 3)) == {"faces/a.png": "skipped"}
    assert statuses(restyle(*run, "-n", 3, "--paste-back")) == {"faces/a.png": "skipped"}


def test_an_output_folder_that_is_a_file(restyle: Run, faces: Path) -> None:
    Path("taken").write_text("mine")
    for name in ("taken", "taken/below"):
        result = restyle("invert", faces, "-o", name, "-m", RESTYLE)
        assert result.exit_code == 1
        assert f"cannot write to the folder '{name}'" in result.stderr
        assert len(result.stderr.splitlines()) == 2
    assert Path("taken").read_text() == "mine"


def test_an_output_folder_without_permission(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    result = restyle("invert", faces, "-m", RESTYLE)
    assert result.exit_code == 1
    assert "cannot write to the folder 'restyle-out/invert': permission denied" in result.stderr
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize("full_at", ["a.png", "a.strip.png", "a.npy", "a.safetensors"])
def test_a_full_disk(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch, full_at: str) -> None:
    replace = os.replace

    def full(aside: Path, path: Path) -> None:
        if Path(path).name == full_at:
            raise OSError(28, "No space left on device")
        replace(aside, path)

    monkeypatch.setattr(os, "replace", full)
    result = restyle("invert", faces, "-m", RESTYLE, "--save", "image,strip,latent,npy")
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()
    assert error == f"error: 'faces/a.png': cannot write 'restyle-out/invert/{full_at}': no space left on device"
    assert "free some space" in hint
    assert not [name for name in files() if name.startswith(("a.", "."))]  # nothing of it is left
    assert [name for name in files() if name.endswith(".safetensors")] == [
        "b.safetensors",
        "sub/c.safetensors",
    ]


def test_networks_that_give_no_numbers(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = ReStyle._generate
    monkeypatch.setattr(ReStyle, "_generate", lambda self, w, patch=None: draw(self, w * float("nan"), patch))
    result = restyle("invert", faces / "a.png", "-m", RESTYLE)
    assert result.exit_code == 1
    assert "'faces/a.png'" in result.stderr
    assert "--precision fp32" in result.stderr
    assert files() == []


def test_a_step_that_gives_no_numbers_costs_no_earlier_one(
    restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = ReStyle.step, []

    def lost_from_the_third_on(self: ReStyle, x: torch.Tensor, state: State) -> State:
        calls.append(len(x))
        made = step(self, x, state)
        return replace(made, image=fit(x, (32, 32)) * (0.9 if len(calls) < 3 else float("nan")))

    monkeypatch.setattr(ReStyle, "step", lost_from_the_third_on)
    result = restyle("invert", faces / "a.png", "-m", RESTYLE, "-n", 4, "--json")
    assert result.exit_code == 0
    (image,) = as_json(result)["images"]
    assert [step["l2"] is None for step in image["steps"]] == [False, False, False, True, True]
    assert "steps from 3 on produced NaN" in result.stderr
    calls.clear()
    assert "—" in restyle("invert", faces / "a.png", "-m", RESTYLE, "-n", 4, "--overwrite").stdout


def test_an_earlier_result_does_not_vouch_for_half_a_new_one(
    restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run is stopped from outside, as a killed process is."""
    command = ("invert", faces / "a.png", "-m", RESTYLE, "--json", "-n")
    first = restyle(*command, 2)
    assert first.exit_code == 0
    with monkeypatch.context() as patched:
        patched.setattr(outputs, "draw_strip", lambda *cells: (_ for _ in ()).throw(ZeroDivisionError))
        with pytest.raises(ZeroDivisionError):
            restyle(*command, 3)
    assert "a.safetensors" not in files() and "a.png" not in files()
    assert json.loads(restyle(*command, 2).stdout)["images"][0]["status"] == "done"


def test_what_is_not_asked_for_any_more_is_done_again(restyle: Run, faces: Path) -> None:
    def status(*options: object) -> str:
        result = restyle("invert", faces / "a.png", "--json", *options)
        return as_json(result)["images"][0]["status"]

    for with_it, without in (
        (("-m", PSP, "--downscale", 8), ("-m", PSP)),
        (("-m", RESTYLE, "--quality", "fast"), ("-m", RESTYLE, "-n", 10)),
    ):
        assert [status(*with_it), status(*with_it), status(*without)] == ["done", "skipped", "done"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_result_that_cannot_be_printed(python: Python, faces: Path) -> None:
    arguments = ["restyle", "invert", str(faces / "a.png"), "-m", RESTYLE, "--json"]
    started = python(
        f"import os, sys; sys.argv = {arguments}; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "from restyle_cli.__main__ import main; main()"
    )
    _, told = started.communicate(timeout=120)
    assert started.returncode == 1
    assert "the result cannot be printed: no space left on device" in told
    assert "Traceback" not in told


def test_too_little_memory(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ReStyle, "step", full)
    result = restyle("invert", faces, "-m", RESTYLE, "-b", 2)
    assert result.exit_code == 1
    assert "--batch-size 1" in result.stderr


# --- wrong usage


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-n", 0), "0"),
        (("-n", 1000), "1000"),
        (("-n", "five"), "--steps"),
        (("-b", 0), "0"),
        (("-m", PSP, "-n", 3), "one step"),
        (("--via", "psp-portrait:x"), "'x'"),
        (("--via", "psp-portrait", "-n", 5), "--steps"),
        (("--align", "sometimes"), "sometimes"),
        (("--face", "0"), "'0'"),
        (("--face", "both"), "'both'"),
        (("--face", "2", "--align", "never"), "--face 2 and --align never cannot be combined"),
        (("--keep", "first"), "first"),
        (("--device", "tpu"), "tpu"),
        (("--precision", "fp8"), "fp8"),
        (("-m", "projector-portrait", "-n", 9, "--tolerance", 1e-4), "does not support --tolerance"),
        (("--tolerance", -1), "-1.0 is not between 0 and 4"),
        (("--tolerance", "nan"), "nan is not between 0 and 4"),
        (("--tolerance", "inf"), "inf is not between 0 and 4"),
        (("--via", f"{RESTYLE}:2", "-m", PSP), "--via names all models"),
        (("--via", "pti-portrait:3"), "needs the latent of a previous method"),
    ],
)
def test_wrong_usage(restyle: Run, faces: Path, options: tuple[object, ...], told: str) -> None:
    result = restyle("invert", faces, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert told in result.stderr
    assert "hint: " in result.stderr
    assert result.stdout == ""
    assert not Path("restyle-out/invert").exists()


def test_an_unknown_model(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces, "-m", "restyle-psp-portrat")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: no model named 'restyle-psp-portrat'"
    assert f"did you mean '{RESTYLE}'?" in result.stderr
    assert not Path("restyle-out/invert").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(restyle: Run, faces: Path) -> None:
    result = restyle("invert", faces, "--device", "cuda", "-m", RESTYLE)
    assert result.exit_code == 2
    assert "'cuda'" in result.stderr
    assert "--device auto" in result.stderr


# --- Ctrl-C


def test_ctrl_c_keeps_what_is_done(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = ReStyle.step, []

    def interrupted(self: ReStyle, x: torch.Tensor, state: Any) -> Any:
        calls.append(None)
        if len(calls) == 8:  # of five steps a picture: in the second
            deadline = time.monotonic() + 10
            while not Path("restyle-out/invert/a.safetensors").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise KeyboardInterrupt
        return step(self, x, state)

    monkeypatch.setattr(ReStyle, "step", interrupted)
    result = restyle("invert", faces, "-b", 1, "-m", RESTYLE)
    assert result.exit_code == 130
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: interrupted after ")
    assert error.endswith(" of 3 images")
    assert "the same command" in hint
    assert result.stdout == ""
    assert files() == result_names("a")

    monkeypatch.setattr(ReStyle, "step", step)
    assert list(statuses(restyle("invert", faces, "--json", "-m", RESTYLE)).values()) == ["skipped", "done", "done"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_real_ctrl_c_in_a_folder(python: Python, here: Path, tiny_store: Path) -> None:
    for seed in range(40):
        put(here / f"many/{seed:02d}.png", seed)
    code = f"""
import time
from pathlib import Path
from restyle_cli.store import fetch
fetch.embedded_folder = lambda: Path({str(tiny_store)!r})
from restyle_cli.methods.encoder import ReStyle
step = ReStyle.step
ReStyle.step = lambda *args: (time.sleep(0.02), step(*args))[1]  # as a large network takes
from restyle_cli.cli.app import app
app(["invert", "many", "-b", "1", "-m", {RESTYLE!r}])
"""
    process = python(code)
    done = Path("restyle-out/invert")
    deadline = time.monotonic() + 60
    while len(list(done.glob("*.safetensors"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert [line.split(":")[0].strip() for line in errors.splitlines()] == ["error", "hint"]
    names = {Path(name).name.split(".")[0] for name in files() if name.endswith(".safetensors")}
    assert 2 <= len(names) < 40
    # A picture is whole where it has its latent file; where not, whole files may stand, but none begun.
    assert set(result_names(*names)) <= set(files())
    for path in done.iterdir():
        assert not path.name.startswith(".")
        if path.suffix == ".png":
            Image.open(path).load()
        else:
            read_latent(path)


# --- the threads behind it


def test_background_work_keeps_the_order_and_its_distance() -> None:
    taken: list[int] = []

    def items() -> Any:
        for i in range(20):
            taken.append(i)
            yield i

    results = []
    for result in pipeline.in_background(lambda i: i * i, items(), ahead=3):
        results.append(result)
        assert len(taken) <= len(results) + 4  # the one asked for, and those ahead
    assert results == [i * i for i in range(20)]


def test_background_work_that_fails_is_told() -> None:
    results = pipeline.in_background(lambda i: 1 // i, [2, 1, 0, 1], ahead=1)
    with contextlib.closing(results), pytest.raises(ZeroDivisionError):
        list(results)


def test_background_work_ends_with_its_reader() -> None:
    done: list[int] = []

    def work(i: int) -> int:
        time.sleep(0.01)
        done.append(i)
        return i

    results = pipeline.in_background(work, range(100), ahead=50)
    assert next(results) == 0
    results.close()
    count = len(done)
    assert count < 10  # of fifty handed over
    time.sleep(0.05)
    assert len(done) == count


def test_reading_goes_on_while_the_networks_compute(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    read, step = pipeline.open_image, ReStyle.step

    def opened(path: Path) -> Image.Image:
        events.append(f"read {path.name}")
        return read(path)

    def stepped(self: ReStyle, x: torch.Tensor, state: Any) -> Any:
        deadline = time.monotonic() + 10
        while len([e for e in events if e.startswith("read")]) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)  # as a large network takes
        events.append("step")
        return step(self, x, state)

    monkeypatch.setattr(pipeline, "open_image", opened)
    monkeypatch.setattr(ReStyle, "step", stepped)
    restyle("invert", faces, "-b", 1, "-n", 1, "-q")
    assert events.index("step") > events.index("read c.png")


def test_the_strip_of_a_long_run_is_short(restyle: Run, faces: Path) -> None:
    restyle("invert", faces / "a.png", "-n", 40)
    most = 12  # target, ten steps, the kept one
    assert Image.open("restyle-out/invert/a.strip.png").width <= 24 + most * (strip.HEIGHT + 8)


def test_a_mark_that_cannot_be_replaced(restyle: Run, faces: Path) -> None:
    Path("restyle-out/invert/a.safetensors").mkdir(parents=True)
    result = restyle("invert", faces / "a.png", "-m", RESTYLE)
    assert result.exit_code == 1
    assert "cannot replace 'restyle-out/invert/a.safetensors'" in result.stderr
    assert files() == []
