"""`restyle weights`: the catalog and the files, as people and as programs read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from misbehaving import FILE, Server, serving
from typer.testing import Result

from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry
from restyle_cli.store.files import write_module

SHA256 = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server; the networks called resnet34, arcface and stylegan2-church come from there."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RESTYLE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    known = {entry.name: entry for entry in catalog.entries()}
    with serving() as server:
        knows(known, "resnet34", sources=(server.address(),), sha256_begins=SHA256[:8])
        knows(known, "arcface", sources=(server.address("another"),), sha256=SHA256)
        knows(known, "stylegan2-church", sources=(server.address("quota"), server.address()))
        knows(known, "moco", sources=(server.address("slow"),))
        knows(known, "restyle-psp-church", sources=(server.address(),))
        monkeypatch.setattr(catalog, "_known", lambda: known)
        yield server


def knows(known: dict[str, Entry], name: str, **values: object) -> None:
    known[name] = replace(known[name], **values)


def test_list_without_files(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "list")
    titles, *rows = done.stdout.splitlines()
    assert titles.split() == ["name", "kind", "domain", "installed", "size", "licence", "commercial"]
    assert [row.split()[0] for row in rows] == [entry.name for entry in catalog.entries()]
    assert {row.split()[3] for row in rows if not row.startswith("dlib ")} == {"no"}


def test_list_with_files(restyle: Callable[..., Result], empty_store: Path) -> None:
    (empty_store / "portrait.safetensors").write_bytes(b"x" * 1_234_567)
    portrait = [row for row in restyle("weights", "list").stdout.splitlines() if row.startswith("portrait ")]
    assert portrait[0].split()[1:] == ["generator", "portrait", "bundled", "1.2", "MB", "MIT", "yes"]


def test_list_of_what_is_installed(restyle: Callable[..., Result], tiny_store: Path) -> None:
    (fetch.home() / "hyperstyle_ffhq.pt").write_bytes(b"x")
    rows = restyle("weights", "list", "--installed").stdout.splitlines()[1:]
    names = [row.split()[0] for row in rows]
    assert names == [entry.name for entry in catalog.entries() if fetch.installed(entry)]
    assert names[-1] == "hyperstyle-ffhq" and {path.stem for path in tiny_store.iterdir()} == set(names[:-1]) - {"dlib"}
    assert rows[-1].split()[3] == "yes"


def test_list_as_json(restyle: Callable[..., Result], tiny_store: Path) -> None:
    networks = json.loads(restyle("weights", "list", "--json").stdout)["networks"]
    assert [network["name"] for network in networks] == [entry.name for entry in catalog.entries()]
    portrait = networks[0]
    assert portrait["installed"] is True
    assert Path(portrait["path"]) == tiny_store / "portrait.safetensors"
    assert portrait["bytes"] == (tiny_store / "portrait.safetensors").stat().st_size
    assert portrait["licence_data"] == catalog.find("portrait").licence_data


def test_list_of_a_domain(restyle: Callable[..., Result]) -> None:
    done = restyle("weights", "list", "--domain", "portrait")
    assert len(done.stdout.splitlines()) == 1 + sum(e.domain == "portrait" for e in catalog.entries())
    wrong = restyle("weights", "list", "--domain", "ships")
    assert wrong.exit_code == 1
    assert "no models of domain 'ships'" in wrong.stderr
    assert "portrait" in wrong.stderr


def test_info_tells_what_the_file_says(restyle: Callable[..., Result], tiny_store: Path) -> None:
    done = restyle("weights", "info", "portrait")
    assert "family           stylegan2" in done.stdout
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line)
    assert rows["resolution"] == "32"
    assert rows["channels"] == "4: 8, 8: 8, 16: 8, 32: 8"
    assert "licence weights  MIT" in done.stdout
    values = json.loads(restyle("weights", "info", "restyle-psp-portrait", "--json").stdout)
    assert (values["family"], values["generator"]) == ("small", "portrait")
    assert values["config"]["input_channels"] == 6


def test_info_of_what_is_not_installed(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "info", "portrait")
    assert done.exit_code == 0
    assert "installed        no" in done.stdout
    assert "family" not in done.stdout


def test_info_tells_the_licences_and_where_it_comes_from(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "info", "stylegan2-ada-ffhq")
    rows = dict(line.split("  ", 1) for line in done.stdout.splitlines() if line)
    rows = {key: value.strip() for key, value in rows.items()}
    assert rows["licence code"] == rows["licence weights"] == "NVIDIA non-commercial"
    assert rows["licence data"] == "FFHQ: CC BY-NC-SA 4.0"
    assert (rows["commercial"], rows["installed"]) == ("no", "no")
    assert rows["sources"] == "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/ffhq.pkl"
    assert rows["sha256"].startswith("a205a346")
    assert "https://drive.google.com/file/d/" in restyle("weights", "info", "psp-ffhq").stdout


def test_info_of_a_damaged_file(restyle: Callable[..., Result], empty_store: Path) -> None:
    (empty_store / "portrait.safetensors").write_bytes(b"damaged, but longer than eight bytes")
    done = restyle("weights", "info", "portrait")
    assert done.exit_code == 1
    assert "portrait.safetensors' cannot be used" in done.stderr


def test_path(restyle: Callable[..., Result], tiny_store: Path) -> None:
    done = restyle("weights", "path", "psp-portrait")
    assert done.stdout == f"{tiny_store / 'psp-portrait.safetensors'}\n"
    assert done.stderr == ""


def test_path_of_what_is_not_installed(restyle: Callable[..., Result], empty_store: Path) -> None:
    done = restyle("weights", "path", "portrait")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is missing" in done.stderr


def test_unknown_name(restyle: Callable[..., Result]) -> None:
    for command in ("info", "path"):
        done = restyle("weights", command, "portrat")
        assert done.exit_code == 1
        assert "no model named 'portrat'" in done.stderr
        assert "did you mean 'portrait'?" in done.stderr


# --- get


def test_get(restyle: Callable[..., Result], server: Server) -> None:
    done = restyle("weights", "get", "resnet34")
    path = fetch.home() / "resnet34-333f7ec4.pth"
    assert (done.exit_code, done.stdout) == (0, f"resnet34: {path} (3.0 MB)\n")
    assert path.read_bytes() == FILE
    first, last = done.stderr.splitlines()
    assert first == "downloading resnet34: 3.0 MB from 127.0.0.1; licence: BSD 3-clause; commercial use: unclear"
    assert SHA256 in last
    again = restyle("weights", "get", "resnet34")
    assert (again.stdout, again.stderr) == (f"resnet34: {path} (already installed)\n", "")
    listed = json.loads(restyle("weights", "list", "--installed", "--json").stdout)["networks"]
    assert [network["sha256"] for network in listed if network["name"] == "resnet34"] == [SHA256]


def test_get_goes_on_after_a_failure(restyle: Callable[..., Result], server: Server) -> None:
    done = restyle("weights", "get", "arcface", "resnet34", "stylegan2-church", "--json", "--quiet")
    assert done.exit_code == 1
    values = json.loads(done.stdout)
    assert [(n["name"], n["status"]) for n in values["networks"]] == [
        ("arcface", "failed"),
        ("resnet34", "fetched"),
        ("stylegan2-church", "fetched"),
    ]
    assert values["failed"] == 1
    error, hint = done.stderr.splitlines()
    assert "'arcface' could not be downloaded: 127.0.0.1 sent another file" in error
    assert f"by hand from {server.address('another')} and then `restyle weights add FILE --as arcface`" in hint


def test_get_of_a_domain(restyle: Callable[..., Result], server: Server) -> None:
    values = json.loads(restyle("weights", "get", "--domain", "church", "--json").stdout)
    assert [network["name"] for network in values["networks"]] == ["restyle-psp-church"]
    assert "no domain named 'chuch'" in restyle("weights", "get", "--domain", "chuch").stderr


def test_get_of_a_domain_whose_generator_is_another_file(restyle: Callable[..., Result], tiny_store: Path) -> None:
    values = json.loads(restyle("weights", "get", "--domain", "portrait", "--json").stdout)
    assert [(n["name"], n["status"]) for n in values["networks"]] == [
        ("restyle-psp-portrait", "installed"),
        ("portrait", "installed"),
    ]


def test_get_offline(restyle: Callable[..., Result], server: Server) -> None:
    done = restyle("weights", "get", "resnet34", "--offline")
    assert done.exit_code == 1
    assert "downloads are forbidden" in done.stderr
    assert server.asked == []


def test_get_of_nothing(restyle: Callable[..., Result]) -> None:
    assert restyle("weights", "get").exit_code == 2
    assert "no model named 'resnet43'" in restyle("weights", "get", "resnet43").stderr


def test_get_interrupted(restyle: Callable[..., Result], server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("restyle_cli.cli.output._Lines.advance", interrupt)
    done = restyle("weights", "get", "moco")
    assert done.exit_code == 130
    assert "interrupted while downloading moco" in done.stderr
    assert "run the same command again to continue" in done.stderr
    assert list(fetch.home().glob("*.part"))


def test_a_transfer_shows_the_time_left(restyle: Callable[..., Result], server: Server, monkeypatch) -> None:
    monkeypatch.setattr("restyle_cli.cli.output.LINE_EVERY", 0.2)
    lines = restyle("weights", "get", "moco").stderr.splitlines()
    assert any(line.startswith("moco: ") and " MB of 3.0 MB, " in line and line.endswith(" s left") for line in lines)
    fetch.remove(catalog.find("moco"))
    assert restyle("weights", "get", "moco", "-q").stderr == ""


# --- add, verify, remove


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """An encoder's file that no catalog knows."""
    tiny.write_encoder(tmp_path / "mine.safetensors", "restyle-psp")
    return tmp_path / "mine.safetensors"


