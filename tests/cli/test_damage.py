"""Files of ours that are damaged or from others, and too little memory: one line at most, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import RESTYLE, Run
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.images import save_image
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.store.files import read_latent, write_latent

DEEP = "[" * 100_000
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.fixture
def faces(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three pictures that alignment leaves alone."""
    monkeypatch.chdir(tmp_path)
    for shade, name in enumerate("abc"):
        save_image(Image.new("RGB", (64, 64), (80 * shade,) * 3), Path("faces") / f"{name}.png", aligned_mark())
    return Path("faces")


def statuses(result: Result) -> list[str]:
    return [image["status"] for image in json.loads(result.stdout)["images"]]


def without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "source is a list": lambda made: made | {"source": []},
    "no name": lambda made: made | {"source": without(made["source"], "name")},
    "the digest is a number": lambda made: made | {"source": made["source"] | {"sha256": 7}},
    "no alignment": lambda made: without(made, "alignment"),
    "no count of faces": lambda made: made | {"alignment": without(made["alignment"], "faces")},
    "three corners": lambda made: made | {"alignment": made["alignment"] | {"quad": made["alignment"]["quad"][:3]}},
    "doubts are text": lambda made: made | {"alignment": made["alignment"] | {"doubts": "many"}},
    "files are a number": lambda made: made | {"files": 3},
    "files are lists": lambda made: made | {"files": [["image"]]},
    "only the source": lambda made: {"source": made["source"]},
    "nothing": lambda made: {},
}
OF_STEPS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no steps": lambda made: without(made, "steps"),
    "steps are numbers": lambda made: made | {"steps": [1]},
    "empty steps": lambda made: made | {"steps": []},
    "a step without L2": lambda made: made | {"steps": [without(step, "l2") for step in made["steps"]]},
    "an L2 that is text": lambda made: made | {"steps": [step | {"l2": "low"} for step in made["steps"]]},
    "a huge L2": lambda made: made | {"steps": [step | {"l2": 10**400} for step in made["steps"]]},
    "a step that is none": lambda made: made | {"kept_step": 99},
    "a step before the first": lambda made: made | {"kept_step": -1},
    "links that are none": lambda made: made | {"links": [1]},
}


@pytest.mark.parametrize("name", [*CHANGES, *OF_STEPS])
def test_a_latent_file_that_is_not_ours_counts_as_no_result(restyle: Run, faces: Path, name: str) -> None:
    command = ("invert", faces / "a.png", "-m", RESTYLE, "-n", 1, "--save", "latent", "--json")
    assert statuses(restyle(*command)) == ["done"]
    file = Path("restyle-out/invert/a.safetensors")
    tensors, made = read_latent(file)
    assert statuses(restyle(*command)) == ["skipped"]
    write_latent(file, tensors, (CHANGES | OF_STEPS)[name](made))
    assert statuses(restyle(*command)) == ["done"]
    assert statuses(restyle(*command)) == ["skipped"]


@pytest.mark.parametrize("change", [*CHANGES.values(), lambda made: None, lambda made: [made]])
def test_a_crops_file_that_is_not_ours_counts_as_no_result(
    restyle: Run, faces: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    command = ("align", faces / "a.png", "--json")
    assert statuses(restyle(*command)) == ["done"]
    file = Path("restyle-out/align/a.json")
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    assert statuses(restyle(*command)) == ["done"]


@pytest.mark.parametrize("text", [DEEP, "\udcff", '{"files": [], "files": []}', ""], ids=range(4))
def test_a_crops_file_that_is_no_json_counts_as_no_result(restyle: Run, faces: Path, text: str) -> None:
    command = ("align", faces / "a.png", "--json")
    restyle(*command)
    Path("restyle-out/align/a.json").write_text(text, errors="surrogateescape")
    assert statuses(restyle(*command)) == ["done"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda line: "[1, 2]", "line 2: must be a table"),
        (lambda line: json.dumps(without(line, "schedule")), "line 2: 'schedule' is missing"),
        (lambda line: json.dumps(without(line, "sha256")), "line 2: 'sha256' is missing"),
        (lambda line: json.dumps(line | {"values": 1}), "line 2: 'values' must be a list"),
        (lambda line: json.dumps(line | {"values": [[1]]}), "other columns or steps"),
        (lambda line: DEEP, "line 2: is JSON nested too deeply"),
        (lambda line: "\udcff", "line 2: is not UTF-8 text"),
    ],
    ids=range(7),
)
def test_a_damaged_journal_is_named_with_the_line(
    restyle: Run, faces: Path, change: Callable[[dict[str, Any]], str], told: str
) -> None:
    command = ("eval", faces / "a.png", "-m", RESTYLE, "-n", 1, "--metrics", "l2", "-o", "report")
    assert restyle(*command).exit_code == 0
    file = Path("report/journal.jsonl")
    lines = file.read_text().splitlines()
    lines[1] = change(json.loads(lines[1]))
    file.write_text("\n".join([*lines, ""]), errors="surrogateescape")
    done = restyle(*command)
    assert done.exit_code == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: 'report/journal.jsonl' is damaged: ") and told in error
    assert "--overwrite" in hint


# --- memory


def has_room_for(count: int, monkeypatch: pytest.MonkeyPatch, never: float | None = None) -> None:
    """ReStyle's step fails as PyTorch does on a CPU, with more pictures at once or with the one of this shade."""
    real = ReStyle.step

    def step(self: ReStyle, x: torch.Tensor, state: Any) -> Any:
        if len(x) > count or (never is not None and bool((x.mean(dim=(1, 2, 3)) - never).abs().min() < 0.01)):
            raise RuntimeError(f"{CPU} 9 bytes.")
        return real(self, x, state)

    monkeypatch.setattr(ReStyle, "step", step)


def test_a_batch_that_does_not_fit_is_halved(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_room_for(1, monkeypatch)
    done = restyle("invert", faces, "-m", RESTYLE, "-n", 1, "--save", "latent", "--json")
    assert (done.exit_code, statuses(done)) == (0, ["done"] * 3)
    (note,) = [line for line in done.stderr.splitlines() if "enough memory" in line]
    assert "cpu has not enough memory for 3 images at once; continuing with fewer (--batch-size 1" in note


def test_eval_halves_a_batch_too(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("eval", faces, "-m", RESTYLE, "-n", 1, "--metrics", "l2", "--json", "-o")
    whole = json.loads(restyle(*command, "whole").stdout)
    has_room_for(1, monkeypatch)
    halved = json.loads(restyle(*command, "halved").stdout)
    assert halved["images"] == 3
    assert halved["methods"][0]["steps"][1]["l2"] == pytest.approx(whole["methods"][0]["steps"][1]["l2"], rel=1e-5)


def test_a_picture_that_does_not_fit_fails_alone(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_room_for(4, monkeypatch, never=80 / 127.5 - 1)
    done = restyle("invert", faces, "-m", RESTYLE, "-n", 1, "--save", "latent", "--json")
    assert (done.exit_code, statuses(done)) == (1, ["done", "failed", "done"])
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == "error: 'faces/b.png': cpu has not enough memory for this image"


def test_a_picture_that_does_not_fit_is_measured_by_the_next_run(
    restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("eval", faces, "-m", RESTYLE, "-n", 1, "--metrics", "l2", "--json", "-o", "report")
    with monkeypatch.context() as patched:
        has_room_for(4, patched, never=80 / 127.5 - 1)
        done = restyle(*command)
        assert done.exit_code == 1
        assert json.loads(done.stdout)["images"] == 2
    assert json.loads(restyle(*command).stdout)["images"] == 3
