"""Methods and metrics of other packages: the page of the guide, installed and run from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from typer.testing import Result

import restyle_cli
from restyle_cli.align import aligned_mark
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image, to_image
from restyle_cli.methods import METHODS
from restyle_cli.metrics import METRICS
from restyle_cli.registry import Registry

Run = Callable[..., Result]
PAGE = Path(restyle_cli.__file__).parents[1] / "docs" / "write-your-own-method.md"


def files_of_the_page() -> dict[str, str]:
    """The files that the page shows, by name."""
    blocks = re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return dict(blocks)


def install(folder: Path, name: str, entry_points: dict[str, dict[str, str]]) -> None:
    """What pip writes for a package `name` in a folder of the import path."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the import path for packages of others; it is searched anew in each test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    registries: list[Registry[object]] = [METHODS, METRICS]
    for registry in registries:
        vars(registry).pop("_plugins", None)
    yield folder
    for registry in registries:
        vars(registry).pop("_plugins", None)
    for module in ("restyle_momentum", "restyle_half"):
        sys.modules.pop(module, None)


@pytest.fixture
def page(site: Path) -> Path:
    """The package of the page, installed."""
    files = files_of_the_page()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    for name in ("restyle_momentum.py", "restyle_half.py"):
        (site / name).write_text(files[name], encoding="utf-8")
    points = project["entry-points"]
    points["restyle.methods"]["half-steps"] = "restyle_half:HalfSteps"
    install(site, project["name"], points)
    return site


@pytest.fixture
def face(tmp_path: Path) -> Path:
    """A crop as `restyle align` writes it."""
    path = tmp_path / "faces" / "face.png"
    path.parent.mkdir()
    generator = tiny.generator()
    save_image(to_image(generator(generator.start(1) + 0.5)[0]), path, aligned_mark())
    return path


def test_the_method_of_the_page_inverts(restyle: Run, page: Path, tiny_store: Path, face: Path, tmp_path: Path) -> None:
    done = restyle("invert", face, "-m", "momentum", "-n", 4, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    steps = json.loads(done.stdout)["images"][0]["steps"]
    assert [step["method"] for step in steps] == ["start", *["momentum-portrait"] * 4]
    assert steps[-1]["l2"] < steps[0]["l2"]
    via = "restyle-psp-toon:1,momentum:2,half-steps-portrait:1"
    chain = restyle("invert", face, "--via", via, "-o", tmp_path / "chain", "--json")
    assert chain.exit_code == 0, chain.stderr
    methods = [step["method"] for step in json.loads(chain.stdout)["images"][0]["steps"]]
    assert methods == ["start", "restyle-psp-toon", "momentum", "momentum", "half-steps-portrait"]


def test_the_metric_of_the_page_measures(
    restyle: Run, page: Path, tiny_store: Path, face: Path, tmp_path: Path
) -> None:
    options = ("-m", "momentum:2,psp-portrait", "--metrics", "l2,brightness", "-o", tmp_path / "out", "--json")
    done = restyle("eval", face.parent, *options)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert [one["name"] for one in report["protocol"]["metrics"]] == ["l2", "brightness"]
    assert [one["name"] for one in report["methods"]] == ["momentum-portrait", "psp-portrait"]
    assert "brightness" in done.stdout


def test_they_are_listed_and_described(restyle: Run, page: Path, tiny_store: Path) -> None:
    found = {one["name"]: one for one in json.loads(restyle("methods", "--json").stdout)["methods"]}
    assert found["momentum"]["description"] == "gradient descent with momentum on the latent"
    assert found["momentum"]["installed"] == ["momentum-portrait", "momentum-toon"]
    assert found["half-steps"]["installed"] == ["half-steps-portrait", "half-steps-toon"]
    shown = restyle("methods", "momentum").stdout
    assert "restyle-momentum 1.0" in shown and "20 by default" in shown


def test_a_near_name_is_found(page: Path, tiny_store: Path) -> None:
    with pytest.raises(RestyleError) as caught:
        restyle_cli.load("momentun")
    assert "did you mean 'momentum'?" in str(caught.value.hint)


def test_a_method_of_another_package_from_python(page: Path, tiny_store: Path, face: Path) -> None:
    method = restyle_cli.load("half-steps-portrait")
    result = restyle_cli.invert(face, method, steps=2)
    assert [step.method for step in result.steps] == ["start", "half-steps-portrait", "half-steps-portrait"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("Broken = dict", "is not a subclass of restyle_cli.inversion.Method"),
        ("", "has no attribute 'Broken'"),
        ("raise ValueError('two\\nlines')", "ValueError: two"),
    ],
)
def test_a_broken_package_is_left_out(restyle: Run, site: Path, tiny_store: Path, code: str, reason: str) -> None:
    (site / "broken.py").write_text(code)
    sys.modules.pop("broken", None)
    install(site, "broken-package", {"restyle.methods": {"broken": "broken:Broken"}})
    listed = restyle("methods", "--json")
    assert listed.exit_code == 0
    assert "broken" not in [one["name"] for one in json.loads(listed.stdout)["methods"]]
    (line,) = listed.stderr.splitlines()
    assert line.startswith("warning: the method 'broken' of the package 'broken-package' cannot be loaded: ")
    assert reason in line
    used = restyle("methods", "broken")
    assert used.exit_code == 1 and reason in used.stderr and "Traceback" not in used.stderr
    sys.modules.pop("broken", None)


def test_a_name_that_is_taken_is_refused(restyle: Run, page: Path, tiny_store: Path) -> None:
    points = {"restyle.methods": {"pti": "restyle_half:HalfSteps", "hybrid": "restyle_half:HalfSteps"}}
    install(page, "rival", points | {"restyle.metrics": {"l2": "restyle_momentum:Brightness"}})
    listed = restyle("methods", "--json")
    for name in ("pti", "hybrid"):
        assert f"the method '{name}' of the package 'rival' is ignored: the name is taken" in listed.stderr
    assert len(listed.stderr.splitlines()) == 2
    assert METHODS.load("pti").__module__ == "restyle_cli.methods.pti"
    assert METRICS.load("l2").__module__ == "restyle_cli.metrics.pixel"


def test_other_packages_cost_no_time(page: Path) -> None:
    """Help searches for none, and a built-in method imports none."""
    check = (
        "import sys; from restyle_cli.cli.app import app; from restyle_cli.methods import METHODS; "
        "METHODS.load('psp'); assert '_plugins' not in vars(METHODS); "
        "assert 'momentum' in METHODS; assert 'restyle_momentum' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(page)!r}); {check}"], check=True)
