"""`restyle heatmap` from the outside, on tiny random networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.heatmap.changes import read_changes
from restyle_cli.images import fit, save_image, to_image
from restyle_cli.methods.encoder import ReStyle

Run = Callable[..., Result]
RESTYLE = "restyle-psp-portrait"


def put(path: Path, seed: int) -> Path:
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    save_image(to_image(fit(small, (64, 64))[0]), path, aligned_mark())
    return path


@pytest.fixture
def faces(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `faces` with a.png, b.png and sub/c.png, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.png", "sub/c.png")):
        put(tmp_path / "faces" / name, seed)
    return Path("faces")


def files(folder: str = "restyle-out/heatmap") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def statuses(result: Result) -> list[str]:
    return [image["status"] for image in json.loads(result.stdout)["images"]]


def sheet(name: str) -> np.ndarray:
    return np.asarray(Image.open(f"restyle-out/heatmap/{name}.heatmap.png"))


def test_one_image(restyle: Run, faces: Path) -> None:
    result = restyle("heatmap", faces / "a.png", "-n", 3, "-m", RESTYLE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert files() == ["a.heatmap.npz", "a.heatmap.png"]
    lines = result.stdout.splitlines()
    assert "LPIPS" in lines[0]
    assert [line.split()[:2] for line in lines[2:5]] == [[str(k), RESTYLE] for k in (1, 2, 3)]
    assert lines[5:] == ["restyle-out/heatmap/a.heatmap.png", "restyle-out/heatmap/a.heatmap.npz"]
    with np.load("restyle-out/heatmap/a.heatmap.npz") as numbers:
        assert {name: numbers[name].shape for name in ("maps", "distance", "layers")} == {
            "maps": (3, 256, 256), "distance": (3,), "layers": (3, 8)
        }  # fmt: skip


def test_json(restyle: Run, faces: Path) -> None:
    values = json.loads(restyle("heatmap", faces, "-n", 2, "-m", RESTYLE, "--json").stdout)
    assert (values["command"], values["measure"], values["normalise"]) == ("heatmap", "lpips", "photo")
    assert [image["input"] for image in values["images"]] == ["faces/a.png", "faces/b.png", "faces/sub/c.png"]
    for image in values["images"]:
        assert set(image["outputs"]) == {"heatmap", "maps"}
        changes, _ = read_changes(Path(image["outputs"]["maps"]))
        for k, step in enumerate(image["steps"][1:]):
            assert step["distance"] == pytest.approx(changes.maps[k].mean(), rel=1e-5)
            assert set(step["layers"]) == {"coarse", "middle", "fine"}
            assert 0 < step["area"] < 0.5
    average = values["average"]
    assert average["count"] == 3
    for k in (1, 2):
        for name in ("distance", "l2", "area"):
            each = [image["steps"][k][name] for image in values["images"]]
            assert average["steps"][k][name] == pytest.approx(
                sum(each) / 3, rel=1e-3
            )  # maps are kept with three digits


def test_the_average_of_a_folder(restyle: Run, faces: Path) -> None:
    result = restyle("heatmap", faces, "-n", 2)
    assert "mean of 3 images" in result.stdout
    assert {"average.heatmap.npz", "average.heatmap.png", "sub/c.heatmap.png"} <= set(files())
    each = [read_changes(Path(f"restyle-out/heatmap/{name}.heatmap.npz"))[0].maps for name in ("a", "b", "sub/c")]
    average, _ = read_changes(Path("restyle-out/heatmap/average.heatmap.npz"))
    np.testing.assert_allclose(average.maps, np.mean(each, axis=0), rtol=1e-5, atol=1e-6)


def test_an_image_called_average(restyle: Run, faces: Path) -> None:
    put(faces / "average.png", 7)
    values = json.loads(restyle("heatmap", faces, "-n", 1, "--json").stdout)
    written = [*(image["outputs"]["maps"] for image in values["images"]), values["average"]["outputs"]["maps"]]
    assert len(set(written)) == 5
    assert read_changes(Path("restyle-out/heatmap/average.heatmap.npz"))[0].count == 4


def test_a_second_run_skips_what_is_done(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ("heatmap", faces, "-n", 1, "--json")
    first = json.loads(restyle(*run).stdout)
    before = {name: Path("restyle-out/heatmap", name).stat().st_mtime_ns for name in files() if "average" not in name}
    with monkeypatch.context() as patch:
        patch.setattr(ReStyle, "step", None)  # nothing may be computed
        second = restyle(*run)
    assert statuses(second) == ["skipped"] * 3
    assert {name: Path("restyle-out/heatmap", name).stat().st_mtime_ns for name in before} == before
    assert json.loads(second.stdout)["average"] == first["average"]
    put(faces / "b.png", 9)
    assert statuses(restyle(*run)) == ["skipped", "done", "skipped"]
    for options in (("-n", 2), ("--overwrite",)):
        assert statuses(restyle("heatmap", faces / "a.png", "-n", 1, "--json", *options)) == ["done"]


def test_sheets_are_redrawn_without_computing(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ("heatmap", faces, "-n", 1, "--json")
    restyle(*run)
    own = {name: sheet(name) for name in ("a", "b", "sub/c")}
    monkeypatch.setattr(ReStyle, "step", None)
    for scale in ("folder", "none"):
        assert statuses(restyle(*run, "--normalise", scale)) == ["skipped"] * 3
        changed = [name for name, before in own.items() if not np.array_equal(sheet(name), before)]
        assert len(changed) == (2 if scale == "folder" else 3)  # the largest change of all is one photo's own
    restyle(*run)
    assert all(np.array_equal(sheet(name), before) for name, before in own.items())


def test_the_folders_scale_is_its_largest(restyle: Run, faces: Path) -> None:
    restyle("heatmap", faces, "-n", 1, "--normalise", "folder")
    tops = {
        json.loads(Image.open(f"restyle-out/heatmap/{n}.heatmap.png").info["restyle-heatmap"])["top"]
        for n in ("a", "sub/c")
    }
    each = [read_changes(Path(f"restyle-out/heatmap/{name}.heatmap.npz"))[0].top for name in ("a", "b", "sub/c")]
    assert tops == {max(each)}


def test_long_schedules_show_some_steps(restyle: Run, faces: Path) -> None:
    values = json.loads(restyle("heatmap", faces / "a.png", "-n", 30, "--json").stdout)
    steps = values["images"][0]["steps"]
    shown = [step for step in steps if "distance" in step]
    assert len(steps) == 31
    assert len(shown) == 10
    assert shown[-1]["step"] == 30
    assert shown[-1]["since"] < 29


def test_a_bad_image_does_not_stop_the_folder(restyle: Run, faces: Path) -> None:
    (faces / "b.png").write_bytes(b"broken")
    result = restyle("heatmap", faces, Path("missing"), "-n", 1, "--json")
    assert result.exit_code == 1
    assert "'faces/b.png'" in result.stderr
    assert "'missing'" in result.stderr
    assert statuses(result) == ["failed", "done", "failed", "done"]
    assert json.loads(result.stdout)["average"]["count"] == 2


def test_one_good_image_has_no_average(restyle: Run, faces: Path) -> None:
    (faces / "b.png").write_bytes(b"broken")
    result = restyle("heatmap", faces / "a.png", faces / "b.png", "-n", 1, "--json")
    assert json.loads(result.stdout)["average"] is None
    assert files() == ["a.heatmap.npz", "a.heatmap.png"]


def test_models_that_produce_nan(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = ReStyle._generate
    monkeypatch.setattr(ReStyle, "_generate", lambda self, w, patch=None: draw(self, w * float("nan"), patch))
    result = restyle("heatmap", faces / "a.png", "-m", RESTYLE)
    assert result.exit_code == 1
    assert "--precision fp32" in result.stderr
    assert files() == []


def test_inputs_are_never_overwritten(restyle: Run, faces: Path) -> None:
    before = put(faces / "average.heatmap.png", 5).read_bytes()
    result = restyle("heatmap", faces, "-o", faces, "-n", 1)
    assert result.exit_code == 1
    assert "--output" in result.stderr
    assert (faces / "average.heatmap.png").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--normalise", "all"), "photo"), (("-n", 0), "0"), (("-m", "restyle-psp-portrat"), "did you mean")],
)
def test_wrong_usage(restyle: Run, faces: Path, options: tuple[object, ...], message: str) -> None:
    result = restyle("heatmap", faces, *options)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert not Path("restyle-out/heatmap").exists() or files() == []
