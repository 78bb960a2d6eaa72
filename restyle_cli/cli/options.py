"""Options that several commands share, each spelled and explained once.

A command declares those that it takes, `def invert(paths: Images, steps: Steps = None, ...)`, with its defaults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from restyle_cli.cli.standard_input import with_standard_input
from restyle_cli.errors import UsageError, did_you_mean

OUTPUT = Path("restyle-out")
"""Each command writes to its own sub-folder, so that commands never overwrite each other's files."""
DEFAULT_QUALITY = "balanced"
DEFAULT_SAVE = "image,strip,latent"
SAVE_KINDS = ("image", "strip", "steps", "latent", "npy")
MAX_STEPS = 10_000
MAX_SEED = 10**9
DOWNSCALES = (1, 2, 4, 8, 16, 32)
DEFAULT_VARIANTS, MAX_VARIANTS = 5, 100
MAX_BATCH = 1024


def examples(*lines: str) -> str:
    """The epilog of a command: its examples, one per line."""
    return "\n\n".join(["Examples:", *(f"[bold]{line}[/]" for line in lines)])


def between(least: int, most: int) -> Callable[[int | None], int | None]:
    """Returns a callback that refuses integers outside `least` to `most`; None passes."""

    def check(value: int | None) -> int | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"{value} is not between {least} and {most}")
        return value

    return check


