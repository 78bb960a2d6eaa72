"""`restyle convert` from the outside, on small files in the forms of other projects."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foreign
import pytest
import tiny
import torch
from commands import Run
from typer.testing import Result

from restyle_cli.models import load_method
from restyle_cli.store import catalog, files
from restyle_cli.store.files import read_header, read_module, sha256
from restyle_cli.store.legacy.rosinality import to_rosinality

ROUNDING = 1e-5
"""Of the same numbers elsewhere in memory, which can be added up in another order."""


@pytest.fixture
def here(tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `a.pt` and `b.pt`, two encoders with one decoder, and `net.pkl`, that decoder alone."""
    monkeypatch.chdir(tmp_path)
    draws = foreign.generator()
    for name, seed in (("a", 1), ("b", 2)):
        content = foreign.checkpoint(draws, foreign.encoder(seed), encoder_type="BackboneEncoder")
        torch.save(content, f"{name}.pt")
    foreign.write_nvidia(Path("net.pkl"), foreign.nvidia_state(draws))
    return tmp_path


def networks(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)["networks"]


def test_encoder_and_decoder_are_written_apart(restyle: Run, here: Path) -> None:
    result = restyle("convert", "a.pt", "nets/")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows[1:3]] == [
        ["encoder", "nets/a.safetensors"],
        ["generator", "nets/a-generator.safetensors"],
    ]
    assert all(float(row[-1]) < ROUNDING for row in rows[1:3])
    assert "licence: unknown" in result.stdout
    x = torch.rand(1, 3, 256, 256)
    before, after = load_method("a.pt"), load_method("nets/a.safetensors")
    assert (after.step(x, after.start(x)).image - before.step(x, before.start(x)).image).abs().max() < ROUNDING


def test_headers_tell_what_and_from_where(restyle: Run, here: Path) -> None:
    restyle("convert", "a.pt", "nets/")
    header = read_header(Path("nets/a.safetensors"))
    assert (header["family"], header["config"]["styles"]) == ("restyle", foreign.STYLES)
    assert header["extra"]["method"] == "restyle-psp"
    assert header["extra"]["generator"] == "a-generator"
    for name in ("a", "a-generator"):
        extra = read_header(Path(f"nets/{name}.safetensors"))["extra"]
        assert extra["source"] == {"name": "a.pt", "sha256": sha256(Path("a.pt"))}
        assert extra["licence"].startswith("unknown")


