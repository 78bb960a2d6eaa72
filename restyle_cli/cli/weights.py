"""`restyle weights`: list and describe models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from restyle_cli.cli import weights_files
from restyle_cli.cli.options import Json, Quiet, Verbose, examples
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import RestyleError
from restyle_cli.methods import CHAINS, METHODS
from restyle_cli.models import installed
from restyle_cli.store import catalog, download, fetch
from restyle_cli.store.catalog import Entry

app = typer.Typer(help="List, download, add and check models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name from [bold]restyle weights list[/].")]


@app.command("list", epilog=examples("restyle weights list --domain ffhq"))
def list_(
    domain: Annotated[
        str | None, typer.Option("--domain", help="Only models of this domain, such as portrait.")
    ] = None,
    installed: Annotated[bool, typer.Option("--installed", help="Only installed models.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List the models that restyle knows by name, and which of them are installed."""
    terminal = Terminal(json, quiet, verbose)
    known = catalog.entries()
    for problem in catalog.problems():
        terminal.warn(problem.full_message)
    domains = sorted({entry.domain for entry in known})
    if domain is not None and domain not in domains:
        raise RestyleError(f"no models of domain '{domain}'", f"there are: {', '.join(domains)}")
    shown = [e for e in known if domain in (None, e.domain) and (fetch.installed(e) or not installed)]
    table = Table(
        ["name", "kind", "domain", "installed", "size", "licence", "commercial"],
        [_row(entry) for entry in shown],
        right=frozenset({"size"}),
        spare=("kind", "domain", "size", "commercial"),
    )
    terminal.result({"networks": [_described(entry) for entry in shown]}, table)


@app.command("info", epilog=examples("restyle weights info restyle-psp-ffhq"))
def info(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Show a model: licences, sources, and the configuration in its file."""
    terminal = Terminal(json, quiet, verbose)
    entry = _find(name)
    values = _described(entry)
    if fetch.installed(entry):
        values |= _contents(entry)
    rows = [(key.replace("_", " "), _text(value)) for key, value in _flat(values) if value is not None]
    terminal.result(values, Table(["", ""], rows))


@app.command("path", epilog=examples('cp "$(restyle weights path portrait)" .'))
def path(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Print the path of a model's file; exit status 1 if it is not installed."""
    terminal = Terminal(json, quiet, verbose)
    file = fetch.installed_path(_find(name))
    terminal.result({"name": name, "path": str(file)}, str(file))


app.command("get", epilog=examples("restyle weights get restyle-psp-ffhq", "restyle weights get --domain cars"))(
    weights_files.get
)
app.command(
    "add",
    epilog=examples(
        "restyle weights add ~/Downloads/restyle_psp_ffhq_encode.pt",
        "restyle weights add network-snapshot-005000.pkl --as my-cats --move",
        "restyle weights add tuned.pt --latent-space restyle-psp-ffhq",
    ),
)(weights_files.add)
app.command("verify", epilog=examples("restyle weights verify", "restyle weights verify restyle-psp-ffhq"))(
    weights_files.verify
)
app.command("remove", epilog=examples("restyle weights remove restyle-psp-ffhq"))(weights_files.remove)


def _find(name: str) -> Entry:
    """The model called `name`; RestyleError if it is unknown, or a method that uses other models' files."""
    if all(entry.name != name for entry in catalog.entries()):
        derived = next((method for method in [*METHODS.names(), *CHAINS] if name in installed(method)), None)
        if derived is not None:
            message = f"'{name}' has no file of its own: it is the method {derived} with the files of other models"
            raise RestyleError(message, f"see `restyle methods {derived}`")
    return catalog.find(name)


def _contents(entry: Entry) -> dict[str, Any]:
    """Family and configuration from the installed file; for a file of several models a list of them."""
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
    return "bundled" if entry.embedded else "yes"


def _size(entry: Entry) -> int | None:
    """Size of the installed file in bytes, else the size in the catalog."""
    return fetch.path_of(entry).stat().st_size if fetch.installed(entry) else entry.bytes


def _path(entry: Entry) -> str | None:
    """Path of the file, installed or not; None if there is no folder for models."""
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
        "sources": [download.page_of(source) for source in entry.sources],
        "page": entry.page,
        "licence_code": entry.licence_code,
        "licence_weights": entry.licence_weights,
        "licence_data": entry.licence_data,
        "commercial": entry.commercial,
    }


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All pairs, nested dicts flattened."""
    for key, value in values.items():
        if key == "holds":
            for part in value:
                yield from _flat(part)
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
