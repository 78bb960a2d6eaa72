"""`restyle weights get`, `add`, `verify` and `remove`: the files of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json, Offline, Quiet, Verbose
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.methods import METHODS
from restyle_cli.store import catalog, fetch
from restyle_cli.store.catalog import Entry

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Names from [bold]restyle weights list[/].", show_default=False),
]


def get(
    names: Names = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", help="All models needed to invert images of this domain, such as ffhq."),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Download models and check them.

    An interrupted download continues. Sources are tried in turn, through the
    proxy in https_proxy if it is set. A file with another SHA-256 than the
    known one is refused.
    """
    terminal = Terminal(json, quiet, verbose)
    wanted = [catalog.find(name) for name in names or ()]
    wanted += _of_domain(domain) if domain is not None else []
    if not wanted:
        raise UsageError("no model is named", "give a name from `restyle weights list`, or --domain")
    results: list[dict[str, Any]] = []
    for entry in dict.fromkeys(wanted):
        there = fetch.installed(entry)
        try:
            path = fetch.ensure(entry, offline=offline, note=terminal.note, progress=terminal.transfer)
        except RestyleError as error:
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while downloading {entry.name}", "run the same command again to continue"
            ) from None
        else:
            size, status = path.stat().st_size, "installed" if there else "fetched"
            results.append({"name": entry.name, "status": status, "path": str(path), "bytes": size})
    views = [_got(result) for result in results if result["status"] != "failed"]
    _end(terminal, "weights get", results, views)


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, written by restyle or published.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="Name: of the known model that the file is, or a new one.", show_default=False
        ),
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Move the file instead of copying it.")] = False,
    latent_space: Annotated[
        str | None,
        typer.Option(
            "--latent-space",
            metavar="NAME",
            help="Model whose latent space it shares, or a name for a latent space. Such models can be chained.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Register a checkpoint file that you have.

    Without --as, known models are recognised by SHA-256 or file name. Any other
    file becomes a model of your own.
    """
    from restyle_cli.store import adding

    terminal = Terminal(json, quiet, verbose)
    if name in METHODS:
        raise UsageError(f"'{name}' is the name of a method", f"choose another, such as --as {name}-mine")
    entry, digest = adding.add(file, name, move, latent_space)
    path = fetch.path_of(entry)
    values = {
        "command": "weights add",
        "name": entry.name,
        "kind": entry.kind,
        "path": str(path),
        "sha256": digest,
        "latent_space": entry.latent_space,
    }
    view = f"{entry.name}: {entry.summary}\n{path}\nSHA-256 {digest}"
    terminal.result(values, view)


def verify(names: Names = None, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Compare the SHA-256 of installed models with the known ones.

    Checks all models if none is named. Exit status 1 if one differs.
    """
    terminal = Terminal(json, quiet, verbose)
    chosen = [catalog.find(name) for name in names] if names else [e for e in catalog.entries() if fetch.installed(e)]
    results = []
    for entry in chosen:
        known = fetch.expected(entry)
        try:
            good, digest = fetch.verify(entry)
            if not good:
                raise RestyleError(
                    f"'{entry.name}' is damaged or another file: its SHA-256 begins with {digest[:8]}, not {known[:8]}",
                    _repair_hint(entry),
                )
        except RestyleError as error:
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        else:
            results.append({"name": entry.name, "status": "good" if known else "new", "sha256": digest})
    words = {"good": "verified", "new": "SHA-256 recorded", "failed": "failed"}
    rows = [(r["name"], words[r["status"]], r.get("sha256", "")) for r in results]
    _end(terminal, "weights verify", results, [Table(["name", "", "SHA-256"], rows, spare=("SHA-256",))])


def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names from [bold]restyle weights list[/].")],
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Also forget its SHA-256, so that another file is accepted under its name."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete downloaded or added models, and partial downloads."""
    terminal = Terminal(json, quiet, verbose)
    results: list[dict[str, Any]] = []
    for entry in [catalog.find(name) for name in names]:
        try:
            freed = fetch.remove(entry, forget)
        except RestyleError as error:
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        else:
            results.append({"name": entry.name, "status": "removed", "bytes": freed})
    views = [f"{r['name']}: {human_bytes(r['bytes'])} freed" for r in results if r["status"] == "removed"]
    _end(terminal, "weights remove", results, views)


def _of_domain(name: str) -> list[Entry]:
    """The encoder of a domain, and its generator if that is a separate file."""
    domain = catalog.domain(name)
    if domain.encoder is None:
        raise RestyleError(f"no models of domain '{name}' to download", "see `restyle weights list`")
    encoder = catalog.find(domain.encoder)
    separate = encoder.generator is not None and not encoder.holds_generator
    return [encoder, catalog.find(str(encoder.generator))] if separate else [encoder]


def _got(result: dict[str, Any]) -> str:
    size = "already installed" if result["status"] == "installed" else human_bytes(result["bytes"])
    return f"{result['name']}: {result['path']} ({size})"


def _repair_hint(entry: Entry) -> str:
    if entry.embedded:
        return "install restyle again"
    again = f"`restyle weights get {entry.name}`" if entry.sources else "add it again"
    return f"`restyle weights remove {entry.name}`, then {again}"


def _end(terminal: Terminal, command: str, results: list[dict[str, Any]], views: Sequence[Table | str]) -> None:
    failed = sum(result["status"] == "failed" for result in results)
    terminal.result({"command": command, "networks": results, "failed": failed}, *views)
    if failed:
        raise typer.Exit(1)
