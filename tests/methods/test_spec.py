"""`methods.toml` agrees with the classes, the catalog and the command line."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from restyle_cli.methods import CHAINS, METHODS, OF_GENERATOR, borrows, without_encoder
from restyle_cli.methods.spec import NETWORKS, SPACES, SPECS
from restyle_cli.models import parse_chain
from restyle_cli.store import catalog


def test_an_entry_is_a_class_or_a_chain() -> None:
    assert list(SPECS) == [*METHODS.names(), *CHAINS]
    assert not set(METHODS.names()) & set(CHAINS)
    assert set(CHAINS.values()) <= set(METHODS.names())
    assert {lender for name in SPECS for lender in borrows(name)} <= set(METHODS.names())


@pytest.mark.parametrize("name", SPECS)
def test_texts_and_values(name: str) -> None:
    spec = SPECS[name]
    assert spec.paper.link.startswith("https://arxiv.org/abs/")
    assert f"20{spec.paper.link.rpartition('/')[2][:2]}" in (str(spec.paper.year), str(spec.paper.year - 1))
    assert spec.space and set(spec.space) <= set(SPACES)
    assert spec.networks and set(spec.networks) <= set(NETWORKS)
    for text in (spec.step, spec.strengths, spec.weaknesses):
        assert text.endswith(".") and len(text) > 20
    assert not spec.summary.endswith(".")


@pytest.mark.parametrize("name", SPECS)
def test_an_entry_agrees_with_its_class(name: str) -> None:
    spec, method = SPECS[name], METHODS.load(CHAINS.get(name, name))
    with_encoder = bool({"encoder", "hypernetwork"} & set(spec.networks))
    assert spec.steps == method.default_steps
    assert 1 <= method.default_steps <= method.max_steps
    assert with_encoder == (method.needs_encoder or name in CHAINS)
    assert (without_encoder(name) or name == OF_GENERATOR) == (not with_encoder)
    assert ("perceptual" in spec.networks) == method.compares == (spec.compares is not None)
    assert "generator" in spec.networks
    assert ("weights" in spec.space) == (name in ("hyperstyle", "pti", "pti-local"))


@pytest.mark.parametrize("name", SPECS)
def test_seconds_where_a_model_can_be_measured(name: str) -> None:
    bundled = {name, *borrows(name)} & set(catalog.encoders("portrait"))
    alone = without_encoder(name) or name in CHAINS
    assert (SPECS[name].seconds is not None) == (bool(bundled) or alone)


@pytest.mark.parametrize("name", SPECS)
def test_the_example_uses_the_method(name: str) -> None:
    first, second, photo, option, chain, *rest = shlex.split(SPECS[name].example)
    assert (first, second, photo) == ("restyle", "invert", "photo.jpg")
    assert option in ("-m", "--via")
    assert rest == [] or (rest[0] == "-n" and option == "-m" and int(rest[1]) >= 1)
    links = [link.name for link in parse_chain(chain)]
    known = {*METHODS.names(), *CHAINS, *(entry.name for entry in catalog.entries())}
    assert set(links) <= known
    generators = {entry.name for entry in catalog.entries() if entry.kind == "generator"}
    named = any(link == name or link.startswith(f"{name}-") for link in links)
    assert links[-1] in generators if name == OF_GENERATOR else named


def test_the_table_needs_no_torch() -> None:
    check = "import sys, restyle_cli.methods.spec, restyle_cli.cli.methods; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
