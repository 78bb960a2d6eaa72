"""The pages of the methods tell the truth: held against the methods themselves."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from restyle_cli.loading import parse_chain
from restyle_cli.methods import BORROWED, CHAINS, METHODS, OF_GENERATOR, WITHOUT_ENCODER
from restyle_cli.methods.pages import NETWORKS, PAGES, SPACES
from restyle_cli.store import catalog


def test_every_method_has_a_page_and_no_other() -> None:
    assert list(PAGES) == [*METHODS.names(), *CHAINS]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole(name: str) -> None:
    page = PAGES[name]
    assert page.paper.link.startswith("https://arxiv.org/abs/")
    assert f"20{page.paper.link.rpartition('/')[2][:2]}" in (str(page.paper.year), str(page.paper.year - 1))
    assert page.space and set(page.space) <= set(SPACES)
    assert page.networks and set(page.networks) <= set(NETWORKS)
    for text in (page.step, page.good, page.bad):
        assert text.endswith(".") and len(text) > 20
    assert not page.line.endswith(".")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_method_says_of_itself(name: str) -> None:
    page, method = PAGES[name], METHODS.load(CHAINS.get(name, name))
    sees = bool({"encoder", "hypernetwork"} & set(page.networks))
    assert page.steps == method.default_steps
    assert sees == (method.needs_encoder or name in CHAINS)
    assert (name in WITHOUT_ENCODER or name == OF_GENERATOR) == (not sees)
    assert ("perceptual" in page.networks) == method.compares == (page.compares is not None)
    assert "generator" in page.networks
    assert ("weights" in page.space) == (name in ("hyperstyle", "pti", "pti-local"))


@pytest.mark.parametrize("name", PAGES)
def test_seconds_are_told_where_they_can_be_measured(name: str) -> None:
    embedded = {name, *BORROWED.get(name, ())} & set(catalog.encoders("portrait"))
    alone = name in WITHOUT_ENCODER or name in CHAINS
    assert (PAGES[name].seconds is not None) == (bool(embedded) or alone)


@pytest.mark.parametrize("name", PAGES)
def test_an_example_is_a_command_of_the_method(name: str) -> None:
    first, second, photo, option, chain, *rest = shlex.split(PAGES[name].example)
    assert (first, second, photo) == ("restyle", "invert", "photo.jpg")
    assert option in ("-m", "--via")
    assert rest == [] or (rest[0] == "-n" and option == "-m" and int(rest[1]) >= 1)
    links = [link.name for link in parse_chain(chain)]
    known = {*METHODS.names(), *CHAINS, *(entry.name for entry in catalog.entries())}
    assert set(links) <= known
    generators = {entry.name for entry in catalog.entries() if entry.kind == "generator"}
    named = any(link == name or link.startswith(f"{name}-") for link in links)
    assert links[-1] in generators if name == OF_GENERATOR else named


def test_pages_need_no_torch() -> None:
    check = "import sys, restyle_cli.methods.pages, restyle_cli.cli.methods; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
