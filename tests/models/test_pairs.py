"""Which encoders stand for two domains, and what is said when there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.models.pairs import find_pair
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import write_module

pytestmark = pytest.mark.usefixtures("tiny_store")


def install(*names: str) -> None:
    for name in names:
        path = fetch.path_of(catalog.find(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"there")


def test_embedded_networks_stand_in_for_both_domains() -> None:
    pair = find_pair("ffhq", "toonify")
    assert pair.chain(2) == "restyle-psp-portrait:1,restyle-psp-toon:2"
    assert pair.notice is not None
    assert "run `restyle weights get restyle-psp-ffhq restyle-psp-toonify`" in pair.notice


def test_one_published_network_alone_is_of_no_use() -> None:
    install("restyle-psp-ffhq")
    pair = find_pair("ffhq", "toonify")
    assert (pair.first.name, pair.target.name) == ("restyle-psp-portrait", "restyle-psp-toon")
    assert "restyle-psp-toonify is not installed" in str(pair.notice)


def test_published_networks_come_first() -> None:
    install("restyle-psp-ffhq", "restyle-psp-toonify")
    pair = find_pair("ffhq", "toonify")
    assert pair.chain(3) == "restyle-psp-ffhq:1,restyle-psp-toonify:3"
    assert pair.notice is None


def test_domains_named_as_they_are() -> None:
    assert find_pair("portrait", "toon").notice is None
    for installed in ((), ("restyle-psp-ffhq",)):
        install(*installed)
        pair = find_pair("ffhq", "toon")  # ffhq's own network cannot lead there, its stand-in can
        assert pair.first.name == "restyle-psp-portrait"
        assert "does not share a latent space" in str(pair.notice)


def test_unrelated_domains_are_refused() -> None:
    with pytest.raises(UsageError, match="stylegan2-cars, do not share a latent space") as refused:
        find_pair("ffhq", "cars")
    assert "toonify" in str(refused.value.hint)


def test_unknown_domains() -> None:
    with pytest.raises(RestyleError, match="tonify") as unknown:
        find_pair("ffhq", "tonify")
    assert unknown.value.hint == "did you mean 'toonify'?"
    with pytest.raises(RestyleError, match="restyle-e4e encoder for the domain 'toonify'"):
        find_pair("ffhq", "toonify", "restyle-e4e")


def test_nothing_is_installed(empty_store: object) -> None:
    with pytest.raises(RestyleError, match="restyle-psp-ffhq and restyle-psp-toonify") as missing:
        find_pair("ffhq", "toonify")
    assert "`restyle weights get restyle-psp-ffhq restyle-psp-toonify`" in str(missing.value.hint)


def test_a_generator_is_needed_too(empty_store: Path) -> None:
    tiny.write_store(empty_store)
    (empty_store / "toon.safetensors").unlink()
    with pytest.raises(RestyleError):
        find_pair("portrait", "toon")


def test_networks_of_ones_own_domain() -> None:
    write_module(fetch.home() / "clay.safetensors", tiny.generator(7), "stylegan2", {"latent_space": "portrait"})
    common = {"domain": "clay", "licence_code": "MIT", "licence_weights": "MIT", "licence_data": "MIT"}
    clay = catalog.Entry("clay", "generator", file="clay.safetensors", **common, commercial="yes", summary="clay",
                         latent_space="portrait")  # fmt: skip
    catalog.write_own(clay)
    tiny.write_encoder(fetch.home() / "mine.safetensors", "restyle-psp", of="clay")
    catalog.write_own(
        catalog.Entry("mine", "encoder", file="mine.safetensors", **common, commercial="yes", summary="clay",
                      method="restyle-psp", generator="clay")
    )  # fmt: skip
    assert find_pair("ffhq", "clay").chain(1) == "restyle-psp-portrait:1,mine:1"
