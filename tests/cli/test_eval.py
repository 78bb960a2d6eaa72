"""`restyle eval` from the outside, on tiny random networks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch
from commands import Run
from PIL import Image

import restyle_cli
from restyle_cli.align import align as align_module
from restyle_cli.align import aligned_mark
from restyle_cli.evaluate import run as run_module
from restyle_cli.evaluate.journal import Journal
from restyle_cli.images import displayed, fit, open_image, save_image, to_image, to_tensor
from restyle_cli.inversion import invert
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.metrics.pixel import ms_ssim
from restyle_cli.models import load_method

RESTYLE, PSP = "restyle-psp-portrait", "psp-portrait"
QUICK = ("--metrics", "l2,ms_ssim")  # LPIPS and identity take longer
OUT = Path("restyle-out/eval")


def random_image(seed: int, size: int = 64) -> Image.Image:
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return to_image(fit(small, (size, size))[0])


@pytest.fixture
def here(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def faces(here: Path) -> Path:
    """A folder of five images that are aligned already."""
    for seed in range(4):
        save_image(random_image(seed), here / f"faces/{seed}.png", aligned_mark())
    save_image(random_image(4), here / "faces/sub/4.png", aligned_mark())
    return Path("faces")


def report(folder: Path = OUT) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def table(folder: Path = OUT) -> list[dict[str, str]]:
    with (folder / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(values: Any) -> Any:
    """A report without times and memory."""
    if isinstance(values, dict):
        return {k: without_times(v) for k, v in values.items() if k not in ("seconds", "peak_memory_mb")}
    return [without_times(value) for value in values] if isinstance(values, list) else values


# --- methods


def test_what_is_printed_and_written(restyle: Run, faces: Path) -> None:
    result = restyle("eval", faces, "-n", 2, *QUICK, "-b", 3)
    assert (result.exit_code, result.stderr.count("error")) == (0, 0)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["method", "step", "L2", "MS-SSIM", "seconds"]
    assert [row[0] for row in rows[1:6]] == [RESTYLE, "1", "2", PSP, "1"]
    assert rows[7][:3] == ["last", "step", "images"]
    assert [row[:2] for row in rows[8:10]] == [[RESTYLE, "5"], [PSP, "5"]]
    assert "5 images, 0 skipped" in result.stdout
    assert {path.name for path in OUT.iterdir()} == {"report.html", "report.json", "images.csv", "journal.jsonl"}
    written = report()
    assert (written["command"], written["images"], written["skipped"]) == ("eval", 5, [])
    assert [(m["name"], m["chain"]) for m in written["methods"]] == [(RESTYLE, f"{RESTYLE}:2"), (PSP, f"{PSP}:1")]
    restyle_psp = written["methods"][0]
    assert [step["step"] for step in restyle_psp["steps"]] == [0, 1, 2]
    assert list(restyle_psp["steps"][0]) == ["step", "method", "l2", "ms_ssim", "seconds"]
    assert [step["method"] for step in restyle_psp["steps"]] == ["start", RESTYLE, RESTYLE]
    seconds = [step["seconds"] for step in restyle_psp["steps"]]
    assert seconds == sorted(seconds)
    assert restyle_psp["best"]["l2"] == min(step["l2"] for step in restyle_psp["steps"])
    assert restyle_psp["peak_memory_mb"] > 10
    assert len(table()) == 5 * 3 + 5 * 2


def test_json_is_the_report(restyle: Run, faces: Path) -> None:
    result = restyle("eval", faces, "-m", PSP, *QUICK, "--json")
    assert json.loads(result.stdout) == report()


def test_the_numbers_are_those_of_inverting_and_measuring_by_hand(restyle: Run, faces: Path) -> None:
    restyle("eval", faces, "-m", f"{RESTYLE}:2", *QUICK, "-b", 1)
    found = table()
    l2, likeness = [], []
    for path in [*sorted(faces.glob("*.png")), faces / "sub/4.png"]:
        x = to_tensor(open_image(path), (256, 256))[None]
        images = invert(x, load_method(RESTYLE), 2).image_steps
        shown = [fit(displayed(images[k]), (256, 256)) for k in range(3)]
        l2.append([float((x - y).square().mean()) for y in shown])
        likeness.append([float(ms_ssim(x, y)) for y in shown])
        rows = [row for row in found if row["input"] == str(path)]
        assert [float(row["l2"]) for row in rows] == pytest.approx(l2[-1], rel=1e-5)
        assert [float(row["ms_ssim"]) for row in rows] == pytest.approx(likeness[-1], rel=1e-4)
    (method,) = report()["methods"]
    for key, values in (("l2", np.array(l2)), ("ms_ssim", np.array(likeness))):
        assert [step[key] for step in method["steps"]] == pytest.approx(values.mean(axis=0), rel=1e-4)
        errors = values.std(axis=0, ddof=1) / np.sqrt(5)
        assert method["stderr"][key] == pytest.approx(errors, rel=1e-3)


def test_chains_are_methods_too(restyle: Run, faces: Path) -> None:
    restyle("eval", faces, "--methods", f"{PSP}; {PSP},{RESTYLE}:1", *QUICK)
    names = [method["name"] for method in report()["methods"]]
    assert names == [PSP, f"{PSP}:1,{RESTYLE}:1"]
    first, chained = report()["methods"]
    assert chained["steps"][1]["l2"] == first["steps"][1]["l2"]
    assert chained["steps"][2]["method"] == RESTYLE


def test_the_protocol(restyle: Run, faces: Path) -> None:
    restyle("eval", faces, "-m", f"{RESTYLE}:1")
    protocol = report()["protocol"]
    assert {"resize", "range", "framing", "seconds", "peak_memory", "statistics", "machine"} < set(protocol)
    assert [metric["name"] for metric in protocol["metrics"]] == ["l2", "lpips", "ms_ssim", "id/dlib"]
    networks = {network["name"]: network for network in protocol["networks"]}
    assert set(networks) == {RESTYLE, "portrait", "lpips-alex", "dlib"}
    assert networks["portrait"]["licence_weights"] == "MIT"
    assert len(networks["dlib"]["sha256"]) == 64
    assert [one["name"] for one in protocol["missing"]] == ["fid"]
    step = report()["methods"][0]["steps"][-1]
    assert step["fid"] is None
    assert {"id/dlib", "lpips"} < set(step)
    assert "torch" in protocol["versions"]
    assert "BSD 2-clause (LPIPS)" in (OUT / "report.html").read_text()


def test_the_page_is_self_contained(restyle: Run, faces: Path) -> None:
    (faces / "broken <b>.png").write_text("not an image")
    command = ("eval", faces, "-n", 1, "--metrics", "l2,id/dlib")
    restyle(*command)
    page = (OUT / "report.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=.(?!data:image/jpeg;base64,|#)", page)
    assert page.count("<svg") == 1
    assert page.count("data:image/jpeg") == 2 * 5
    assert "broken &lt;b&gt;.png" in page
    assert "<b>.png" not in page
    for text in ("dlib&#x27;s 128 numbers", "CC0 1.0", "is not an image", "best by L2", "worst by L2"):
        assert text in page
    again = (OUT / "report.html").read_bytes()
    restyle(*command)
    assert (OUT / "report.html").read_bytes() == again  # also the curves, to the byte


# --- pairs


def test_equal_folders(restyle: Run, faces: Path) -> None:
    shutil.copytree(faces, "same")
    result = restyle("eval", faces, "--against", "same", "--json")
    assert result.exit_code == 0
    (pairs,) = json.loads(result.stdout)["methods"]
    (step,) = pairs["steps"]
    assert (step["l2"], step["ms_ssim"], step["id/dlib"], step["id/dlib-distance"]) == (0, 1, 1, 0)
    assert (pairs["chain"], step["seconds"], pairs["stderr"]["l2"]) == (None, None, [0])


def test_pairs_have_the_librarys_numbers(restyle: Run, faces: Path) -> None:
    for path in faces.rglob("*.png"):
        grey = Image.open(path).convert("L")
        save_image(grey.resize((256, 256)).convert("RGB"), Path("a") / path.name)
        save_image(grey.resize((256, 256)).point(lambda v: v * 0.9).convert("RGB"), Path("b") / path.name)
    restyle("eval", "a", "--against", "b", *QUICK)
    rows = table()
    assert len(rows) == 5
    for row in rows:
        name = Path(row["input"]).name
        x, y = (to_tensor(Image.open(Path(folder) / name))[None] for folder in "ab")
        assert float(row["ms_ssim"]) == pytest.approx(float(pytorch_msssim.ms_ssim(x, y, data_range=2)), abs=1e-5)
        assert float(row["l2"]) == pytest.approx(float(torch.nn.functional.mse_loss(x, y)), rel=1e-6)


def test_suffixes_may_differ_and_images_without_a_pair_are_counted(restyle: Run, faces: Path) -> None:
    for path in faces.rglob("*.png"):
        save_image(open_image(path), Path("other") / path.relative_to(faces).with_suffix(".webp"))
    save_image(random_image(9), Path("other/0.strip.png"))
    result = restyle("eval", faces, "--against", "other", "--metrics", "l2")
    assert result.exit_code == 0
    assert "images in 'other' without a counterpart, left out: 1" in result.stderr
    assert report()["images"] == 5


def test_folders_that_do_not_pair(restyle: Run, faces: Path) -> None:
    shutil.copytree(faces, "other")
    Path("other/3.png").unlink()
    Path("other/sub/4.png").unlink()
    result = restyle("eval", faces, "--against", "other", *QUICK)
    assert result.exit_code == 1
    error, hint = result.stderr.splitlines()
    assert error == "error: 'other' has no image for 'faces/3.png'"
    assert "same names" in hint
    assert not OUT.exists()
    save_image(random_image(3), Path("other/3.webp"))
    save_image(random_image(3), Path("other/3.bmp"))
    assert "more than one image for 'faces/3.png'" in restyle("eval", faces, "--against", "other", *QUICK).stderr


def test_two_files_are_a_pair(restyle: Run, faces: Path) -> None:
    result = restyle("eval", faces / "0.png", "--against", faces / "1.png", *QUICK, "--json")
    assert json.loads(result.stdout)["images"] == 1
    assert restyle("eval", faces, "--against", faces / "1.png", *QUICK).exit_code == 2


# --- resuming


@pytest.mark.parametrize("batch", [1, 3])
def test_an_interrupted_run_continues_to_the_same_report(
    restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    (faces / "2 broken.png").write_text("not an image")
    command = ("eval", faces, "-n", 2, *QUICK, "-b", batch, "-q")
    restyle(*command, "-o", "whole")
    add, added = Journal.add, []

    def killed(self: Journal, values: Any) -> None:
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(values)
        add(self, values)

    monkeypatch.setattr(Journal, "add", killed)
    result = restyle(*command)
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr
    with (OUT / "journal.jsonl").open("ab") as file:
        file.write(b'{"schedule": "restyle')  # a line that was not finished

    stepped = []
    step = ReStyle.step
    monkeypatch.setattr(ReStyle, "step", lambda self, x, state: (stepped.append(len(x)), step(self, x, state))[1])
    monkeypatch.setattr(Journal, "add", add)
    restyle(*command)
    assert without_times(report()) == without_times(report(Path("whole")))
    same = [[{k: v for k, v in row.items() if k != "seconds"} for row in table(at)] for at in (OUT, Path("whole"))]
    assert same[0] == same[1]
    batches = -(-6 // batch)
    assert len(stepped) < 2 * batches  # with two steps each, and one to warm up

    before = (OUT / "journal.jsonl").read_bytes()
    stepped.clear()
    restyle(*command)
    assert stepped == []  # everything is in the journal
    assert (OUT / "journal.jsonl").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_run_that_was_killed(restyle: Run, faces: Path, tiny_store: Path) -> None:
    code = f"""
