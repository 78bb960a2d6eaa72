"""The models that are known by name, and their domains, read from `catalog.toml`.

A new model is an entry there, never a class. The user's own models (`restyle weights add`) have one small file each,
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
from restyle_cli.io import reason_of, write_atomic
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
    latent_space: str | None = None  # of generators and encoders: see `spaces`
    embedded: bool = False
    package: str | None = None
    sources: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    sha256_begins: str | None = None
    page: str | None = None
    own: bool = False  # added by the user, not part of the catalog


@dataclass(frozen=True)
class Domain:
    """A kind of images that can be inverted. The fields are explained at the top of `catalog.toml`."""

    name: str
    title: str
    data: str
    resolution: int
    image_size: tuple[int, int]  # height, width
    input: tuple[int, int]  # height, width
    align: Literal["face", "centre", "none"]
    generator: str | None = None
    encoder: str | None = None
    stand_in: str | None = None

    @property
    def crop(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the image in the generator's square; None when it is all of it."""
        height, width = self.image_size
        top, left = (self.resolution - height) // 2, (self.resolution - width) // 2
        return (top, left, top + height, left + width) if top or left else None


@dataclass(frozen=True)
class _Catalog:
    entries: Mapping[str, Entry]
    domains: Mapping[str, Domain]
    default_domain: str


def entries() -> list[Entry]:
    """All models in the order of the catalog, then the user's own, without those in `problems`."""
    return list(_known().values())


def published() -> list[Entry]:
    """The models of the catalog that are not bundled. The user's own are not read."""
    return [entry for entry in _read(CATALOG).entries.values() if not entry.embedded]


def problems() -> list[RestyleError]:
    """Why entries of the user's own models cannot be used: one error for each, or for their folder."""
    return list(_own()[1].values())


def get(name: str) -> Entry | None:
    """The model called `name`; None if there is none."""
    return next((entry for entry in entries() if entry.name == name), None)


def find(name: str) -> Entry:
    """The model called `name`; RestyleError with the nearest name when there is none."""
    known = _known()
    if name not in known:
        if name in (unusable := _own()[1]):
            raise unusable[name]
        near = did_you_mean(name, known)
        everything = "`restyle weights list` shows all"
        raise RestyleError(f"no model named '{name}'", f"{near}  {everything}" if near else everything)
    return known[name]


def domains() -> list[Domain]:
    """All domains, in the order of the catalog."""
    return list(_read(CATALOG).domains.values())


def domain(name: str) -> Domain:
    """The domain called `name`; RestyleError with the nearest name when there is none."""
    known = _read(CATALOG).domains
    if name not in known:
        raise RestyleError(f"no domain named '{name}'", did_you_mean(name, known) or f"known: {', '.join(known)}")
    return known[name]


def domain_of(*names: str) -> Domain | None:
    """The domain of the first of these names of models or of their files that the catalog has."""
    known = {name: entry.domain for entry in entries() for name in (entry.file, entry.name)}
    files = [Path(name).name.partition(":")[0] for name in names]  # FILE:decoder is the generator in an encoder's file
    found = next((known[name] for name in (*names, *files) if name in known), None)
    return next((domain for domain in domains() if domain.name == found), None)


def stand_ins(name: str | None = None) -> list[Domain]:
    """The domain `name` (None: the default one), then those whose models may replace its own."""
    chain = [domain(name or _read(CATALOG).default_domain)]
    while chain[-1].stand_in is not None:
        chain.append(domain(chain[-1].stand_in))
    return chain


def encoders(name: str) -> dict[str, Entry]:
    """The encoder of the domain `name` for each method that has one; no variants."""
    found = [e for e in entries() if e.kind == "encoder" and e.domain == name and e.method and not e.variant]
    return {entry.method: entry for entry in reversed(found) if entry.method}


# --- the catalog


