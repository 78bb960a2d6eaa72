"""Adding the user's own files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import parity
import pytest
import tiny

from restyle_cli.errors import RestyleError
from restyle_cli.store import adding, catalog, fetch
from restyle_cli.store.catalog import Entry
from restyle_cli.store.files import sha256, write_latent, write_module


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """An encoder for drawn portraits that is not installed."""
    path = tmp_path / "My Encoder.safetensors"
    tiny.write_encoder(path, "restyle-psp")
    return path


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry of the catalog that `encoder` may be."""
    entry = replace(catalog.find("restyle-psp-ffhq"), file="net.safetensors")
    known = {**{e.name: e for e in catalog.entries()}, entry.name: entry}
    monkeypatch.setattr(catalog, "entries", lambda: list(known.values()))
    return entry


def knows(monkeypatch: pytest.MonkeyPatch, entry: Entry) -> None:
    known = {**{e.name: e for e in catalog.entries()}, entry.name: entry}
    monkeypatch.setattr(catalog, "entries", lambda: list(known.values()))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    write_latent(tmp_path / "w.safetensors", {"w": tiny.generator().w_avg}, {})
    with pytest.raises(RestyleError, match="contains a latent, not a model"):
        adding.add(tmp_path / "w.safetensors")
    with pytest.raises(RestyleError, match="no such file"):
        adding.add(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no network at all")
    with pytest.raises(RestyleError, match=r"text\.pt"):
        adding.add(tmp_path / "text.pt")
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>Quota exceeded</html>")
    with pytest.raises(RestyleError, match="is a web page, not a model"):
        adding.add(tmp_path / "page.pt")
    parity.write_checkpoint(tmp_path / "judge.pt", "latent_discriminator")
    with pytest.raises(RestyleError, match=r"judge\.pt' contains: discriminator \(latent-discriminator\); nothing"):
        adding.add(tmp_path / "judge.pt")
    assert list(fetch.home().iterdir()) == []


def test_published_files_are_recognised(tmp_path: Path) -> None:
    parity.write_checkpoint(tmp_path / "backbone.pth", "resnet34_imagenet")
    entry, digest = adding.add(tmp_path / "backbone.pth", move=True)
    assert (entry.name, entry.kind, entry.summary) == (
        "backbone",
        "perceptual",
        "perceptual (resnet34), added from backbone.pth",
    )
    with pytest.raises(RestyleError, match=f"is not the file of 'resnet34': .* begins with {digest[:8]}, not 333f7ec4"):
        adding.add(fetch.installed_path(entry), "resnet34")


def test_it_becomes_a_model_of_the_users_own(encoder: Path) -> None:
    entry, digest = adding.add(encoder)
    assert (entry.name, entry.kind, entry.method, entry.generator, entry.own) == (
        "my-encoder",
        "encoder",
        "restyle-psp",
        "portrait",
        True,
    )
    assert entry.domain == "portrait"
    assert digest == sha256(encoder)
    assert catalog.find("my-encoder") == replace(entry, latent_space="portrait")
    assert fetch.installed_path(entry).read_bytes() == encoder.read_bytes()
    assert fetch.verify(entry) == (True, digest)
    fetch.remove(entry)
    assert [path.name for path in fetch.home().iterdir() if not path.name.endswith(".lock")] == []


def test_it_may_be_called_otherwise_and_moved(encoder: Path) -> None:
    content = encoder.read_bytes()
    entry, _ = adding.add(encoder, "mine", move=True)
    assert fetch.installed_path(entry) == fetch.home() / "own-mine.safetensors"
    assert fetch.installed_path(entry).read_bytes() == content
    assert not encoder.exists()


@pytest.mark.parametrize("name", ["Mine", "a b", "../a", "-a", "a--b", ""])
def test_names_that_are_none(encoder: Path, name: str) -> None:
    with pytest.raises(RestyleError, match="cannot be a name"):
        adding.add(encoder, name)


def test_it_becomes_a_network_of_the_catalog(encoder: Path, published: Entry, tmp_path: Path) -> None:
    with pytest.raises(RestyleError, match="is bundled with restyle"):
        adding.add(encoder, "psp-portrait")
    entry, digest = adding.add(encoder, "restyle-psp-ffhq")
    assert entry == published
    assert fetch.remembered(published) == digest
    with pytest.raises(RestyleError, match="'restyle-psp-ffhq' is installed already"):
        adding.add(encoder, "restyle-psp-ffhq")
    fetch.remove(published)
    assert adding.add(encoder)[0] == published, "known by its hash from now on"


def test_it_is_known_by_its_name(encoder: Path, published: Entry) -> None:
    path = encoder.with_name("NET.safetensors")
    shutil.copy(encoder, path)
    assert adding.add(path)[0] == published


def test_it_is_known_by_the_catalogs_hash(encoder: Path, published: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    knows(monkeypatch, replace(published, sha256=sha256(encoder)))
    assert adding.add(encoder)[0].name == "restyle-psp-ffhq"


def test_another_file_than_the_known_one_is_refused(
    encoder: Path, published: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ({"sha256": "0" * 64}, {"sha256_begins": "00000000"}):
        knows(monkeypatch, replace(published, **known))
        with pytest.raises(RestyleError, match="is not the file of 'restyle-psp-ffhq'") as caught:
            adding.add(encoder, "restyle-psp-ffhq")
        assert sha256(encoder)[:8] in caught.value.message
        assert "--as NAME" in (caught.value.hint or "")
        knows(monkeypatch, published)
    fetch.remember(published, "0" * 64)
    with pytest.raises(RestyleError, match="is not the file of"):
        adding.add(encoder, "restyle-psp-ffhq")


def test_another_kind_of_network_is_refused(encoder: Path, published: Entry, tmp_path: Path) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(), "stylegan2")
    with pytest.raises(RestyleError, match=r"contains: generator \(stylegan2\); 'restyle-psp-ffhq' is of kind encoder"):
        adding.add(tmp_path / "g.safetensors", "restyle-psp-ffhq")
    with pytest.raises(RestyleError, match=r"contains: encoder \(restyle-psp\); 'psp-ffhq' is for psp"):
        adding.add(encoder, "psp-ffhq")
    with pytest.raises(RestyleError, match="is of kind generator"):
        adding.add(encoder, "stylegan2-ffhq")
    assert not any(path.suffix == ".safetensors" for path in fetch.home().iterdir())


def test_a_home_that_cannot_be_written_is_told(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(RestyleError, match="cannot write to"):
        adding.add(encoder)


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("late", ["own-my-encoder.safetensors", "my-encoder.toml", "own-my-encoder.safetensors.sha256"])
def test_a_full_disk_leaves_nothing_of_it(
    encoder: Path, monkeypatch: pytest.MonkeyPatch, late: str, move: bool
) -> None:
    """Whichever of the three files cannot be written."""
    content = encoder.read_bytes()

    def full(source: Path, target: Path, whole: Callable[[Path, Path], Path] = Path.replace) -> Path:
        if Path(target).name == late:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return whole(source, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RestyleError, match="no space left on device") as caught:
        adding.add(encoder, move=move)
    assert late in caught.value.message
    assert caught.value.hint == "free some space, or set RESTYLE_HOME to a folder on a larger disk"
    assert encoder.read_bytes() == content
    assert [path.name for path in fetch.home().iterdir() if not path.name.endswith(".lock")] == []


def test_a_full_disk_does_not_forget_a_known_hash(
    encoder: Path, published: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.remember(published, sha256(encoder))

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RestyleError, match="no space left on device"):
        adding.add(encoder, "restyle-psp-ffhq")
    assert fetch.remembered(published) == sha256(encoder)
    assert not fetch.installed(published)


def test_the_catalogs_networks_have_their_latent_space(encoder: Path, published: Entry) -> None:
    with pytest.raises(RestyleError, match="takes no latent space: the catalog states it"):
        adding.add(encoder, "restyle-psp-ffhq", latent_space="clay")
    assert not fetch.installed(published)


def test_an_interrupted_copy_leaves_nothing(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", stop)
    with pytest.raises(KeyboardInterrupt):
        adding.add(encoder, "mine")
    assert {path.name for path in fetch.home().iterdir()} <= {".own-mine.safetensors.lock"}


def test_a_network_whose_copy_was_killed_can_be_added_or_removed(encoder: Path) -> None:
    entry, _ = adding.add(encoder, "mine")
    fetch.path_of(entry).unlink()  # killed before the file had come
    again, _ = adding.add(encoder, "mine")
    assert fetch.installed(again)
    fetch.path_of(entry).unlink()
    fetch.remove(catalog.find("mine"))
    assert "mine" not in {entry.name for entry in catalog.entries()}


def test_what_interrupted_fetches_left_goes_with_the_file_that_is_added(encoder: Path, published: Entry) -> None:
    fetch.home().mkdir(parents=True, exist_ok=True)
    for end in ("part", "part.json"):
        (fetch.home() / f".net.safetensors.0123456789.{end}").write_bytes(b"half")
    adding.add(encoder, published.name)
    assert not list(fetch.home().glob(".net.safetensors.*.part*"))


def test_a_file_whose_name_is_not_utf8(encoder: Path) -> None:
    odd = encoder.rename(encoder.with_name(os.fsdecode(b"caf\xe9.s\xe9")))
    entry, _ = adding.add(odd, "mine")
    assert catalog.find("mine").file == entry.file
    assert fetch.installed(catalog.find("mine"))
