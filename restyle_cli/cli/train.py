"""`restyle train`: run a training recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restyle_cli.cli.options import OUTPUT, Json, Quiet, Verbose, between, examples
from restyle_cli.cli.output import Terminal

EPILOG = examples("restyle train portrait", "restyle train my.toml -o runs/mine --resume")


def train(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Name of a bundled recipe, or a TOML file."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for checkpoint, samples and losses. Default: restyle-out/train/RECIPE.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Folder of photographs, for recipes that blend them.", show_default=False
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the folder.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            callback=between(1, 10**9),
            help="Number of steps. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            callback=between(1, 1024),
            help="Number of CPU threads. Default: all.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a generator or an encoder by a recipe: a TOML file of steps, losses and data.

    A stopped run continues with --resume and gives the same result.
    """
    from restyle_cli.train import loop

    terminal = Terminal(json, quiet, verbose)
    folder = output or OUTPUT / "train" / Path(recipe).stem
    model = loop.run(recipe, folder, data=data, resume=resume, steps=steps, threads=threads, note=terminal.note)
    terminal.result({"command": "train", "recipe": recipe, "network": str(model)}, str(model))
