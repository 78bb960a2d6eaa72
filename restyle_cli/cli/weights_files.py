"""`restyle weights get`, `add`, `verify`, `remove`: bringing networks to this machine, and taking them away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json, Offline, Quiet
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
        typer.Option("--domain", help="What is needed to invert pictures of this domain, such as ffhq."),
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch networks, and check them.

    A fetch that was interrupted goes on where it stopped. Sources are tried in turn,
    through the proxy of the environment (https_proxy) if there is one. Another file
    than the known one is refused.

    Examples:

        [bold]restyle weights get restyle-psp-ffhq[/]

        [bold]restyle weights get --domain cars[/]
    """
    terminal = Terminal(json=json, quiet=quiet)
    wanted = [catalog.find(name) for name in names or ()]
    wanted += _of_domain(domain) if domain is not None else []
    if not wanted:
        raise UsageError("nothing is named", "name a network of `restyle weights list`, or a --domain")
    results = []
    for entry in dict.fromkeys(wanted):
        there = fetch.installed(entry)
        try:
            path = fetch.ensure(entry, offline=offline, note=terminal.note, progress=terminal.transfer)
        except RestyleError as error:
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted while fetching {entry.name}", "the same command goes on from there"
            ) from None
        else:
            size, status = path.stat().st_size, "installed" if there else "fetched"
            results.append({"name": entry.name, "status": status, "path": str(path), "bytes": size})
    views = [_got(result) for result in results if result["status"] != "failed"]
    _end(terminal, "weights get", results, views)


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A network, ours or a published one.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="Which network it is, or how it shall be called.", show_default=False
        ),
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Move the file instead of copying it.")] = False,
    latent_space: Annotated[
        str | None,
        typer.Option(
            "--latent-space",
            metavar="NAME",
            help="The network whose latent space it shares, or a name for one: such networks can be chained.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Take a file that you have among the networks.

    Without --as it is known by its SHA-256 or its name. What restyle does not know
    becomes a network of your own.

    Examples:

        [bold]restyle weights add ~/Downloads/restyle_psp_ffhq_encode.pt[/]

        [bold]restyle weights add network-snapshot-005000.pkl --as my-cats --move[/]

        [bold]restyle weights add tuned.pt --latent-space restyle-psp-ffhq[/]
    """
    from restyle_cli.store import adding

    if name in METHODS:
        raise UsageError(f"'{name}' is the name of a method", f"choose another, such as --as {name}-mine")
    entry, digest = adding.add(file, name, move, latent_space)
    path = fetch.path_of(entry)
    values = {"command": "weights add", "name": entry.name, "kind": entry.kind, "path": str(path), "sha256": digest}
    values["latent_space"] = entry.latent_space
    view = f"{entry.name}: {entry.summary}\n{path}\nSHA-256 {digest}"
    Terminal(json=json).result(values, view)


def verify(names: Names = None, json: Json = False, quiet: Quiet = False) -> None:
    """Read installed networks again and compare their SHA-256 with the known one.

    All of them, if none is named. Exit status 1 when one is not as it should be.

    Examples:

        [bold]restyle weights verify[/]

        [bold]restyle weights verify restyle-psp-ffhq[/]
    """
    terminal = Terminal(json=json, quiet=quiet)
    chosen = [catalog.find(name) for name in names] if names else [e for e in catalog.entries() if fetch.installed(e)]
    results = []
    for entry in chosen:
        known = fetch.expected(entry)
        try:
            good, digest = fetch.verify(entry)
            if not good:
                raise RestyleError(
                    f"'{entry.name}' is not as it should be: its SHA-256 begins with {digest[:8]}, not {known[:8]}",
                    _mending(entry),
                )
        except RestyleError as error:
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        else:
            results.append({"name": entry.name, "status": "good" if known else "new", "sha256": digest})
    words = {"good": "as it should be", "new": "not known before, kept from now on", "failed": "not as it should be"}
    rows = [(r["name"], words[r["status"]], r.get("sha256", "")) for r in results]
    _end(terminal, "weights verify", results, [Table(["name", "", "SHA-256"], rows, spare=("SHA-256",))])


def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names from [bold]restyle weights list[/].")],
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Also forget the SHA-256 it had, so that another file of its name may come."),
    ] = False,
    json: Json = False,
) -> None:
    """Delete fetched or added networks, and what is left of an interrupted fetch.

    Example:  [bold]restyle weights remove restyle-psp-ffhq[/]
    """
    terminal = Terminal(json=json)
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
    """The encoder of a domain, and its generator where that is another file."""
    domain = catalog.domain(name)
    if domain.encoder is None:
        raise RestyleError(f"there are no networks of domain '{name}' to fetch", "`restyle weights list` shows all")
    encoder = catalog.find(domain.encoder)
    apart = encoder.generator is not None and not encoder.holds_generator
    return [encoder, catalog.find(str(encoder.generator))] if apart else [encoder]


def _got(result: dict[str, Any]) -> str:
    there = "was there already" if result["status"] == "installed" else human_bytes(result["bytes"])
    return f"{result['name']}: {result['path']} ({there})"


def _mending(entry: Entry) -> str:
    if entry.embedded:
        return "install restyle again"
    again = f"`restyle weights get {entry.name}`" if entry.sources else "add it again"
    return f"`restyle weights remove {entry.name}`, then {again}"


def _end(terminal: Terminal, command: str, results: list[dict[str, Any]], views: list[Table | str]) -> None:
    failed = sum(result["status"] == "failed" for result in results)
    terminal.result({"command": command, "networks": results, "failed": failed}, *views)
    if failed:
        raise typer.Exit(1)