def test_add_makes_a_network_that_every_command_knows(
    restyle: Callable[..., Result], encoder: Path, tiny_store: Path
) -> None:
    done = restyle("weights", "add", encoder, "--as", "my-own")
    assert done.exit_code == 0
    name, path, digest = done.stdout.splitlines()
    assert name == "my-own: encoder (restyle-psp), added from mine.safetensors"
    assert Path(path).read_bytes() == encoder.read_bytes()
    assert digest == f"SHA-256 {hashlib.sha256(encoder.read_bytes()).hexdigest()}"
    assert restyle("weights", "path", "my-own").stdout.strip() == path
    assert "my-own" in restyle("weights", "list", "--domain", "portrait").stdout
    assert json.loads(restyle("weights", "info", "my-own", "--json").stdout)["commercial"] == "unclear"
    assert restyle("weights", "remove", "my-own").exit_code == 0
    assert "no model named 'my-own'" in restyle("weights", "info", "my-own").stderr


def test_an_added_network_inverts(
    restyle: Callable[..., Result], encoder: Path, tiny_store: Path, tmp_path: Path
) -> None:
    restyle("weights", "add", encoder, "--as", "my-own")
    restyle("samples", "-n", 1, "--size", 32, "-o", tmp_path / "faces")
    done = restyle("invert", tmp_path / "faces", "-m", "my-own", "-n", 1, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["chain"] == "my-own:1"


def test_chains_of_added_networks_warn_until_their_latent_space_is_stated(
    restyle: Callable[..., Result], tiny_store: Path, tmp_path: Path
) -> None:
    """Two encoders of one's own, each with a generator of its own."""
    for name, seed in (("faces", 0), ("cats", 5)):
        write_module(tmp_path / f"{name}-generator.safetensors", tiny.generator(seed), "stylegan2")
        tiny.write_encoder(tmp_path / f"{name}.safetensors", "restyle-psp", of=f"{name}-generator")
        restyle("weights", "add", tmp_path / f"{name}-generator.safetensors")
        restyle("weights", "add", tmp_path / f"{name}.safetensors")
    restyle("samples", "-n", 1, "--size", 32, "-o", tmp_path / "photos")
    options = (tmp_path / "photos", "-o", tmp_path / "out", "--json", "--overwrite")
    warning = "it is not known whether faces and cats share a latent space"
    for command in ("invert", "heatmap"):
        done = restyle(command, *options, "--via", "faces:1,cats:2")
        assert done.exit_code == 0, done.stderr
        assert warning in done.stderr
        (notice,) = json.loads(done.stdout)["notices"]
        assert notice.startswith(warning)
    done = restyle("eval", *options, "--via", "faces:1,cats:2", "--metrics", "l2")
    assert done.exit_code == 0, done.stderr
    assert any(notice.startswith(warning) for notice in json.loads(done.stdout)["notices"])
    for name in ("faces", "cats"):
        restyle("weights", "remove", f"{name}-generator")
        file = tmp_path / f"{name}-generator.safetensors"
        done = restyle("weights", "add", file, "--latent-space", "animals", "--json")
        assert json.loads(done.stdout)["latent_space"] == "animals"
    done = restyle("invert", *options, "--via", "faces:1,cats:2")
    assert done.exit_code == 0, done.stderr
    assert "not known" not in done.stderr
    assert json.loads(done.stdout)["notices"] == []


def test_a_network_named_outright_is_fetched_at_first_use(
    restyle: Callable[..., Result],
    server: Server,
    encoder: Path,
    tiny_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.file = encoder.read_bytes()
    known = {entry.name: entry for entry in catalog.entries()}
    knows(known, "restyle-psp-church", generator="portrait", holds_generator=False, latent_space="portrait")
    monkeypatch.setattr(catalog, "_known", lambda: known)
    restyle("samples", "-n", 1, "--size", 32, "-o", tmp_path / "faces")
    invert = ["invert", tmp_path / "faces", "-m", "restyle-psp-church", "-n", 1, "-o", tmp_path / "out"]
    refused = restyle(*invert, "--offline")
    assert refused.exit_code == 1
    assert "'restyle-psp-church' is not installed, and downloads are forbidden" in refused.stderr
    assert server.asked == []
    done = restyle(*invert)
    assert done.exit_code == 0
    assert "downloading restyle-psp-church: " in done.stderr
    assert "from 127.0.0.1; licence: MIT; NVIDIA non-commercial (generator); commercial use: no" in done.stderr
    assert "fetching" not in restyle(*invert, "--offline", "--overwrite").stderr


def test_add_refuses_names_of_methods(restyle: Callable[..., Result], encoder: Path) -> None:
    done = restyle("weights", "add", encoder, "--as", "restyle-psp")
    assert done.exit_code == 2
    assert "'restyle-psp' is the name of a method" in done.stderr


def test_add_of_something_else(restyle: Callable[..., Result], encoder: Path, tmp_path: Path) -> None:
    assert "no such file" in restyle("weights", "add", tmp_path / "missing.pt").stderr
    done = restyle("weights", "add", encoder, "--as", "stylegan2-ffhq")
    assert done.exit_code == 1
    assert "contains: encoder (restyle-psp); 'stylegan2-ffhq' is of kind generator" in done.stderr


def test_verify(restyle: Callable[..., Result], server: Server, empty_store: Path) -> None:
    restyle("weights", "get", "resnet34", "stylegan2-church", "-q")
    done = restyle("weights", "verify")
    assert done.exit_code == 0
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    assert sorted(name for name, _ in rows) == ["dlib", "resnet34", "stylegan2-church"]
    assert all(text.startswith("verified") and text.endswith(SHA256) for name, text in rows if name != "dlib")
    fetch.path_of(catalog.find("resnet34")).write_bytes(b"x")
    done = restyle("weights", "verify", "--json")
    assert done.exit_code == 1
    states = {network["name"]: network["status"] for network in json.loads(done.stdout)["networks"]}
    assert states == {"dlib": "good", "resnet34": "failed", "stylegan2-church": "good"}
    error, hint = done.stderr.splitlines()
    assert "'resnet34' is damaged or another file" in error
    assert "`restyle weights remove resnet34`, then `restyle weights get resnet34`" in hint


def test_verify_of_what_was_put_there_by_hand(restyle: Callable[..., Result], empty_store: Path) -> None:
    (fetch.home() / "hyperstyle_ffhq.pt").write_bytes(b"x")
    assert "SHA-256 recorded" in restyle("weights", "verify", "hyperstyle-ffhq").stdout
    assert "verified" in restyle("weights", "verify", "hyperstyle-ffhq").stdout
    assert "'psp-ffhq' is not installed" in restyle("weights", "verify", "psp-ffhq").stderr


def test_remove(restyle: Callable[..., Result], server: Server) -> None:
    restyle("weights", "get", "stylegan2-church", "-q")
    done = restyle("weights", "remove", "stylegan2-church", "--forget")
    assert done.stdout == "stylegan2-church: 3.0 MB freed\n"
    assert fetch.remembered(catalog.find("stylegan2-church")) is None
    done = restyle("weights", "remove", "stylegan2-church", "portrait")
    assert done.exit_code == 1
    assert "'stylegan2-church' is not installed" in done.stderr
    assert "'portrait' is bundled with restyle" in done.stderr


def test_models_of_others_networks_are_no_networks(restyle: Callable[..., Result], tiny_store: Path) -> None:
    for name, method in (("pti-portrait", "pti"), ("hybrid-toon", "hybrid"), ("idinvert-portrait", "idinvert")):
        told = restyle("weights", "info", name)
        assert told.exit_code == 1
        assert f"'{name}' has no file of its own" in told.stderr
        assert f"`restyle methods {method}`" in told.stderr
