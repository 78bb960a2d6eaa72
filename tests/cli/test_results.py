"""What counts as an input, how results are called and when they count as done, the same for all commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import LANDMARKS, RESTYLE, Run, as_json, files, picture, put, statuses, two_faces
from PIL import Image
from safetensors.torch import save_file

from restyle_cli.align import mask as mask_module
from restyle_cli.align.paste import paste
from restyle_cli.store.files import read_latent

INVERT = ("invert", "-m", RESTYLE, "-n", 1)
BOOTSTRAP = ("bootstrap", "--from", "portrait", "--to", "toon", "-n", 1)
HEATMAP = ("heatmap", "-m", RESTYLE, "-n", 1)
needs_other_bytes = pytest.mark.skipif(sys.platform != "linux", reason="the file system takes names in UTF-8 alone")


# --- inputs


def test_pipes_and_loops_in_a_folder_do_not_stop_it(restyle: Run, here: Path) -> None:
    put(Path("photos/a.png"))
    os.mkfifo("photos/pipe.png")
    Path("photos/loop").symlink_to("loop")
    result = restyle(*INVERT, "photos", "--json")
    assert result.exit_code == 1
    assert statuses(result) == {"photos/a.png": "done", "photos/pipe.png": "failed", "photos/loop": "failed"}
    lines = sorted(line for line in result.stderr.splitlines() if line.startswith("error"))
    assert lines == [
        "error: 'photos/loop' cannot be read: too many levels of symbolic links",
        "error: 'photos/pipe.png' cannot be read: it is a named pipe, not a regular file",
    ]


@pytest.mark.parametrize("option", ["PATH", "--mask", "--crossover", "--landmarks", "--model", "--generator"])
def test_a_pipe_in_the_place_of_a_file(restyle: Run, here: Path, option: str) -> None:
    photo = put(Path("a.png"))
    os.mkfifo("pipe")
    mask = ("--mask", photo) if option == "--crossover" else ()
    given = ("invert", "pipe") if option == "PATH" else ("invert", photo, *mask, option, "pipe")
    chain = ("--via", "image2stylegan++-portrait:1") if "mask" in option else ()
    result = restyle(*given, *chain)
    assert result.exit_code in (1, 2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "pipe" in line


@pytest.mark.parametrize("command", [INVERT, HEATMAP, ("align",), ("eval", "--methods", f"{RESTYLE}:1")])
def test_a_loop_as_output_folder(restyle: Run, here: Path, command: tuple[object, ...]) -> None:
    put(Path("photos/a.png"))
    Path("loop").symlink_to("loop")
    result = restyle(*command, "photos", "-o", "loop")
    assert result.exit_code == 1
    assert "error: cannot write to the folder 'loop': it is a link that leads nowhere" in result.stderr


def test_results_are_no_inputs(restyle: Run, here: Path) -> None:
    put(Path("a.png"))
    put(Path("b.jpg"), 1)
    assert restyle(*INVERT, ".", "--paste-back", "-q").exit_code == 0
    restyle(*HEATMAP, "a.png", "b.jpg", "-q")
    again = restyle(*INVERT, ".", "--json")
    assert statuses(again) == {"a.png": "skipped", "b.jpg": "skipped"}
    other = restyle(*INVERT, ".", "-o", "other", "--json")
    assert statuses(other) == {"a.png": "done", "b.jpg": "done"}
    (note,) = [line for line in other.stderr.splitlines() if "left out" in line]
    assert note.startswith("result files of earlier runs left out (restyle-out/heatmap/a.heatmap.png … ")
    assert note.endswith(", 9 files); name a file to use it as input")
    assert "left out" not in restyle(*INVERT, ".", "-o", "other", "-q").stderr
    named = restyle(*INVERT, "restyle-out/invert/a.png", "--align", "never", "-o", "named", "--json")
    assert statuses(named) == {"restyle-out/invert/a.png": "done"}
    only = restyle(*INVERT, "other", "-o", "third")
    assert "error: no images in the folder 'other' but results of restyle (4)" in only.stderr


def test_reconstructions_can_be_measured(restyle: Run, here: Path) -> None:
    put(Path("photos/a.png"))
    restyle(*INVERT, "photos", "-q")
    result = restyle("eval", "photos", "--against", "restyle-out/invert", "--metrics", "l2", "--json")
    assert as_json(result)["images"] == 1


# --- names


def test_commands_write_to_folders_of_their_own(restyle: Run, here: Path) -> None:
    photo = put(Path("a.png"))
    for command in (INVERT, BOOTSTRAP, HEATMAP, ("align",)):
        assert restyle(*command, photo, "-q").exit_code == 0
    assert restyle("eval", photo, "--methods", f"{RESTYLE}:1", "--metrics", "l2", "-q").exit_code == 0
    assert restyle("samples", "-n", 1, "--size", 32, "-q").exit_code == 0
    folders = ["align", "bootstrap", "eval", "heatmap", "invert", "samples"]
    assert sorted(path.name for path in Path("restyle-out").iterdir()) == folders
    assert {"invert/a.safetensors", "bootstrap/a.safetensors"} < set(files("restyle-out"))
    assert statuses(restyle(*INVERT, photo, "--json")) == {"a.png": "skipped"}


@pytest.mark.parametrize("command", [INVERT, ("align",)])
def test_a_name_that_is_too_long_costs_no_other_image(restyle: Run, here: Path, command: tuple[object, ...]) -> None:
    fits, too_long = "f" * 240, "x" * 251
    for name in ("a", fits, too_long):
        put(Path("photos/x.png")).rename(f"photos/{name}.jpg")
    result = restyle(*command, "photos", "--json", "-o", "out")
    ends = {"photos/a.jpg": "done", f"photos/{fits}.jpg": "done", f"photos/{too_long}.jpg": "failed"}
    assert result.exit_code == 1
    assert statuses(result) == ends
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: 'photos/{too_long}.jpg': cannot write ")
    assert line.endswith(": file name too long")
    assert not [name for name in files("out") if name.startswith((".", "x"))]


@pytest.mark.parametrize("option", ["PATH", "--output", "--landmarks", "--model", "--generator"])
def test_an_argument_that_is_too_long_for_a_name(restyle: Run, here: Path, option: str) -> None:
    photo, name = put(Path("a.png")), "x" * 300
    result = restyle("invert", name) if option == "PATH" else restyle("invert", photo, option, name)
    assert result.exit_code in (1, 2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert name in line


@needs_other_bytes
@pytest.mark.parametrize(
    "command", [INVERT, BOOTSTRAP, HEATMAP, ("align",), ("eval", "--methods", f"{RESTYLE}:1", "--metrics", "l2")]
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_names_that_are_not_utf8(restyle: Run, here: Path, command: tuple[object, ...], options: tuple[str]) -> None:
    name = os.fsdecode(b"caf\xe9")
    put(Path("photos/x.png")).rename(f"photos/{name}.png")
    put(Path("photos/y.png"), 1)
    result = restyle(*command, "photos", *options)
    assert (result.exit_code, "error" in result.stderr) == (0, False)
    if options and command[0] != "eval":
        assert statuses(result) == {f"photos/{name}.png": "done", "photos/y.png": "done"}
        assert set(statuses(restyle(*command, "photos", "--json")).values()) == {"skipped"}
        if command is INVERT:
            assert read_latent(Path(f"restyle-out/invert/{name}.safetensors"))[0]["w"].dim() == 2


def test_names_that_differ_in_case_are_written_side_by_side(restyle: Run, here: Path) -> None:
    for seed, name in enumerate(("a.jpg", "a.JPG")):
        put(Path("photos/x.png"), seed).rename(f"photos/{name}")
    assert restyle(*INVERT, "photos", "--save", "image").exit_code == 0
    assert files() == ["a-2.png", "a-2.safetensors", "a.png", "a.safetensors"]


def test_formulas_in_tables(restyle: Run, here: Path) -> None:
    for seed, name in enumerate(("=1+1", "@x", "plain")):
        put(Path(f"{name}.png"), seed)
    assert restyle("eval", "=1+1.png", "@x.png", "plain.png", "--methods", RESTYLE, "-n", 1, "-q").exit_code == 0
    rows = Path("restyle-out/eval/images.csv").read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"./=1+1.png", "./@x.png", "plain.png"}


# --- what is done


@pytest.mark.parametrize("command", [INVERT, BOOTSTRAP, HEATMAP])
def test_another_precision_is_another_result(restyle: Run, here: Path, command: tuple[object, ...]) -> None:
    photo = put(Path("a.png"))
    run = (*command, photo, "--device", "cpu", "--json")
    precisions = ["bf16", "fp32", "auto", "bf16"]
    told = [restyle(*run, "--precision", precision) for precision in precisions]
    assert [statuses(result)["a.png"] for result in told] == ["done", "done", "skipped", "done"]


@pytest.mark.parametrize("content", ["cut", "foreign", "empty", "folder"])
def test_a_file_that_is_no_latent_is_no_result(restyle: Run, here: Path, content: str) -> None:
    photo, latent = put(Path("a.png")), Path("restyle-out/invert/a.safetensors")
    restyle(*INVERT, photo, "-q")
    whole = latent.read_bytes()
    if content == "cut":
        latent.write_bytes(whole[:-10])  # the record is whole, and the code is not
    elif content == "foreign":
        save_file({"x": torch.zeros(3)}, latent)
    elif content == "empty":
        latent.write_bytes(b"")
    else:
        latent.unlink()
        latent.mkdir()
        result = restyle(*INVERT, photo)
        assert (result.exit_code, "is a directory" in result.stderr) == (1, True)
        return
    assert statuses(restyle(*INVERT, photo, "--json")) == {"a.png": "done"}


@pytest.mark.parametrize(
    ("command", "file"),
    [(HEATMAP, "restyle-out/heatmap/a.heatmap.npz"), (("align",), "restyle-out/align/a.json")],
)
def test_damaged_results_of_other_commands(restyle: Run, here: Path, command: tuple[object, ...], file: str) -> None:
    photo = put(Path("a.png"))
    run = (*command, photo, "--json")
    restyle(*run)
    assert statuses(restyle(*run)) == {"a.png": "skipped"}
    whole = Path(file).read_bytes()
    middle = len(whole) // 2
    broken = [b"", whole[:middle], whole[:middle] + bytes(40) + whole[middle + 40 :], b"[" * 100_000]
    for content in [*broken, *([b'{"source": {}}', b"[]"] if command[0] == "align" else [])]:
        Path(file).write_bytes(content)
        assert statuses(restyle(*run)) == {"a.png": "done"}


# --- several faces, several photos


def test_all_faces_are_pasted_into_one_photo(restyle: Run, here: Path) -> None:
    photo = two_faces("us.png")
    run = (*INVERT, "us.png", "--face", "all", "--paste-back", "--json")
    images = as_json(restyle(*run))["images"]
    names = {f"us.{n}{end}" for n in (1, 2) for end in (".png", ".strip.png", ".safetensors")}
    assert set(files()) == names | {"us.pasted.png"}
    assert {image["outputs"]["pasted"] for image in images} == {"restyle-out/invert/us.pasted.png"}
    for image in images:
        photo = paste(photo, Image.open(image["outputs"]["image"]), image["alignment"]["quad"])
    assert np.array_equal(np.asarray(Image.open("restyle-out/invert/us.pasted.png")), np.asarray(photo))
    assert statuses(restyle(*run)) == {"us.png": "skipped"}
    Path("restyle-out/invert/us.pasted.png").unlink()
    assert statuses(restyle(*run)) == {"us.png": "done"}
    assert Path("restyle-out/invert/us.pasted.png").is_file()


def test_a_second_photo_is_framed_by_its_own_face_and_read_once(
    restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        picture(seed, 200).save(name)
    two_faces("other.png")  # which has no face where the points of a.png are
    Image.new("L", (200, 200), 255).save("mask.png")
    Path("table.json").write_text(json.dumps({"a.png": LANDMARKS, "b.png": LANDMARKS}))
    framed = []
    align_image = mask_module.align_image

    def counted(photo: Image.Image, framing: Any, size: Any, path: Path) -> Any:
        framed.append((path.name, framing.face, framing.landmarks))
        return align_image(photo, framing, size, path)

    monkeypatch.setattr(mask_module, "align_image", counted)
    run = (*INVERT, "a.png", "b.png", "--mask", "mask.png", "--crossover", "other.png", "--save", "image")
    result = restyle(*run, "--landmarks", "table.json", "--json")
    assert set(statuses(result).values()) == {"done"}
    assert [one[:2] for one in framed] == [("other.png", 1)]
    framed.clear()
    Path("points.json").write_text(json.dumps(LANDMARKS))  # of a.png alone
    result = restyle(*INVERT, "a.png", *run[7:], "--landmarks", "points.json", "--json", "-o", "one")
    assert statuses(result) == {"a.png": "done"}
    assert framed == [("other.png", 1, None)]