import time
from pathlib import Path
from restyle_cli.store import fetch
fetch.embedded_folder = lambda: Path({str(tiny_store)!r})
from restyle_cli.methods.encoder import ReStyle
step = ReStyle.step
ReStyle.step = lambda *args: (time.sleep(0.3), step(*args))[1]
from restyle_cli.cli.app import app
app(["eval", "faces", "-m", {RESTYLE!r}, "-n", "2", "--metrics", "l2,ms_ssim", "-b", "1"])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(restyle_cli.__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    journal, deadline = OUT / "journal.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and (not journal.exists() or journal.read_bytes().count(b"\n") < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert 3 <= journal.read_bytes().count(b"\n") < 6
    assert not (OUT / "report.json").exists()
    command = ("eval", faces, "-m", RESTYLE, "-n", 2, *QUICK, "-b", 1, "-q")
    restyle(*command)
    restyle(*command, "-o", "whole")
    assert without_times(report()) == without_times(report(Path("whole")))


def test_new_images_are_added_and_changed_ones_measured_again(restyle: Run, faces: Path) -> None:
    command = ("eval", faces, "-m", PSP, *QUICK, "-q", "-b", 1)
    restyle(*command)
    save_image(random_image(20), faces / "0.png", aligned_mark())
    save_image(random_image(21), faces / "5.png", aligned_mark())
    (faces / "1.png").unlink()
    restyle(*command)
    restyle(*command, "-o", "fresh")
    assert report()["images"] == 5
    rows = [{(r["input"], r["step"]): (r["l2"], r["sha256"]) for r in table(at)} for at in (OUT, Path("fresh"))]
    assert rows[0] == rows[1]
    mean, fresh = (r["methods"][0]["steps"][1]["l2"] for r in (report(), report(Path("fresh"))))
    assert mean == pytest.approx(fresh, rel=1e-12)  # summed in another order


def test_the_report_of_another_run_is_kept_without_overwrite(restyle: Run, faces: Path) -> None:
    restyle("eval", faces, "-m", PSP, *QUICK, "-q")
    before = (OUT / "report.html").read_bytes()
    for options, message in ((("-m", RESTYLE), "other methods"), (("-m", PSP, "-b", 1), "another batch size")):
        result = restyle("eval", faces, *options, *QUICK)
        assert result.exit_code == 1
        error, hint = result.stderr.splitlines()
        assert error == f"error: 'restyle-out/eval' has the report of another run: it has {message}"
        assert "--overwrite" in hint
        assert (OUT / "report.html").read_bytes() == before
    assert restyle("eval", faces, "-m", RESTYLE, *QUICK, "--overwrite", "-q").exit_code == 0
    assert [method["name"] for method in report()["methods"]] == [RESTYLE]


def test_a_file_of_the_user_is_not_overwritten(restyle: Run, faces: Path) -> None:
    OUT.mkdir(parents=True)
    (OUT / "images.csv").write_text("mine")
    result = restyle("eval", faces, *QUICK)
    assert result.exit_code == 1
    assert "'restyle-out/eval/images.csv' already exists" in result.stderr
    assert (OUT / "images.csv").read_text() == "mine"


# --- many images


def test_few_images_are_in_memory_at_a_time(restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = random_image(0, 16)
    for index in range(120):
        save_image(one, here / f"many/{index:03d}.png")
    alive, most = [0], [0]
    read = run_module.to_tensor

    def counted(*arguments: Any) -> torch.Tensor:
        image = read(*arguments)
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(image, lambda: alive.__setitem__(0, alive[0] - 1))
        return image

    monkeypatch.setattr(run_module, "to_tensor", counted)
    restyle("eval", "many", "--against", "many", "--metrics", "l2", "-b", 4, "-q")
    assert report()["images"] == 120
    assert 0 < most[0] <= 2 * 20  # a batch being measured, one being gathered, two ahead
    assert alive[0] == 0


def test_faces_are_searched_once_for_all_methods(restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("skimage.data")
    Path("photos").mkdir()
    Image.fromarray(data.astronaut()).resize((256, 256)).save("photos/astronaut.png")
    searches = []
    find = align_module.find_faces
    monkeypatch.setattr(align_module, "find_faces", lambda photo: (searches.append(1), find(photo))[1])
    restyle("eval", "photos", "-m", f"{PSP},{RESTYLE}:1", *QUICK, "-q")
    assert len(searches) == 1
    first, second = report()["methods"]
    assert first["steps"][0]["l2"] == second["steps"][0]["l2"]  # of one average image against the same crop


# --- bad input


def test_broken_files_are_skipped_and_counted(restyle: Run, faces: Path) -> None:
    (faces / "text.jpg").write_text("not an image")
    (faces / "empty.png").write_bytes(b"")
    (faces / "notes.txt").write_text("not even named as one")
    result = restyle("eval", faces, *QUICK, "-n", 1)
    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 2
    assert "5 images, 2 skipped" in result.stdout
    reasons = {skip["input"]: skip["reason"] for skip in report()["skipped"]}
    assert set(reasons) == {"faces/text.jpg", "faces/empty.png"}
    assert "is empty" in reasons["faces/empty.png"]
    assert [method["images"] for method in report()["methods"]] == [5, 5]


def test_a_black_image(restyle: Run, here: Path) -> None:
    Path("dark").mkdir()
    Image.new("RGB", (64, 64)).save("dark/black.png")
    result = restyle("eval", "dark", "-m", PSP)
    assert result.exit_code == 1
    assert "no face found in 'dark/black.png'" in result.stderr
    assert "no image could be measured" in result.stderr
    assert not (OUT / "report.json").exists()
    result = restyle("eval", "dark", "-m", PSP, "--align", "never", "-o", "out")
    assert result.exit_code == 0
    (method,) = report(Path("out"))["methods"]
    assert all(0 <= step["l2"] <= 4 and 0 <= step["ms_ssim"] <= 1 for step in method["steps"])
    assert method["stderr"]["l2"] == [None, None]  # of one image


def test_a_method_that_produces_nan(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = ReStyle._generate

    def produce_nan(self: ReStyle, w: torch.Tensor, patch: Any = None) -> Any:
        return generate(self, w * float("nan"), patch)

    monkeypatch.setattr(ReStyle, "_generate", produce_nan)
    result = restyle("eval", faces, "-n", 1, *QUICK)
    assert result.exit_code == 1
    assert f"{RESTYLE} produced NaN for 'faces/0.png'" in result.stderr
    assert "--precision fp32" in result.stderr
    failed, fine = report()["methods"]
    assert (failed["images"], failed["best"], failed["steps"][1]["l2"]) == (0, None, None)
    assert fine["images"] == report()["images"] == 5
    assert {skip["method"] for skip in report()["skipped"]} == {RESTYLE}
    assert "5 for restyle-psp-portrait" in (OUT / "report.html").read_text()


def test_too_little_memory(restyle: Run, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*arguments: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ReStyle, "step", out_of_memory)
    result = restyle("eval", faces, "-m", RESTYLE, *QUICK, "-b", 2)
    assert result.exit_code == 1
    assert "--batch-size 1" in result.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--metrics", "id/curricularface"), 1, "weights get curricularface"),
        (("--metrics", "fid"), 1, "Inception"),
        (("--metrics", "lpps"), 2, "did you mean 'lpips'"),
        (("--methods", "psp-portrat"), 1, "did you mean 'psp-portrait'"),
        (("--methods", f"{PSP}:3"), 2, "one step"),
        (("--methods", f"{PSP},"), 2, "has an empty name"),
        (("--against", "faces", "--methods", PSP), 2, "--against"),
        (("--against", "nowhere"), 1, "'nowhere'"),
        (("-n", 0), 2, "between 1 and 10000"),
    ],
)
def test_wrong_usage(restyle: Run, faces: Path, options: tuple[object, ...], status: int, message: str) -> None:
    result = restyle("eval", faces, *options)
    assert result.exit_code == status
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not OUT.exists()


def test_nothing_to_measure(restyle: Run, here: Path) -> None:
    Path("nothing").mkdir()
    result = restyle("eval", "nothing")
    assert result.exit_code == 1
    assert "no images in the folder 'nothing'" in result.stderr
    assert not OUT.exists()
