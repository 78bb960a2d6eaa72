"""`restyle weights`: list, download, add and check models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from restyle_cli.cli.options import Json, Offline, Quiet, Verbose, examples, option
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.methods import CHAINS, METHODS
from restyle_cli.models import installed
from restyle_cli.store import catalog, download, fetch
from restyle_cli.store.catalog import Entry

app = typer.Typer(help="List, download, add and check models.", no_args_is_help=True)

_NAMES = "Names from [bold]restyle weights list[/]."
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name from [bold]restyle weights list[/].")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help=_NAMES, show_default=False)]
SomeNames = Annotated[list[str], typer.Argument(metavar="NAME", help=_NAMES)]


@app.command("list", epilog=examples("restyle weights list --domain ffhq"))
def list_(
    domain: Annotated[str | None, option("--domain", "Only models of this domain, such as portrait.")] = None,
    installed: Annotated[bool, option("--installed", "Only installed models.")] = False,
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
    terminal.result({"networks": [_as_json(entry) for entry in shown]}, table)


@app.command("info", epilog=examples("restyle weights info restyle-psp-ffhq"))
def info(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Show a model: licences, sources, and the configuration in its file."""
    terminal = Terminal(json, quiet, verbose)
    entry = _find(name)
    values = _as_json(entry)
    if fetch.installed(entry):
        from restyle_cli.store.files import describe

        parts = describe(fetch.path_of(entry))
        held = [{"family": part.family, "config": part.config, "extra": part.extra} for part in parts]
        values |= held[0] if len(held) == 1 else {"holds": held}
    rows = [(key.replace("_", " "), _text(value)) for key, value in _flat(values) if value is not None]
    terminal.result(values, Table(["", ""], rows))


