"""`restyle methods`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import tiny
from commands import Run

from restyle_cli.align import aligned_mark
from restyle_cli.images import save_image, to_image
from restyle_cli.methods import CHAINS, METHODS
from restyle_cli.methods.spec import MEASURED, SPECS

READY = ["restyle-psp", "psp", "idinvert", "image2stylegan", "image2stylegan++", "projector", "pti", "hybrid"]
"""What the tiny networks serve."""


def test_methods_for_people(restyle: Run, tiny_store: Path) -> None:
    rows = restyle("methods").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [*METHODS.names(), *CHAINS]
    assert rows[0].endswith("restyle-psp-portrait, restyle-psp-toon")
    assert SPECS["restyle-psp"].summary in rows[0]


def test_methods_for_programs(restyle: Run, tiny_store: Path) -> None:
    found = {m["name"]: m for m in json.loads(restyle("methods", "--json").stdout)["methods"]}
    assert found["psp"]["installed"] == ["psp-portrait"]
    assert found["image2stylegan"]["installed"] == ["image2stylegan-portrait", "image2stylegan-toon"]
    assert found["hybrid"]["installed"] == ["hybrid-portrait", "hybrid-toon"]
    assert found["e4e"] == {"name": "e4e", "description": SPECS["e4e"].summary, "installed": []}


def test_what_is_not_installed_is_not_listed(restyle: Run, empty_store: Path) -> None:
    found = json.loads(restyle("methods", "--json").stdout)["methods"]
    assert [m["installed"] for m in found] == [[]] * len(found)


def test_a_page_for_people(restyle: Run, tiny_store: Path) -> None:
    shown = restyle("methods", "restyle-psp").stdout
    rows = {line[:10].strip(): line[12:] for line in shown.splitlines()}
    assert rows["paper"].startswith("Alaluf, Patashnik and Cohen-Or: ReStyle: ")
    assert rows["paper"].endswith(". ICCV 2021")
    assert rows["link"] == "https://arxiv.org/abs/2104.02699"
    assert rows["steps"] == "5 by default"
    assert rows["cost"].startswith("0.030 s per step, 0.1 s for 5") or rows["cost"].startswith(
        "0.030 s per step, 0.2 s"
    )
    assert rows["cost"].endswith(MEASURED)
    assert rows["licence"].startswith("MIT; NVIDIA non-commercial (generator); commercial use: no (restyle-psp-ffhq, ")
    assert rows["installed"] == "restyle-psp-portrait, restyle-psp-toon"
    assert "not measured" in restyle("methods", "alae").stdout
    assert "5,000 in the paper" in restyle("methods", "image2stylegan").stdout
    assert "always 1" in restyle("methods", "psp").stdout
    assert "the generator's licence applies" in restyle("methods", "pti").stdout


def test_a_page_for_programs(restyle: Run, tiny_store: Path) -> None:
    page = json.loads(restyle("methods", "idinvert", "--json").stdout)
    assert page["paper"]["year"] == 2020
    assert page["space"] == ["W+"]
    assert page["networks"] == ["encoder", "generator", "perceptual"]
    assert (page["default_steps"], page["seconds_per_step"]) == (100, SPECS["idinvert"].seconds)
    assert [one["name"] for one in page["published"]] == ["idinvert-ffhq", "idinvert-tower", "idinvert-bedroom"]
    assert {one["commercial"] for one in page["published"]} == {"no"}
    assert page["installed"] == ["idinvert-portrait"]


def test_no_page(restyle: Run, tiny_store: Path) -> None:
    wrong = restyle("methods", "ptti")
    assert wrong.exit_code == 1
    assert "no method named 'ptti'" in wrong.stderr and "did you mean 'pti'?" in wrong.stderr
    network = restyle("methods", "restyle-psp-ffhq")
    assert network.exit_code == 1
    assert "`restyle weights info restyle-psp-ffhq`" in network.stderr


@pytest.mark.parametrize("name", READY)
def test_examples_run(
    restyle: Run, name: str, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(to_image(tiny.generator()(tiny.generator().start(1))[0]), tmp_path / "photo.jpg.png", aligned_mark())
    (tmp_path / "photo.jpg.png").rename(tmp_path / "photo.jpg")
    command = re.sub(r"(:|-n )\d+", r"\g<1>2", SPECS[name].example)  # two steps are enough here
    done = restyle(*shlex.split(command)[1:], "--json")
    assert done.exit_code == 0, done.stderr
    methods = {step["method"] for step in json.loads(done.stdout)["images"][0]["steps"]}
    assert any(method == CHAINS.get(name, name) or method.startswith(CHAINS.get(name, name)) for method in methods)
