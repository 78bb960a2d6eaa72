"""The catalog: every entry is complete and consistent, and a wrong name leads to the right one."""

from __future__ import annotations

import hashlib
import re

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.methods import METHODS
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry

EMBEDDED = [entry for entry in catalog.entries() if entry.embedded]


def by_name(entry: Entry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", catalog.entries(), ids=by_name)
def test_entry_is_complete(entry: Entry) -> None:
    assert entry.kind in ("generator", "encoder", "perceptual")
    assert entry.commercial in ("yes", "no", "unclear")
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert re.fullmatch(r"[\w.-]+", entry.file), "a plain file name, no path"
    assert all((entry.domain, entry.licence_code, entry.licence_weights, entry.licence_data, entry.summary))
    assert entry.embedded != bool(entry.sources), "either part of the project or fetched from somewhere"
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)


@pytest.mark.parametrize("entry", [e for e in catalog.entries() if e.kind == "encoder"], ids=by_name)
def test_encoder_names_its_method_and_generator(entry: Entry) -> None:
    assert entry.method in METHODS
    assert entry.name == f"{entry.method}-{entry.domain}"
    assert entry.generator is not None
    generator = catalog.find(entry.generator)
    assert (generator.kind, generator.domain) == ("generator", entry.domain)


@pytest.mark.weights
@pytest.mark.parametrize("entry", EMBEDDED, ids=by_name)
def test_embedded_file_is_the_one_described(entry: Entry) -> None:
    path = fetch.path_of(entry)
    if not path.is_file():
        pytest.skip(f"{path.name} is not in weights/")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert (entry.bytes, entry.sha256) == (len(content), digest), (
        f'the catalog needs:\nbytes = {len(content)}\nsha256 = "{digest}"'
    )


def test_files_are_distinct() -> None:
    names = [entry.file for entry in catalog.entries()]
    assert len(set(names)) == len(names)


def test_find() -> None:
    assert catalog.find("restyle-psp-portrait").generator == "portrait"
    with pytest.raises(RestyleError, match="no network named 'restyle-psp-portrat'") as caught:
        catalog.find("restyle-psp-portrat")
    assert caught.value.hint is not None
    assert "did you mean 'restyle-psp-portrait'?" in caught.value.hint
    assert "restyle weights list" in caught.value.hint


def test_find_without_a_near_name() -> None:
    with pytest.raises(RestyleError) as caught:
        catalog.find("zzzzzzzz")
    assert caught.value.hint == "`restyle weights list` shows all"