def _known() -> dict[str, Entry]:
    """All entries with their latent space: a generator's is its own name unless the entry says another; the user's own
    have none unless they say one."""
    known = {**_read(CATALOG).entries, **_own()[0]}
    spaces = {
        name: entry.latent_space or (None if entry.own else name)
        for name, entry in known.items()
        if entry.kind == "generator"
    }
    return {
        name: replace(entry, latent_space=entry.latent_space or spaces.get(entry.generator or name))
        for name, entry in known.items()
    }


@functools.cache
def _read(path: Path) -> _Catalog:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    domains = {name: _domain(name, table) for name, table in tables["domain"].items()}
    entries = {}
    for name, table in tables["model"].items():
        table = tables["common"].get(table.get("common"), {}) | table
        entries[name] = _entry(name, table, domains.get(table["domain"]), tables["hosts"])
    return _Catalog(entries, domains, tables["default_domain"])


def _domain(name: str, table: dict[str, Any]) -> Domain:
    sizes = {key: tuple(table[key]) for key in ("image_size", "input")}
    return Domain(name=name, **{**table, **sizes})


def _entry(name: str, table: dict[str, Any], domain: Domain | None, hosts: Mapping[str, str]) -> Entry:
    """An entry of the catalog, completed from its domain."""
    values = {key: value for key, value in table.items() if key != "common"}
    if domain is not None:
        values.setdefault("licence_data", domain.data)
        values["summary"] = values["summary"].replace("{title}", domain.title)
        if values["kind"] == "encoder" and domain.generator:
            values.setdefault("generator", domain.generator)
    values["sources"] = tuple(_address(source, hosts) for source in table.get("sources", ()))
    return Entry(name=name, **values)


def _address(source: str, hosts: Mapping[str, str]) -> str:
    host, _, path = source.partition(":")
    return hosts[host] + path if host in hosts else source


# --- the user's own models


def own_file(name: str) -> Path:
    """Where the entry of the user's own model `name` is, or would be."""
    return home() / f"{name}.toml"


def write_own(entry: Entry) -> None:
    """Save an entry of the user's own, so that `entries` includes it."""
    import json

    skipped = {"name", "own", "embedded"}
    values = {field.name: getattr(entry, field.name) for field in fields(Entry) if field.name not in skipped}
    # JSON's strings, numbers, lists and booleans are TOML's too.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value]
    data = "\n".join([*lines, ""]).encode("utf-8", "replace")  # a file name may have bytes that are no text
    write_atomic(own_file(entry.name), lambda part: part.write_bytes(data))


def _own() -> tuple[dict[str, Entry], dict[str, RestyleError]]:
    """The user's own entries by name, and why others cannot be used."""
    entries: dict[str, Entry] = {}
    unusable: dict[str, RestyleError] = {}
    try:
        files = sorted(path for path in home().iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        message = f"the folder for downloaded models, {str(home())!r}, cannot be read: {reason_of(error)}"
        return {}, {"": RestyleError(message, "set RESTYLE_HOME to another")}
    except RestyleError as error:
        return {}, {"": error}
    for path in files:
        try:
            entries[path.stem] = _own_entry(path)
        except RestyleError as error:
            unusable[path.stem] = error
    return entries, unusable


def _own_entry(path: Path) -> Entry:
    """The entry in a file; RestyleError when it does not describe a model."""

    def parse(data: bytes) -> dict[str, Any]:
        table = parse_toml(data)
        if reserved := sorted({"name", "own", "embedded"} & table.keys()):
            raise RecordError("is not known", reserved[0])
        return table | {"name": path.stem, "own": True}

    hint = "correct or delete it; `restyle weights add` writes such files"
    entry: Entry = read(path, parse, Entry, hint)
    if Path(entry.file).name != entry.file or entry.file in ("", "..") or not entry.file.isprintable():
        raise RestyleError(f"{str(path)!r}: 'file' must be the name of a file in the same folder", hint)
    return entry
