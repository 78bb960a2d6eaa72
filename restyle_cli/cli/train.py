"""`restyle train`: train an encoder on a folder of images, or run a recipe."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from restyle_cli.cli.options import OUTPUT, Json, Quiet, Verbose, between, examples
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.errors import UsageError

EPILOG = examples(
    "restyle train photos --generator g.pkl --dry-run",
    "restyle train photos --generator g.pkl -o runs/mine",
    "restyle train photos --generator g.pkl -o runs/mine --resume",
    "restyle train restyle-psp-ffhq --data ffhq --device cuda",
    "restyle train my.toml --set training.lr=5e-5",
    "restyle train average runs/mine/*-step-*.safetensors -o m.safetensors",
)
AVERAGE = "average"

Source = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|RECIPE", help="Folder or zip file of images; or a recipe: its name, or a TOML file."
    ),
]
Files = Annotated[list[Path] | None, typer.Argument(hidden=True)]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator", metavar="NAME|FILE", help="StyleGAN to train for; it stays as it is.", show_default=False
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="restyle-psp (default), restyle-e4e, psp, e4e, e4e-w or hyperstyle.",
        show_default=False,
    ),
]
Preset = Annotated[
    Literal["small", "faces", "other"] | None,
    typer.Option(
        "--preset",
        help="small (default): a light network, for CPUs. faces, other: the papers' networks and losses.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of images, for a recipe.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for checkpoint, model and logs. Default: restyle-out/train/NAME.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what would be trained, with the time and memory of two steps; then stop."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the folder.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="With --resume: continue although the recipe has changed.", rich_help_panel="Advanced"
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        "-n",
        callback=between(1, 10**9),
        help="Stop after so many steps. Default: the recipe's.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", callback=between(1, 10**6), help="Images per step.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe, as training.lr=1e-4. Repeatable.",
        show_default=False,
        rich_help_panel="Advanced",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:1.")]
Precision = Annotated[
    Literal["fp32", "bf16", "fp16"],
    typer.Option(
        "--precision", help="Number format of the computation; weights stay fp32.", rich_help_panel="Advanced"
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        callback=between(1, 1024),
        help="CPU threads. Default: all.",
        show_default=False,
        rich_help_panel="Advanced",
    ),
]


def train(
    source: Source,
    files: Files = None,
    generator: Generator = None,
    method: Method = None,
    preset: Preset = None,
    data: Data = None,
    output: Output = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    settings: Settings = None,
    force: Force = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    threads: Threads = None,
) -> None:
    """Train an encoder for a generator on a folder of images, or by a recipe.

    Writes encoder.safetensors, which restyle invert -m takes, and checkpoint.pt,
    from which --resume continues; losses.csv, scores.csv, sheet.png and
    TensorBoard logs show the progress. Images are aligned once, and kept.
    restyle train average FILE... averages the weights of models.
    """
    terminal = Terminal(json, quiet, verbose)
    if source == AVERAGE and not Path(source).exists():
        _average(files or [], output, terminal)
        return
    if files:
        raise UsageError(f"one folder or recipe can be trained, not also '{files[0]}'", "see `restyle train --help`")

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli.train import run

    folder = output or OUTPUT / "train" / Path(source).stem
    request = run.Request(
        source,
        folder,
        generator,
        method,
        preset,
        data,
        steps,
        batch_size,
        settings or (),
        device,
        precision,
        threads,
        resume,
        force,
    )
    if dry_run:
        plan = run.dry_run(request, terminal.note)
        rows = [(name.replace("_", " "), str(value)) for name, value in plan.items()]
        terminal.result({"command": "train", "dry_run": True, **plan}, Table(["", ""], rows))
        return
    recipe = run.recipe_of(request)
    with terminal.progress("training", min(steps or recipe.steps, recipe.steps)) as progress:
        shown, began = 0, time.perf_counter()

        def show(step: int, loss: float) -> None:
            nonlocal shown, began
            progress.advance(step - shown)
            rate = (step - shown) / (time.perf_counter() - began) if shown else 0.0  # the first step also loads
            progress.describe(f"loss {loss:.4f}" + (f", {rate:.2f} steps/s" if rate else ""))
            shown, began = step, time.perf_counter()

        model = run.train(request, note=terminal.note, on_step=show, recipe=recipe)
    terminal.result({"command": "train", "recipe": recipe.name, "model": str(model)}, str(model))


def _average(files: list[Path], output: Path | None, terminal: Terminal) -> None:
    if len(files) < 2 or output is None:
        raise UsageError("averaging takes two or more models and -o FILE", EPILOG.splitlines()[-1].strip())
    from restyle_cli.train.checkpoint import average

    average(files, output)
    terminal.result({"command": "train average", "model": str(output)}, str(output))
