"""Files that a person brings: what they hold, which network of the catalog that is, and the way to `$RESTYLE_HOME`."""

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
from restyle_cli.store.paths import home, sha256

NOT_KNOWN = "not known"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def add(path: Path, name: str | None = None, move: bool = False, latent_space: str | None = None) -> tuple[Entry, str]:
    """Take a file among the networks; its entry, and its SHA-256.

    It becomes the network `name`: one of the catalog, whose file it must then be, or one of the person's own.
    Without a name it is the one of the catalog that has its SHA-256 or its file name, else one of the person's own,
    called as the file. `latent_space`: the network whose latent space it shares, or a name for one. RestyleError when
    it is no network, not the one that is meant, or there already.
    """
    held = _contents(path)
    digest = sha256(path)
    entry = _entry_for(path, name, held, digest)
    _check_is(entry, path, held, digest)
    if latent_space is not None:
        entry = _in_space(entry, latent_space)
    if fetch.installed(entry):
        raise RestyleError(
            f"'{entry.name}' is installed already", f"`restyle weights remove {entry.name}` makes room for another"
        )
    known = fetch.remembered(entry) is not None
    with fetch.alone(entry), write_hint("set RESTYLE_HOME to a folder on a larger disk"):
        try:
            if entry.sha256 is None:
                fetch.remember(entry, digest)
            if entry.own:
                catalog.write_own(entry)  # before: a file without an entry could neither be used nor removed
            _put(path, fetch.path_of(entry), move)  # last: what was moved cannot be lost
        except BaseException:
            fetch.forget(entry, keep_digest=known)
            raise
    return entry, digest


def _contents(path: Path) -> list[Part]:
    check_input(path)
    with path.open("rb") as file:
        if looks_like_page(file.read(200)):
            raise RestyleError(
                f"'{path}' is a web page, not a network", "open it in a browser: it may say what is wrong"
            )
    held = describe(path)
    if not any(part.role in KINDS for part in held):
        raise RestyleError(f"'{path}' holds: {_listed(held)}; nothing that inverts or compares pictures")
    return held


def _listed(held: Sequence[Part]) -> str:
    """As messages name what a file holds: "encoder (restyle-psp), generator (stylegan2)"."""
    return ", ".join(f"{part.role} ({part.extra.get('method') or part.family})" for part in held)


def _entry_for(path: Path, name: str | None, held: Sequence[Part], digest: str) -> Entry:
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
        raise RestyleError(
            f"'{name}' cannot be a name", "use small letters, digits and single hyphens: --as my-network"
        )
    return _own_entry(name, path, held)


def _own_entry(name: str, path: Path, held: Sequence[Part]) -> Entry:
    """What can be said of a file that the catalog does not know."""
    roles = {part.role: part for part in reversed(held)}
    kind = next(kind for kind in ("encoder", "generator", "perceptual") if kind in roles)
    told, inside = roles[kind].extra, roles.get("generator")
    generator = told.get("generator") if kind == "encoder" else None
    known = {entry.name: entry for entry in catalog.entries()}
    return Entry(
        name=name,
        kind=kind,
        domain=known[generator].domain if generator in known else "own",
        file=f"own-{name}{path.suffix.lower() if path.suffix.isascii() else ''}",  # published files have names like any
        method=told.get("method") if kind == "encoder" else None,
        generator=generator,
        holds_generator=kind == "encoder" and inside is not None,
        latent_space=inside.extra.get("latent_space") if inside else None,
        licence_code=NOT_KNOWN,
        licence_weights=NOT_KNOWN,
        licence_data=NOT_KNOWN,
        commercial="unclear",
        summary=f"{_listed([roles[kind]])}, added from {path.name}",
        own=True,
    )


def _in_space(entry: Entry, name: str) -> Entry:
    """A network of the person's own in the latent space of another network, or in one of this name."""
    if not entry.own or entry.kind == "perceptual":
        reason = "the catalog states it" if not entry.own else "it compares images"
        raise RestyleError(f"'{entry.name}' takes no latent space: {reason}", "leave --latent-space out")
    other = next((known for known in catalog.entries() if known.name == name), None)
    if other is None and not _NAME.fullmatch(name):
        raise RestyleError(f"'{name}' cannot be a latent space", "name a network, or use small letters and hyphens")
    if other is not None and other.latent_space is None:
        raise RestyleError(
            f"the latent space of '{name}' is not known",
            f"remove it and add both with the same --latent-space, such as --latent-space {name}-space",
        )
    return replace(entry, latent_space=name if other is None else other.latent_space)


def _check_is(entry: Entry, path: Path, held: Sequence[Part], digest: str) -> None:
    """RestyleError unless the file can be that of `entry`, judged by its bytes and by what it holds."""
    if entry.embedded:
        raise RestyleError(f"'{entry.name}' belongs to restyle", "choose another name with --as")
    name = "with another name, --as NAME, it becomes a network of your own"
    expected = fetch.expected(entry)
    if not digest.startswith(expected):
        raise RestyleError(
            f"'{path}' is not the file of '{entry.name}': its SHA-256 begins with {digest[:8]}, not {expected[:8]}",
            name,
        )
    fitting = [part for part in held if part.role == entry.kind]
    if not fitting:
        raise RestyleError(f"'{path}' holds: {_listed(held)}; '{entry.name}' is of kind {entry.kind}", name)
    methods = {method for part in fitting if (method := part.extra.get("method"))}
    if entry.method and methods and entry.method not in methods:
        raise RestyleError(f"'{path}' holds: {_listed(held)}; '{entry.name}' is for {entry.method}", name)


def _put(path: Path, target: Path, move: bool) -> None:
    def copy(part: Path) -> None:
        shutil.copyfile(path, part)

    try:
        home().mkdir(parents=True, exist_ok=True)
        if move and not path.is_symlink() and path.stat().st_dev == target.parent.stat().st_dev:
            path.replace(target)
        else:
            write_atomic(target, copy)
            if move:
                path.unlink()
    except OSError as error:
        raise RestyleError(f"cannot bring '{path}' to '{target}': {reason_of(error)}") from error
    for left in leftovers(target):  # of another way to get the file, which is not needed any more
        left.unlink(missing_ok=True)
