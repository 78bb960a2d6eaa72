"""`restyle weights`: which networks there are, what they are, where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from restyle_cli.cli import weights_files
from restyle_cli.cli.options import Json
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import RestyleError
from restyle_cli.loading import installed
from restyle_cli.methods.spec import SPECS
from restyle_cli.store import catalog, fetch, web
from restyle_cli.store.catalog import Entry

app = typer.Typer(help="Networks: which there are, what they are, where they lie.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name from [bold]restyle weights list[/].")]


@app.command("list", epilog="Example:  [bold]restyle weights list --domain ffhq[/]")
def list_(
    domain: Annotated[
        str | None, typer.Option("--domain", help="Only networks of this domain, such as portrait.")
    ] = None,
    installed: Annotated[bool, typer.Option("--installed", help="Only what is on this machine.")] = False,
    json: Json = False,
) -> None:
    """List the networks that restyle knows by name, and which of them are installed."""
    terminal = Terminal(json=json)
    known = catalog.entries()
    for problem in catalog.problems():
        terminal.warn(problem.whole)
    domains = sorted({entry.domain for entry in known})
    if domain is not None and domain not in domains:
        raise RestyleError(f"no networks of domain '{domain}'", f"there are: {', '.join(domains)}")
    shown = [e for e in known if domain in (None, e.domain) and (fetch.installed(e) or not installed)]
    table = Table(
        ["name", "kind", "domain", "installed", "size", "licence", "commercial"],
        [_row(entry) for entry in shown],
        right=frozenset({"size"}),
        spare=("kind", "domain", "size", "commercial"),
    )
    terminal.result({"networks": [_described(entry) for entry in shown]}, table)


@app.command("info", epilog="Example:  [bold]restyle weights info restyle-psp-ffhq[/]")
def info(name: Name, json: Json = False) -> None:
    """Show all that is known of one network: licences, origin, and what its file says of itself."""
    entry = _find(name)
    values = _described(entry)
    if fetch.installed(entry):
        values |= _contents(entry)
    rows = [(key.replace("_", " "), _text(value)) for key, value in _flat(values) if value is not None]
    Terminal(json=json).result(values, Table(["", ""], rows))


@app.command("path", epilog='Example:  [bold]cp "$(restyle weights path portrait)" .[/]')
def path(name: Name, json: Json = False) -> None:
    """Print where the file of one network lies; exit status 1 when it is not installed."""
    file = fetch.installed_path(_find(name))
    Terminal(json=json).result({"name": name, "path": str(file)}, str(file))


app.command("get")(weights_files.get)
app.command("add")(weights_files.add)
app.command("verify")(weights_files.verify)
app.command("remove")(weights_files.remove)


def _find(name: str) -> Entry:
    """The network called `name`. RestyleError too where it is one of the models that are made of others' networks."""
    if all(entry.name != name for entry in catalog.entries()):
        made_up = next((method for method in SPECS if name in installed(method)), None)
        if made_up is not None:
            message = f"'{name}' has no network of its own: it is the method {made_up} with networks of others"
            raise RestyleError(message, f"`restyle methods {made_up}` tells of it")
    return catalog.find(name)


def _contents(entry: Entry) -> dict[str, Any]:
    """What the installed file says: of one network its family and settings, of several those of each."""
    from restyle_cli.store.files import describe

    parts = describe(fetch.path_of(entry))
    held = [{"family": part.family, "config": part.config, "extra": part.extra} for part in parts]
    return held[0] if len(held) == 1 else {"holds": held}


def _row(entry: Entry) -> list[str]:
    size = _size(entry)
    return [
        entry.name,
        entry.kind,
        entry.domain,
        _installed(entry),
        "?" if size is None else human_bytes(size),
        entry.licence_weights,
        entry.commercial,
    ]


def _installed(entry: Entry) -> str:
    if not fetch.installed(entry):
        return "no"
    return "embedded" if entry.embedded else "yes"


def _size(entry: Entry) -> int | None:
    """Bytes of the file where it is installed, else those the catalog states."""
    return fetch.path_of(entry).stat().st_size if fetch.installed(entry) else entry.bytes


def _path(entry: Entry) -> str | None:
    """Where the file is or would be; None where there is no folder for it."""
    try:
        return str(fetch.path_of(entry))
    except RestyleError:
        return None


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "kind": entry.kind,
        "domain": entry.domain,
        "method": entry.method,
        "generator": entry.generator,
        "latent_space": entry.latent_space,
        "embedded": entry.embedded,
        "installed": fetch.installed(entry),
        "path": _path(entry),
        "bytes": _size(entry),
        "sha256": fetch.expected(entry) or None,
        "sources": [web.page_of(source) for source in entry.sources],
        "page": entry.page,
        "licence_code": entry.licence_code,
        "licence_weights": entry.licence_weights,
        "licence_data": entry.licence_data,
        "commercial": entry.commercial,
    }


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All pairs, those of tables inside in the table's place: what a file says is shown line by line."""
    for key, value in values.items():
        if key == "holds":
            for network in value:
                yield from _flat(network)
            continue
        if isinstance(value, dict) and (not value or not all(name.isdigit() for name in value)):
            yield from _flat(value)
        else:
            yield key, value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):  # channels by resolution
        return ", ".join(f"{key}: {_text(value[key])}" for key in sorted(value, key=int))
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "—"
    return str(value)