def _not_negative(value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:  # nor NaN
        raise typer.BadParameter(f"{value} is not a number of at least 0")
    return value


def _one_of(values: Sequence[int]) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value not in values:
            raise typer.BadParameter(f"{value} is not one of {', '.join(map(str, values))}")
        return value

    return check


def _fraction(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:  # nor NaN
        raise typer.BadParameter(f"{value} is not between 0 and 1")
    return value


_MODEL = "Model"
_FACE = "Face"
_MACHINE = "Machine"
_RESULTS = "Results"
ADVANCED = "Advanced"
"""Panel of rare options. Panels appear in the order of a command's parameters, so these options come last there."""

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        callback=with_standard_input,
        help="Images or folders (with sub-folders). Use - for an image on standard input. Result files are left out.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        "-n",
        callback=between(1, MAX_STEPS),
        help="Number of steps. Defaults: 5 for ReStyle and HyperStyle, 350 for PTI, 1,000 for optimisation, 1 for "
        "other encoders; see [bold]restyle methods NAME[/].",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE",
        help="Name from [bold]restyle weights list[/], or a file. A generator alone uses the projector method.",
        rich_help_panel=_MODEL,
    ),
]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        metavar="NAME|FILE",
        help="Generate with this generator instead of the model's own.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Via = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="CHAIN",
        help="Run several models in sequence, each with its steps: [bold]psp,restyle-psp:5[/].",
        rich_help_panel=_MODEL,
    ),
]
Downscale = Annotated[
    int,
    typer.Option(
        "--downscale",
        metavar="N",
        callback=_one_of(DOWNSCALES),
        help="Downscale the input of a pSp encoder N times (super-resolution models): "
        f"{', '.join(map(str, DOWNSCALES))}.",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
Variants = Annotated[
    int | None,
    typer.Option(
        "--variants",
        metavar="N",
        callback=between(1, MAX_VARIANTS),
        help="Also render N variants with random fine layers (style mixing): photo.variant-1.png, … "
        f"{DEFAULT_VARIANTS} if only --mix-alpha is given.",
        show_default=False,
        rich_help_panel=_RESULTS,
    ),
]
MixAlpha = Annotated[
    float | None,
    typer.Option(
        "--mix-alpha",
        metavar="A",
        callback=_fraction,
        help="Strength of the style mixing in variants, from 0 (none) to 1 (the default).",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
Quality = Annotated[
    Literal["fast", "balanced", "best"] | None,
    typer.Option(
        "--quality",
        help="Choose the chain automatically, and run each method while it lowers the L2. fast: the encoder; "
        "balanced: also a hypernetwork or a short optimisation; best: also PTI.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Time limit for each image, such as [bold]20[/] (seconds), [bold]20s[/] or [bold]2m[/]. Writes the best "
        f"step within it. Implies --quality {DEFAULT_QUALITY}.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="T",
        callback=_not_negative,
        help="Stop an image when a step of the last method lowers its L2 by less than T.",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
Align = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        "--align",
        help="Find the face and crop it as the models expect. auto leaves images that already fit unchanged.",
        rich_help_panel=_FACE,
    ),
]
Face = Annotated[
    str,
    typer.Option(
        "--face",
        metavar="N|all",
        help="Which of several faces, 1 is the largest. all: each face, as photo.1, photo.2, …",
        rich_help_panel=_FACE,
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="FILE",
        help="Your own face landmarks, 68 or 5 points (eyes, nose, corners of the mouth): JSON, text or npy for one "
        "image, or a table by file name.",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="Image of the photo's aspect ratio: white is known; black or transparent is filled in. Needs an "
        "optimisation method.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Crossover = Annotated[
    Path | None,
    typer.Option(
        "--crossover",
        metavar="FILE",
        help="With --mask: the image to use where the mask is black.",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]
PasteBack = Annotated[
    bool,
    typer.Option(
        "--paste-back",
        help="Also paste the reconstruction into the full photo: photo.pasted.png, with --face all of all faces.",
        rich_help_panel=_RESULTS,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", callback=between(0, MAX_SEED), help="Random seed."),
]
InvertSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        callback=between(0, MAX_SEED),
        help="Random seed, for --variants, projector, pti-pivot and pti-local. Default: 0.",
        show_default=False,
        rich_help_panel=ADVANCED,
    ),
]

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Output folder.", rich_help_panel=_RESULTS),
]
Save = Annotated[
    str,
    typer.Option(
        "--save",
        metavar="KINDS",
        help=f"Files to write, of {', '.join(SAVE_KINDS)}. The latent file is always written.",
        rich_help_panel=_RESULTS,
    ),
]
Keep = Annotated[
    Literal["best", "last"],
    typer.Option("--keep", help="Select each image's best step or its last.", rich_help_panel=_RESULTS),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Process finished images again.", rich_help_panel=_RESULTS),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=_RESULTS),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print no progress and no notes.", rich_help_panel=_RESULTS),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Never download; same as RESTYLE_OFFLINE=1.",
        rich_help_panel=_MACHINE,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:i]|mps",
        help="Device to compute on.",
        rich_help_panel=_MACHINE,
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option("--precision", help="Number format of the computation.", rich_help_panel=_MACHINE),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        callback=between(1, MAX_BATCH),
        help="Images per batch. Default: depends on the device.",
        show_default=False,
        rich_help_panel=_MACHINE,
    ),
]


def parse_save(kinds: str) -> frozenset[str]:
    """The kinds named in `--save`, and always "latent", whose file marks an image as done.

    UsageError for an unknown kind.
    """
    names = [name.strip() for name in kinds.split(",") if name.strip()]
    for name in names:
        if name not in SAVE_KINDS:
            near = did_you_mean(name, SAVE_KINDS)
            raise UsageError(f"unknown kind '{name}' in --save", near or f"choose from {', '.join(SAVE_KINDS)}")
    return frozenset(names) | {"latent"}


def parse_budget(text: str) -> float:
    """The seconds in a `--budget` ("20", "20s", "1.5m", "1h"); UsageError if it is not a positive time."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h)?", text.strip(), re.ASCII)
    seconds = float(match[1]) * {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600}[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--budget takes a time, not '{text}'", "for example 20s, 1.5m or 1h")
    return seconds


def parse_face(text: str) -> int | Literal["all"]:
    """The number of a face, from 1 on, or "all"; UsageError for anything else."""
    if text == "all":
        return "all"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"--face takes a number from 1 on or 'all', not '{text}'", "1 is the largest face")