def test_a_published_file_has_its_licence_and_latent_space(restyle: Run, here: Path) -> None:
    Path("a.pt").rename("restyle_psp_ffhq_encode.pt")
    entry = catalog.find("restyle-psp-ffhq")
    assert "NVIDIA" in entry.licence_weights or entry.commercial == "no"
    result = restyle("convert", "restyle_psp_ffhq_encode.pt", "x.safetensors", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["licence"].endswith(f"commercial use: {entry.commercial}")
    extra = read_header(Path("x-generator.safetensors"))["extra"]
    assert entry.licence_weights in extra["licence"]
    assert extra["published_space"] == "stylegan2-ffhq"


def test_a_file_with_the_name_of_another_has_not_its_licence(
    restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [dataclasses.replace(entry, sha256="0" * 64) for entry in catalog.entries()]
    monkeypatch.setattr(catalog, "entries", lambda: known)
    Path("a.pt").rename("restyle_psp_ffhq_encode.pt")
    assert "licence: unknown" in restyle("convert", "restyle_psp_ffhq_encode.pt", "x").stdout


def test_a_generator_that_is_there_is_shared(restyle: Run, here: Path) -> None:
    restyle("convert", "a.pt", "nets/")
    second = networks(restyle("convert", "b.pt", "nets/", "--json"))
    assert [network["shared"] for network in second] == [False, True]
    assert second[1]["file"] == "nets/a-generator.safetensors"
    assert sorted(path.name for path in Path("nets").iterdir()) == [
        "a-generator.safetensors", "a.safetensors", "b.safetensors"
    ]  # fmt: skip
    assert read_header(Path("nets/b.safetensors"))["extra"]["generator"] == "a-generator"
    x = torch.rand(1, 3, 256, 256)
    before, after = load_method("b.pt"), load_method("nets/b.safetensors")
    assert (after.step(x, after.start(x)).image - before.step(x, before.start(x)).image).abs().max() < ROUNDING
    # Another generator, or another precision, is not the same.
    torch.save(foreign.checkpoint(foreign.generator(7), foreign.encoder(), encoder_type="BackboneEncoder"), "c.pt")
    assert [n["shared"] for n in networks(restyle("convert", "c.pt", "nets/", "--json"))] == [False, False]
    assert [n["shared"] for n in networks(restyle("convert", "a.pt", "nets/h", "--half", "--json"))] == [False, False]


def test_half_is_half_and_says_how_far_it_is(restyle: Run, here: Path) -> None:
    whole = networks(restyle("convert", "net.pkl", "whole", "--json"))[0]
    half = networks(restyle("convert", "net.pkl", "half", "--half", "--json"))[0]
    assert half["bytes"] < 0.6 * whole["bytes"]
    assert whole["difference"] < ROUNDING
    draws, stored = foreign.generator(), read_module(Path("half.safetensors"))
    assert 0 < half["difference"] < 0.05
    assert 0 < (draws(draws.start(1)) - stored(draws.start(1))).abs().max() < 0.05


def test_a_difference_that_is_there_is_told(restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(path: Path, module: Any, *rest: Any, write: Callable[..., None] = files.write_module) -> None:
        module.const.add_(0.25)
        write(path, module, *rest)
        module.const.sub_(0.25)

    monkeypatch.setattr("restyle_cli.store.convert.write_module", spoiled)
    assert networks(restyle("convert", "net.pkl", "x", "--json"))[0]["difference"] > 1e-3


def test_numbers_beyond_half_precision_are_refused(restyle: Run, here: Path) -> None:
    draws = foreign.generator()
    draws.convs[2].bias.fill_(1e5)
    torch.save(to_rosinality(draws), "big.pt")
    result = restyle("convert", "big.pt", "big", "--half")
    assert result.exit_code == 1
    assert "half precision" in result.stderr
    assert not Path("big.safetensors").exists()


def test_back_to_rosinality(restyle: Run, here: Path) -> None:
    result = restyle("convert", "a.pt", "back.pt", "--to", "rosinality", "--json")
    assert networks(result)[0]["difference"] < ROUNDING
    expected, content = to_rosinality(foreign.generator()), torch.load("back.pt", weights_only=True)
    assert content.keys() == expected.keys() == {"g_ema", "latent_avg"}
    assert content["g_ema"].keys() == expected["g_ema"].keys()
    assert all(torch.equal(content["g_ema"][key], value) for key, value in expected["g_ema"].items())
    assert "channel table" in result.stderr


def test_our_own_networks_by_name(restyle: Run, here: Path) -> None:
    result = restyle("convert", "portrait", "portrait.pt", "--to", "rosinality", "-q", "--json")
    assert networks(result)[0]["difference"] < ROUNDING
    draws, read = tiny.generator(), read_module(Path("portrait.pt"))
    assert (read(draws.start(2)) - draws(draws.start(2))).abs().max() < ROUNDING
    assert result.stderr == ""
    networks(restyle("convert", "restyle-psp-portrait", "copy.safetensors", "--half", "--json"))
    assert read_header(Path("copy.safetensors"))["extra"]["generator"] == "portrait"


def test_nothing_is_replaced_unasked(restyle: Run, here: Path) -> None:
    Path("x.safetensors").write_text("mine")
    result = restyle("convert", "net.pkl", "x.safetensors")
    assert result.exit_code == 1
    assert "exists already" in result.stderr and "--overwrite" in result.stderr
    assert Path("x.safetensors").read_text() == "mine"
    Path("y.safetensors").write_text("mine")
    assert restyle("convert", "a.pt", "y").exit_code == 1
    assert not Path("y-generator.safetensors").exists()  # looked at before anything was written
    assert restyle("convert", "net.pkl", "x.safetensors", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.pt", "x"), "no file or model 'nowhere.pt'"),
        (("text.pt", "x"), "text.pt"),
        (("psp-portrait", "x.pt", "--to", "rosinality"), "contains no generator"),
        (("portrait", "x.pt", "--to", "rosinality", "--half"), "cannot be combined"),
        (("net.pkl", "text.pt/"), "cannot write to 'text.pt"),
        (("net.pkl", "x", "--to", "tensorflow"), "tensorflow"),
    ],
)
def test_what_cannot_be_converted(restyle: Run, here: Path, arguments: tuple[str, ...], said: str) -> None:
    Path("text.pt").write_text("not a network")
    result = restyle("convert", *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert not list(Path().glob("x*"))


# --- what cannot be read or written


@pytest.fixture
def little_space() -> Iterator[None]:
    """No file can grow beyond 30 kB: the real error of writing, which torch's own writer hides."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("arguments", [("--to", "rosinality"), (), ("--half",)])
def test_too_little_space(restyle: Run, here: Path, little_space: None, arguments: tuple[str, ...]) -> None:
    result = restyle("convert", "net.pkl", "out/x.pt", *arguments)
    assert result.exit_code == 1
    message, hint = result.stderr.splitlines()
    assert "cannot write 'out/x." in message and "file too large" in message
    assert "free some space, or name another folder or file" in hint and "--output" not in hint
    assert list(Path("out").iterdir()) == []


def test_a_full_disk_leaves_neither_of_two_networks(restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []

    def write(path: Path, data: bytes, whole: Callable[..., int] = Path.write_bytes) -> int:
        files.append(path)
        if len(files) == 1:
            return whole(path, data)
        whole(path, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", write)
    result = restyle("convert", "a.pt", "nets/")
    assert result.exit_code == 1
    assert "cannot write 'nets/a" in result.stderr and "no space left on device" in result.stderr
    assert len(files) == 2 and list(Path("nets").iterdir()) == []


@pytest.mark.parametrize("command", [("convert",), ("weights", "add")])
def test_inputs_that_cannot_be_read(
    restyle: Run, here: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    Path("folder").mkdir()
    Path("empty.pt").touch()
    os.mkfifo("pipe")
    Path("nowhere").symlink_to("missing.pt")
    target = ("out",) if command == ("convert",) else ()
    for name, said in (
        ("folder", "'folder' is a folder"),
        ("empty.pt", "'empty.pt' is empty"),
        ("pipe", "'pipe' is not a regular file"),
        ("nowhere", "no such file"),
        ("x" * 300, "x" * 300),
    ):
        result = restyle(*command, name, *target)
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) <= 2

    def opened(path: Path, *arguments: Any, whole: Callable[..., Any] = Path.open, **options: Any) -> Any:
        if path.name == "a.pt":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    result = restyle(*command, "a.pt", *target)
    assert result.exit_code == 1
    assert "'a.pt' cannot be read: permission denied" in result.stderr
    assert not Path("out").exists()


def test_values_that_are_none_are_not_blamed_on_half_precision(restyle: Run, here: Path) -> None:
    content = to_rosinality(foreign.generator())
    content["g_ema"]["convs.1.conv.weight"].view(-1)[0] = float("nan")
    torch.save(content, "nan.pt")
    for more in ((), ("--half",)):
        result = restyle("convert", "nan.pt", "out", *more)
        assert result.exit_code == 1
        assert "'nan.pt' cannot be used: the tensor 'convs.1.conv.weight' contains NaN" in result.stderr
        assert "half precision" not in result.stderr.splitlines()[0]
