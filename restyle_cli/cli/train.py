"""`restyle train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restyle_cli.cli.options import OUTPUT, Json, Quiet, between
from restyle_cli.cli.output import Terminal

EPILOG = "Examples:  [bold]restyle train portrait[/]  ·  [bold]restyle train my.toml -o runs/mine --resume[/]"


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Name of a recipe that comes with restyle, or a TOML file."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for checkpoint, sample sheets and losses; restyle-out/train/RECIPE if not given.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Folder of photographs, for recipes that blend them.", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            callback=between(1, 10**9),
            help="Stop after so many steps instead of the recipe's.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            callback=between(1, 1024),
            help="Processor threads to use; all if not given.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a generator or an encoder as a recipe says: steps, losses and data in one TOML file.

    A run can be stopped at any time and goes on with --resume as if it had not been.
    """
    from restyle_cli.train import loop

    terminal = Terminal(json=json, quiet=quiet)
    folder = output or OUTPUT / "train" / Path(recipe).stem
    network = loop.run(recipe, folder, data=data, resume=resume, steps=steps, threads=threads, note=terminal.note)
    terminal.result({"command": "train", "recipe": recipe, "network": str(network)}, str(network))
