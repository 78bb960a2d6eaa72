"""`restyle convert`: networks from and to other projects' files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from restyle_cli.cli.options import Json, Quiet
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import RestyleError

EPILOG = (
    "Examples:  [bold]restyle convert restyle_psp_ffhq_encode.pt nets/[/]  ·  "
    "[bold]restyle convert ffhq.pkl ffhq.safetensors --half[/]  ·  "
    "[bold]restyle convert portrait portrait.pt --to rosinality[/]"
)


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="File of networks (.pt, .pkl, .safetensors), or a name of one installed."),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="Folder to write to, or a file; further networks get its name and theirs."),
    ],
    half: Annotated[bool, typer.Option("--half", help="Store 16 bits a number: half the size.")] = False,
    to: Annotated[
        Literal["restyle", "rosinality"],
        typer.Option("--to", help="Layout to write; rosinality's is a .pt of the generator that other tools read."),
    ] = "restyle",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn files of networks into restyle's own: safetensors, one network a file.

    An encoder and the decoder in its file are written apart; a generator that is in the folder already is shared, not
    written again. Each is then read back and compared with what was read: one code drawn by both, one picture encoded
    by both. Nothing inside a file is ever run.
    """
    terminal = Terminal(json=json, quiet=quiet)
    path = _find(source)
    if to == "rosinality" and half:
        raise RestyleError("rosinality's layout is written in full precision", "leave --half out")

    from restyle_cli.store.convert import Origin
    from restyle_cli.store.convert import convert as run

    folder = Path(target)
    if target.endswith(("/", "\\")):
        _make(folder)
    origin = Origin.of(path)
    written = run(path, folder, half=half, layout=to, overwrite=overwrite, origin=origin)
    for done in written:
        for note in done.notes:
            terminal.note(f"{done.file}: {note}")
    networks = [
        {
            "role": done.role,
            "family": done.family,
            "file": str(done.file),
            "bytes": done.file.stat().st_size,
            "difference": done.difference,
            "shared": done.shared,
        }
        for done in written
    ]
    values: dict[str, Any] = {"command": "convert", "input": str(path), "sha256": origin.digest}
    values |= {"layout": to, "half": half, "licence": origin.licence, "networks": networks}
    rows = [_row(values) for values in networks]
    table = Table(["network", "file", "size", "difference"], rows, right=frozenset({"size", "difference"}))
    terminal.result(values, table, f"licence: {origin.licence}")


def _find(source: str) -> Path:
    """The file, or that of an installed network; RestyleError when there is neither."""
    from restyle_cli.store import catalog, fetch
    from restyle_cli.store.inputs import check_input, is_file

    if not is_file(source) and any(entry.name == source for entry in catalog.entries()):
        return fetch.installed_path(catalog.find(source))
    if os.path.lexists(source):
        check_input(Path(source))
        return Path(source)
    raise RestyleError(
        f"no file or network {source!r}", "check the path, or take a name of `restyle weights list --installed`"
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RestyleError(f"cannot write to {str(folder)!r}: {(error.strerror or str(error)).lower()}") from error


def _row(network: dict[str, Any]) -> tuple[str, ...]:
    difference = "shared" if network["shared"] else f"{network['difference']:.2g}"
    return network["role"], network["file"], human_bytes(network["bytes"]), difference
