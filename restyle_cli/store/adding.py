"""Add the user's files: what they contain, which entry of the catalog that is, and copying to `$RESTYLE_HOME`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.io import reason_of, write_atomic
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import KINDS, Entry
from restyle_cli.store.download import leftovers, looks_like_page
from restyle_cli.store.files import describe, write_hint
from restyle_cli.store.inputs import check_input
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.paths import fresh_sha256, home

UNKNOWN = "unknown"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def add(path: Path, name: str | None = None, move: bool = False, latent_space: str | None = None) -> tuple[Entry, str]:
    """Install a file; returns its entry and its SHA-256.

    `name` is an entry of the catalog, which the file must fit, or the name of a new entry. Without a name it is the
    entry with the file's SHA-256 or file name, else a new one, named after the file. `latent_space`: the model whose
    latent space it shares, or a name for one. RestyleError when the file is no model, does not fit, or the model is
    installed already.
    """
    parts = _parts(path)
    digest = fresh_sha256(path)
    entry = _entry_for(path, name, parts, digest)
    _check_fits(entry, path, parts, digest)
    if latent_space is not None:
        entry = _in_space(entry, latent_space)
    if fetch.installed(entry):
        message = f"'{entry.name}' is installed already"
        raise RestyleError(message, f"`restyle weights remove {entry.name}` makes room for another")
    known = fetch.remembered(entry) is not None
    with fetch.alone(entry), write_hint("set RESTYLE_HOME to a folder on a larger disk"):
        try:
            if entry.sha256 is None:
                fetch.remember(entry, digest)
            if entry.own:
                catalog.write_own(entry)  # first: a file without an entry could neither be used nor removed
            _install(path, fetch.path_of(entry), move)  # last: a moved file cannot be lost
        except BaseException:
            fetch.forget(entry, keep_digest=known)
            raise
    return entry, digest


def _parts(path: Path) -> list[Part]:
    check_input(path)
    with path.open("rb") as file:
        if looks_like_page(file.read(200)):
            raise RestyleError(f"'{path}' is a web page, not a model", "open it in a browser: it may say what is wrong")
    parts = describe(path)
    if not any(part.role in KINDS for part in parts):
        raise RestyleError(f"'{path}' contains: {_listed(parts)}; nothing that inverts or compares images")
    return parts


def _listed(parts: Sequence[Part]) -> str:
    """For messages: "encoder (restyle-psp), generator (stylegan2)"."""
    return ", ".join(f"{part.role} ({part.extra.get('method') or part.family})" for part in parts)


def _entry_for(path: Path, name: str | None, parts: Sequence[Part], digest: str) -> Entry:
    known = {entry.name: entry for entry in catalog.entries()}
    if name is None:
        published = [entry for entry in known.values() if not entry.embedded]
        same = [entry for entry in published if digest in (entry.sha256, fetch.remembered(entry))]
        same += [entry for entry in published if entry.file.lower() == path.name.lower()]
        if same:
            return same[0]
        name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if name in known:
        return known[name]
    if not _NAME.fullmatch(name):
        hint = "use lower-case letters, digits and single hyphens: --as my-model"
        raise RestyleError(f"'{name}' cannot be a name", hint)
    return _own_entry(name, path, parts)


def _own_entry(name: str, path: Path, parts: Sequence[Part]) -> Entry:
    """A new entry for a file that the catalog does not know."""
    roles = {part.role: part for part in reversed(parts)}
    kind = next(kind for kind in ("encoder", "generator", "perceptual") if kind in roles)
    extra, inside = roles[kind].extra, roles.get("generator")
    generator = extra.get("generator") if kind == "encoder" else None
    known = {entry.name: entry for entry in catalog.entries()}
    return Entry(
        name=name,
        kind=kind,
        domain=known[generator].domain if generator in known else "own",
        file=f"own-{name}{path.suffix.lower() if path.suffix.isascii() else ''}",  # no published file begins so
        method=extra.get("method") if kind == "encoder" else None,
        generator=generator,
        holds_generator=kind == "encoder" and inside is not None,
        latent_space=inside.extra.get("latent_space") if inside else None,
        licence_code=UNKNOWN,
        licence_weights=UNKNOWN,
        licence_data=UNKNOWN,
        commercial="unclear",
        summary=f"{_listed([roles[kind]])}, added from {path.name}",
        own=True,
    )


def _in_space(entry: Entry, name: str) -> Entry:
    """A new entry with the latent space of another model, or with one of this name."""
    if not entry.own or entry.kind == "perceptual":
        reason = "the catalog states it" if not entry.own else "it compares images"
        raise RestyleError(f"'{entry.name}' takes no latent space: {reason}", "leave --latent-space out")
    other = next((known for known in catalog.entries() if known.name == name), None)
    if other is None and not _NAME.fullmatch(name):
        raise RestyleError(f"'{name}' cannot be a latent space", "name a model, or use lower-case letters and hyphens")
    if other is not None and other.latent_space is None:
        raise RestyleError(
            f"the latent space of '{name}' is unknown",
            f"remove it and add both with the same --latent-space, such as --latent-space {name}-space",
        )
    return replace(entry, latent_space=name if other is None else other.latent_space)


def _check_fits(entry: Entry, path: Path, parts: Sequence[Part], digest: str) -> None:
    """RestyleError unless the file can be that of `entry`, by its SHA-256 and its content."""
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' is bundled with restyle", "choose another name with --as")
    hint = "with another name, --as NAME, it becomes a model of your own"
    expected = fetch.expected(entry)
    if not digest.startswith(expected):
        begins = f"its SHA-256 begins with {digest[:8]}, not {expected[:8]}"
        raise RestyleError(f"'{path}' is not the file of '{entry.name}': {begins}", hint)
    fitting = [part for part in parts if part.role == entry.kind]
    methods = {method for part in fitting if (method := part.extra.get("method"))}
    if not fitting:
        raise RestyleError(f"'{path}' contains: {_listed(parts)}; '{entry.name}' is of kind {entry.kind}", hint)
    if entry.method and methods and entry.method not in methods:
        raise RestyleError(f"'{path}' contains: {_listed(parts)}; '{entry.name}' is for {entry.method}", hint)


def _install(path: Path, target: Path, move: bool) -> None:
    try:
        home().mkdir(parents=True, exist_ok=True)
        if move and not path.is_symlink() and path.stat().st_dev == target.parent.stat().st_dev:
            path.replace(target)
        else:
            write_atomic(target, lambda part: shutil.copyfile(path, part))
            if move:
                path.unlink()
    except OSError as error:
        raise RestyleError(f"cannot copy '{path}' to '{target}': {reason_of(error)}") from error
    for left in leftovers(target):
        left.unlink(missing_ok=True)