@app.command("path", epilog=examples('cp "$(restyle weights path portrait)" .'))
def path(name: Name, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Print the path of a model's file; exit status 1 if it is not installed."""
    terminal = Terminal(json, quiet, verbose)
    file = fetch.installed_path(_find(name))
    terminal.result({"name": name, "path": str(file)}, str(file))


@app.command("get", epilog=examples("restyle weights get restyle-psp-ffhq", "restyle weights get --domain cars"))
def get(
    names: Names = None,
    domain: Annotated[
        str | None, option("--domain", "All models needed to invert images of this domain, such as ffhq.")
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
    chosen = [catalog.find(name) for name in names or ()] + (_of_domain(domain) if domain is not None else [])
    if not chosen:
        raise UsageError("no model is named", "give a name from `restyle weights list`, or --domain")

    def download_one(entry: Entry) -> dict[str, Any]:
        there = fetch.installed(entry)
        try:
            file = fetch.ensure(entry, offline=offline, note=terminal.note, progress=terminal.transfer)
        except KeyboardInterrupt:
            message = f"interrupted while downloading {entry.name}"
            raise Interrupted(message, "run the same command again to continue") from None
        return {"status": "installed" if there else "fetched", "path": str(file), "bytes": file.stat().st_size}

    def line(result: dict[str, Any]) -> str:
        size = "already installed" if result["status"] == "installed" else human_bytes(result["bytes"])
        return f"{result['name']}: {result['path']} ({size})"

    results = _each(dict.fromkeys(chosen), download_one, terminal)
    _end(terminal, "weights get", results, [line(result) for result in results if result["status"] != "failed"])


@app.command(
    "add",
    epilog=examples(
        "restyle weights add ~/Downloads/restyle_psp_ffhq_encode.pt",
        "restyle weights add network-snapshot-005000.pkl --as my-cats --move",
        "restyle weights add tuned.pt --latent-space restyle-psp-ffhq",
    ),
)
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, written by restyle or published.")],
    name: Annotated[
        str | None, option("--as", "Name: of the known model that the file is, or a new one.", metavar="NAME")
    ] = None,
    move: Annotated[bool, option("--move", "Move the file instead of copying it.")] = False,
    latent_space: Annotated[
        str | None,
        option(
            "--latent-space",
            "Model whose latent space it shares, or a name for a latent space. Such models can be chained.",
            metavar="NAME",
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
    values = {
        "command": "weights add",
        "name": entry.name,
        "kind": entry.kind,
        "path": str(fetch.path_of(entry)),
        "sha256": digest,
        "latent_space": entry.latent_space,
    }
    terminal.result(values, f"{entry.name}: {entry.summary}\n{values['path']}\nSHA-256 {digest}")


@app.command("verify", epilog=examples("restyle weights verify", "restyle weights verify restyle-psp-ffhq"))
def verify(names: Names = None, json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Compare the SHA-256 of installed models with the known ones.

    Checks all models if none is named. Exit status 1 if one differs.
    """
    terminal = Terminal(json, quiet, verbose)
    chosen = [catalog.find(name) for name in names] if names else [e for e in catalog.entries() if fetch.installed(e)]

    def verify_one(entry: Entry) -> dict[str, Any]:
        known = fetch.expected(entry)
        good, digest = fetch.verify(entry)
        if not good:
            message = (
                f"'{entry.name}' is damaged or another file: its SHA-256 begins with {digest[:8]}, not {known[:8]}"
            )
            raise RestyleError(message, _repair_hint(entry))
        return {"status": "good" if known else "new", "sha256": digest}

    with terminal.progress("verifying", len(chosen)) as progress:
        results = _each(chosen, verify_one, terminal, progress.advance)
    words = {"good": "verified", "new": "SHA-256 recorded", "failed": "failed"}
    rows = [(r["name"], words[r["status"]], r.get("sha256", "")) for r in results]
    _end(terminal, "weights verify", results, [Table(["name", "", "SHA-256"], rows, spare=("SHA-256",))])


@app.command("remove", epilog=examples("restyle weights remove restyle-psp-ffhq"))
def remove(
    names: SomeNames,
    forget: Annotated[
        bool, option("--forget", "Also forget its SHA-256, so that another file is accepted under its name.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete downloaded or added models, and partial downloads."""
    terminal = Terminal(json, quiet, verbose)
    chosen = [catalog.find(name) for name in names]
    results = _each(chosen, lambda entry: {"status": "removed", "bytes": fetch.remove(entry, forget)}, terminal)
    views = [f"{r['name']}: {human_bytes(r['bytes'])} freed" for r in results if r["status"] == "removed"]
    _end(terminal, "weights remove", results, views)


def _each(
    entries: Iterable[Entry],
    action: Callable[[Entry], dict[str, Any]],
    terminal: Terminal,
    after: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """The result of `action` for each entry; an error is printed and does not stop the others."""
    results = []
    for entry in entries:
        try:
            results.append({"name": entry.name} | action(entry))
        except RestyleError as error:
            if isinstance(error, Interrupted):
                raise
            terminal.error(error)
            results.append({"name": entry.name, "status": "failed", "error": error.message})
        after()
    return results


def _end(terminal: Terminal, command: str, results: list[dict[str, Any]], views: Sequence[Table | str]) -> None:
    failed = sum(result["status"] == "failed" for result in results)
    terminal.result({"command": command, "networks": results, "failed": failed}, *views)
    if failed:
        raise typer.Exit(1)


def _find(name: str) -> Entry:
    """The model called `name`; RestyleError if it is unknown, or a method that uses other models' files."""
    if catalog.get(name) is None:
        derived = next((method for method in [*METHODS.names(), *CHAINS] if name in installed(method)), None)
        if derived is not None:
            message = f"'{name}' has no file of its own: it is the method {derived} with the files of other models"
            raise RestyleError(message, f"see `restyle methods {derived}`")
    return catalog.find(name)


def _of_domain(name: str) -> list[Entry]:
    """The encoder of a domain, and its generator if that is a separate file."""
    domain = catalog.domain(name)
    if domain.encoder is None:
        raise RestyleError(f"no models of domain '{name}' to download", "see `restyle weights list`")
    encoder = catalog.find(domain.encoder)
    separate = encoder.generator is not None and not encoder.holds_generator
    return [encoder, catalog.find(str(encoder.generator))] if separate else [encoder]


def _repair_hint(entry: Entry) -> str:
    if entry.embedded:
        return "install restyle again"
    again = f"`restyle weights get {entry.name}`" if entry.sources else "add it again"
    return f"`restyle weights remove {entry.name}`, then {again}"


def _row(entry: Entry) -> list[str]:
    size = _size(entry)
    return [
        entry.name,
        entry.kind,
        entry.domain,
        ("bundled" if entry.embedded else "yes") if fetch.installed(entry) else "no",
        "?" if size is None else human_bytes(size),
        entry.licence_weights,
        entry.commercial,
    ]


def _size(entry: Entry) -> int | None:
    """Size of the installed file in bytes, else the size in the catalog."""
    return fetch.path_of(entry).stat().st_size if fetch.installed(entry) else entry.bytes


def _path(entry: Entry) -> str | None:
    """Path of the file, installed or not; None if there is no folder for models."""
    try:
        return str(fetch.path_of(entry))
    except RestyleError:
        return None


def _as_json(entry: Entry) -> dict[str, Any]:
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
