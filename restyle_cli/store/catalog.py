"""The networks we know by name, and the domains they are made for, read from `catalog.toml`.

A new network is an entry there, never a class. A person's own (`restyle weights add`) are one small file each,
NAME.toml in `$RESTYLE_HOME`, with the same fields.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.io import write_atomic
from restyle_cli.records import RecordError, parse_toml, read
from restyle_cli.store.paths import home

CATALOG = Path(__file__).with_name("catalog.toml")
KINDS = ("generator", "encoder", "perceptual")


@dataclass(frozen=True)
class Entry:
    """One file of weights. The fields are explained at the top of `catalog.toml`."""

    name: str
    kind: Literal["generator", "encoder", "perceptual"]
    domain: str
    file: str
    licence_code: str
    licence_weights: str
    licence_data: str
    commercial: Literal["yes", "no", "unclear"]
    summary: str
    method: str | None = None
    variant: str | None = None
    generator: str | None = None
    holds_generator: bool = False
    start: str | None = None
    latent_space: str | None = None  # of generators and encoders: entries of one space can be chained; see `spaces`
    embedded: bool = False
    sources: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    sha256_begins: str | None = None
    page: str | None = None
    own: bool = False  # added by the person, not part of the catalog


@dataclass(frozen=True)
class Domain:
    """A kind of pictures that can be inverted. The fields are explained at the top of `catalog.toml`."""

    name: str
    title: str
    data: str
    resolution: int
    picture: tuple[int, int]  # height, width
    input: tuple[int, int]  # height, width
    align: Literal["face", "centre", "none"]
    generator: str | None = None
    encoder: str | None = None
    stand_in: str | None = None
    identity: str | None = None

    @property
    def crop(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the picture in the generator's square; None when it is all of it."""
        height, width = self.picture
        top, left = (self.resolution - height) // 2, (self.resolution - width) // 2
        return (top, left, top + height, left + width) if top or left else None


@dataclass(frozen=True)
class _Catalog:
    entries: Mapping[str, Entry]
    domains: Mapping[str, Domain]
    default_domain: str


def entries() -> list[Entry]:
    """All known networks, in the order of the catalog, then the person's own, those in `problems` left out."""
    return list(_known().values())


def published() -> list[Entry]:
    """The catalog's networks that are no part of restyle; the person's own are not looked at."""
    return [entry for entry in _read(CATALOG).entries.values() if not entry.embedded]


def problems() -> list[RestyleError]:
    """Why entries of the person's own cannot be used, one error for each, or for their folder."""
    return list(_own()[1].values())


def find(name: str) -> Entry:
    """The network called `name`; RestyleError with the nearest name when there is none."""
    known = _known()
    if name not in known:
        if name in (unusable := _own()[1]):
            raise unusable[name]
        near = did_you_mean(name, known)
        every = "`restyle weights list` shows all"
        raise RestyleError(f"no network named '{name}'", f"{near}  {every}" if near else every)
    return known[name]


def domains() -> list[Domain]:
    """All domains, in the order of the catalog."""
    return list(_read(CATALOG).domains.values())


def domain(name: str) -> Domain:
    """The domain called `name`; RestyleError with the nearest name when there is none."""
    known = _read(CATALOG).domains
    if name not in known:
        near = did_you_mean(name, known)
        raise RestyleError(f"no domain named '{name}'", near or f"there are: {', '.join(known)}")
    return known[name]


def domain_of(*names: str) -> Domain | None:
    """The domain of the first of these names of networks, or files of theirs, that the catalog knows."""
    known = {name: entry.domain for entry in entries() for name in (entry.file, entry.name)}
    files = [Path(name).name.partition(":")[0] for name in names]  # FILE:decoder is what an encoder's file holds
    found = next((known[name] for name in (*names, *files) if name in known), None)
    return next((domain for domain in domains() if domain.name == found), None)


def stand_ins(name: str | None = None) -> list[Domain]:
    """The domain `name`, then those whose networks may stand in for its own; without a name, of the default one."""
    chain = [domain(name or _read(CATALOG).default_domain)]
    while chain[-1].stand_in is not None:
        chain.append(domain(chain[-1].stand_in))
    return chain


