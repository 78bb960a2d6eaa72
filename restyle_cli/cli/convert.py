"""`restyle convert`: checkpoints of other projects to safetensors, and generators back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from restyle_cli.cli.options import Json, Quiet, Verbose, examples, option
from restyle_cli.cli.output import Table, Terminal, human_bytes
from restyle_cli.errors import RestyleError

EPILOG = examples(
    "restyle convert restyle_psp_ffhq_encode.pt models/",
    "restyle convert ffhq.pkl ffhq.safetensors --half",
    "restyle convert portrait portrait.pt --to rosinality",
)


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="Checkpoint (.pt, .pkl, .safetensors), or the name of an installed model."),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="Output folder, or a file; further models get its name with their role."),
    ],
    half: Annotated[bool, option("--half", "Store fp16 weights: half the size.")] = False,
    to: Annotated[
        Literal["restyle", "rosinality"],
        option("--to", "Layout to write. rosinality: a .pt of the generator for other tools.", default=True),
    ] = "restyle",
    overwrite: Annotated[bool, option("--overwrite", "Replace existing files.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert checkpoints to safetensors, one model per file.

    An encoder and the generator in its checkpoint are written separately. A
    generator that is already in the folder is shared, not written again. Each
    written model is read back and its output compared with the original's.
    Code inside a checkpoint is never executed.
    """
    terminal = Terminal(json, quiet, verbose)
    path = _find(source)
    if to == "rosinality" and half:
        raise RestyleError("--to rosinality and --half cannot be combined", "the rosinality layout is fp32")

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
    table = Table(["model", "file", "size", "difference"], rows, right=frozenset({"size", "difference"}))
    terminal.result(values, table, f"licence: {origin.licence}")


def _find(source: str) -> Path:
    """The file, or that of an installed model; RestyleError if there is neither."""
    from restyle_cli.store import catalog, fetch
    from restyle_cli.store.inputs import check_input, is_file

    if not is_file(source) and catalog.get(source):
        return fetch.installed_path(catalog.find(source))
    if os.path.lexists(source):
        check_input(Path(source))
        return Path(source)
    raise RestyleError(f"no file or model {source!r}", "check the path, or see `restyle weights list --installed`")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RestyleError(f"cannot write to {str(folder)!r}: {(error.strerror or str(error)).lower()}") from error


def _row(network: dict[str, Any]) -> tuple[str, ...]:
    difference = "shared" if network["shared"] else f"{network['difference']:.2g}"
    return network["role"], network["file"], human_bytes(network["bytes"]), difference
