"""The catalog: every entry is complete and consistent, and a wrong name leads to the right one."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

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
    assert entry.sha256_begins is None or f"-{entry.sha256_begins}." in entry.file
    assert "{" not in entry.summary
    assert (entry.embedded and not entry.package) or (entry.page or "").startswith("https://")
    assert not entry.own


@pytest.mark.parametrize("entry", [e for e in catalog.entries() if e.kind == "encoder"], ids=by_name)
def test_encoder_names_its_method_and_generator(entry: Entry) -> None:
    assert entry.method in METHODS
    assert entry.name == "-".join(filter(None, (entry.method, entry.domain, entry.variant)))
    assert entry.generator is not None
    generator = catalog.find(entry.generator)
    assert entry.latent_space == generator.latent_space
    if entry.generator == entry.name:  # trained together: an encoder's file, and no generator by itself
        assert entry.holds_generator
        return
    assert (generator.kind, generator.domain) == ("generator", entry.domain)
    if entry.method == "idinvert":  # the only one published with generators of its own
        assert (entry.holds_generator, generator.page) == (False, entry.page)
        return
    assert catalog.domain(entry.domain).generator == entry.generator
    assert entry.holds_generator != entry.embedded, "published files hold their generator, ours do not"


@pytest.mark.parametrize("entry", [e for e in catalog.entries() if e.start], ids=by_name)
def test_what_a_method_begins_with_is_an_encoder_of_its_generator(entry: Entry) -> None:
    start = catalog.find(entry.start or "")
    assert (start.kind, start.generator) == ("encoder", entry.generator)


@pytest.mark.parametrize("entry", [e for e in catalog.entries() if e.kind == "generator"], ids=by_name)
def test_a_latent_space_is_named_after_the_generator_it_began_with(entry: Entry) -> None:
    assert catalog.find(entry.latent_space or "").latent_space == entry.latent_space


@pytest.mark.parametrize("source", [s for e in catalog.entries() for s in e.sources])
def test_sources_are_encrypted_or_of_google_drive(source: str) -> None:
    assert re.fullmatch(r"https://[^\s]+/[\w.-]+|drive:[\w-]{33}", source)


def test_no_two_networks_have_one_source() -> None:
    sources = [source for entry in catalog.entries() for source in entry.sources]
    assert len(set(sources)) == len(sources)


def test_published_networks_tell_that_they_are_not_for_commerce() -> None:
    published = [entry for entry in catalog.entries() if not entry.embedded]
    assert {e.commercial for e in published if e.kind != "perceptual"} == {"no"}
    assert all("non-commercial" in e.licence_weights for e in published if e.kind != "perceptual")


# --- domains


@pytest.mark.parametrize("domain", catalog.domains(), ids=lambda domain: domain.name)
def test_a_domain_is_complete(domain: catalog.Domain) -> None:
    assert domain.align in ("face", "centre", "none")
    assert domain.resolution.bit_count() == 1
    assert max(domain.image_size) == domain.resolution
    assert max(domain.input) == 256
    assert domain.image_size[0] * domain.input[1] == domain.image_size[1] * domain.input[0], "of one shape"
    if domain.encoder is not None:
        encoder = catalog.find(domain.encoder)
        assert (encoder.domain, encoder.generator) == (domain.name, domain.generator)
        assert catalog.encoders(domain.name)[encoder.method or ""] == encoder


def test_cars_are_wide() -> None:
    cars = catalog.domain("cars")
    assert (cars.resolution, cars.image_size, cars.input, cars.align) == (512, (384, 512), (192, 256), "none")
    assert cars.crop == (64, 0, 448, 512)
    assert catalog.domain("ffhq").crop is None


def test_embedded_networks_stand_in() -> None:
    assert [domain.name for domain in catalog.stand_ins()] == ["ffhq", "portrait"]
    assert [domain.name for domain in catalog.stand_ins("toonify")] == ["toonify", "toon"]
    assert [domain.name for domain in catalog.stand_ins("cars")] == ["cars"]


def test_an_unknown_domain() -> None:
    with pytest.raises(RestyleError, match="no domain named 'car'") as caught:
        catalog.domain("car")
    assert caught.value.hint == "did you mean 'cars'?"


def test_encoders_of_a_domain_are_the_plain_ones() -> None:
    found = {method: entry.name for method, entry in catalog.encoders("ffhq").items()}
    methods = ("restyle-psp", "restyle-e4e", "psp", "e4e", "e4e-w", "hyperstyle", "idinvert", "alae")
    assert found == {method: f"{method}-ffhq" for method in methods}
    assert set(catalog.encoders("horse")) == {"restyle-e4e", "e4e"}


def test_cartoons_share_the_latent_space_of_the_faces_they_were_made_from() -> None:
    for name in ("restyle-psp-ffhq", "restyle-psp-toonify", "hyperstyle-ffhq", "stylegan2-pixar"):
        assert catalog.find(name).latent_space == "stylegan2-ffhq"
    assert catalog.find("restyle-psp-portrait").latent_space == "portrait"
    assert catalog.find("resnet34").latent_space is None


# --- a person's own


def own(name: str = "mine", **values: object) -> Entry:
    like = catalog.find("restyle-psp-portrait")
    return replace(like, **{"name": name, "embedded": False, "own": True, "latent_space": None, **values})


def test_own_entries_are_kept(empty_store: Path) -> None:
    fetch.home().mkdir(exist_ok=True)
    for entry in (
        own(),
        own("other", summary='a "quoted" \\ thing, ünïcode', generator=None, sources=("https://a/b",), bytes=7),
    ):
        catalog.write_own(entry)
        found = catalog.find(entry.name)
        assert found == replace(entry, latent_space="portrait" if entry.generator else None)
    assert [entry.name for entry in catalog.entries()][-2:] == ["mine", "other"]


def test_an_own_entry_may_tell_of_a_file_whose_name_is_no_text() -> None:
    catalog.write_own(own(summary="added from a\udcff.pt"))
    assert catalog.find("mine").summary == "added from a?.pt"


def own_text(**values: object) -> bytes:
    """A complete entry of the user's own as TOML, with these fields changed; None leaves one out."""
    texts = ("domain", "licence_code", "licence_weights", "licence_data", "summary")
    fields = {**dict.fromkeys(texts, "mine"), "kind": "encoder", "file": "mine.pt", "commercial": "unclear"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in (fields | values).items() if value is not None]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"kind = ", "is not valid TOML"),
        (own_text(kind=None), "'kind' is missing"),
        (own_text(kind="ship"), "'kind' must be one of 'generator', 'encoder', 'perceptual'"),
        (own_text(kind=["encoder"]), "'kind' must be one of"),
        (own_text(file="../a"), "'file' must be the name of a file"),
        (own_text(file=".."), "'file' must be the name of a file"),
        (own_text(file=""), "'file' must be the name of a file"),
        (own_text(summary=None), "'summary' is missing"),
        (own_text(summary=3), "'summary' must be text"),
        (own_text(sources="https://a"), "'sources' must be a list"),
        (own_text(sources=["https://a", 1]), r"'sources\[1\]' must be text"),
        (own_text(bytes="7"), "'bytes' must be a whole number"),
        (own_text(bytes=10**30), "'bytes' must fit in 64 bits"),
        (own_text(holds_generator=1), "'holds_generator' must be true or false"),
        (own_text(embedded=True), "'embedded' is not known"),
        (own_text(colour="red"), "'colour' is not known"),
        (own_text() + b"\nkind = 'encoder'", "is not valid TOML"),
        (own_text() + b"\nx = " + b"[" * 100_000, "nested too deeply"),
        (own_text() + b"\nbytes = " + b"9" * 5000, "too many digits"),
        (own_text() + b"\n# \xff", "is not UTF-8"),
    ],
)
def test_a_damaged_own_entry_is_named_and_the_others_stay(data: bytes, message: str) -> None:
    file = catalog.own_file("mine")
    file.write_bytes(data)
    catalog.write_own(own("fine"))
    with pytest.raises(RestyleError, match=message) as caught:
        catalog.find("mine")
    assert str(file) in caught.value.message
    assert "delete it" in (caught.value.hint or "")
    assert [error.message for error in catalog.problems()] == [caught.value.message]
    names = [entry.name for entry in catalog.entries()]
    assert "fine" in names
    assert "mine" not in names


def test_an_own_entry_may_begin_with_a_byte_order_mark() -> None:
    catalog.own_file("mine").write_bytes(b"\xef\xbb\xbf" + own_text())
    assert catalog.find("mine").file == "mine.pt"


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


def test_bundled_files_are_small_together() -> None:
    assert sum(entry.bytes or 0 for entry in EMBEDDED if not entry.package) < 60_000_000, "of the wheel"


def test_files_are_distinct() -> None:
    names = [entry.file for entry in catalog.entries()]
    assert len(set(names)) == len(names)


def test_find() -> None:
    assert catalog.find("restyle-psp-portrait").generator == "portrait"
    with pytest.raises(RestyleError, match="no model named 'restyle-psp-portrat'") as caught:
        catalog.find("restyle-psp-portrat")
    assert caught.value.hint is not None
    assert "did you mean 'restyle-psp-portrait'?" in caught.value.hint
    assert "restyle weights list" in caught.value.hint


def test_find_without_a_near_name() -> None:
    with pytest.raises(RestyleError) as caught:
        catalog.find("zzzzzzzz")
    assert caught.value.hint == "`restyle weights list` shows all"