def encoders(name: str) -> dict[str, Entry]:
    """The encoder of the domain `name` for each method, as far as there is one; no variants."""
    found = [e for e in entries() if e.kind == "encoder" and e.domain == name and e.method and not e.variant]
    return {entry.method: entry for entry in reversed(found) if entry.method}


def own_file(name: str) -> Path:
    """Where the entry of a network of the person's own is, or would be."""
    return home() / f"{name}.toml"


def _known() -> dict[str, Entry]:
    catalog = _read(CATALOG)
    return _with_spaces({**catalog.entries, **_own()[0]})


def _own() -> tuple[dict[str, Entry], dict[str, RestyleError]]:
    """The person's own entries by name, and why others cannot be used."""
    entries: dict[str, Entry] = {}
    unusable: dict[str, RestyleError] = {}
    try:
        files = sorted(path for path in home().iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        message = f"the folder for fetched models, {str(home())!r}, cannot be read: {(error.strerror or '').lower()}"
        return {}, {"": RestyleError(message, "set RESTYLE_HOME to another")}
    except RestyleError as error:
        return {}, {"": error}
    for path in files:
        try:
            entries[path.stem] = _own_entry(path)
        except RestyleError as error:
            unusable[path.stem] = error
    return entries, unusable


@functools.cache
def _read(path: Path) -> _Catalog:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    domains = {name: _domain(name, table) for name, table in tables["domain"].items()}
    entries = {}
    for name, table in tables["network"].items():
        table = tables["common"].get(table.get("common"), {}) | table
        entries[name] = _entry(name, table, domains.get(table["domain"]), tables["places"])
    return _Catalog(entries, domains, tables["default_domain"])


def _domain(name: str, table: dict[str, Any]) -> Domain:
    sizes = {key: tuple(table[key]) for key in ("picture", "input")}
    return Domain(name=name, **{**table, **sizes})


def _entry(name: str, table: dict[str, Any], domain: Domain | None, places: Mapping[str, str]) -> Entry:
    """An entry of the catalog: what its domain says holds where the entry says nothing."""
    values = {key: value for key, value in table.items() if key != "common"}
    if domain is not None:
        values.setdefault("licence_data", domain.data)
        values["summary"] = values["summary"].replace("{title}", domain.title)
        if values["kind"] == "encoder" and domain.generator:
            values.setdefault("generator", domain.generator)
    values["sources"] = tuple(_address(source, places) for source in table.get("sources", ()))
    return Entry(name=name, **values)


def _address(source: str, places: Mapping[str, str]) -> str:
    place, _, rest = source.partition(":")
    return places[place] + rest if place in places else source


def _own_entry(path: Path) -> Entry:
    """RestyleError when the file does not describe a network."""

    def parse(data: bytes) -> dict[str, Any]:
        table = parse_toml(data)
        if decided := sorted({"name", "own", "embedded"} & table.keys()):
            raise RecordError("is not known", decided[0])
        return table | {"name": path.stem, "own": True}

    hint = "correct or delete it; `restyle weights add` writes such files"
    entry: Entry = read(path, parse, Entry, hint)
    if Path(entry.file).name != entry.file or entry.file in ("", "..") or not entry.file.isprintable():
        raise RestyleError(f"{str(path)!r}: 'file' must be the name of a file in the same folder", hint)
    return entry


def _with_spaces(known: dict[str, Entry]) -> dict[str, Entry]:
    """Every generator and encoder with its latent space: a generator's own name unless it says another. Those of the
    person's own that do not say which have none."""
    generators = {name: e for name, e in known.items() if e.kind == "generator"}
    spaces = {name: e.latent_space or (None if e.own else name) for name, e in generators.items()}
    return {
        name: replace(entry, latent_space=entry.latent_space or spaces.get(entry.generator or name))
        for name, entry in known.items()
    }


def write_own(entry: Entry) -> None:
    """Keep an entry of the person's own, so that `entries` has it."""
    import json

    skipped = {"name", "own", "embedded"}
    values = {field.name: getattr(entry, field.name) for field in fields(Entry) if field.name not in skipped}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value]
    # JSON's strings, numbers, lists and booleans are TOML's too, but for bytes of a file name that are no text.
    data = "\n".join([*lines, ""]).encode("utf-8", "replace")
    write_atomic(own_file(entry.name), lambda aside: aside.write_bytes(data))
