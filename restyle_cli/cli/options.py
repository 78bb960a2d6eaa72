"""Options that several commands share, each spelled and explained once.

A command takes what it needs, `def invert(paths: Pictures, steps: Steps = None, ...)`, and chooses the
default.
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
"""Each command writes to a folder of its own in it, so that none overwrites another's files."""
DEFAULT_MODEL = "restyle-psp"
DEFAULT_QUALITY = "balanced"
DEFAULT_SAVE = "image,strip,latent"
SAVE_KINDS = ("image", "strip", "steps", "latent", "npy")
MAX_STEPS = 10_000
MAX_SEED = 10**9
DOWNSCALES = (1, 2, 4, 8, 16, 32)
DEFAULT_VARIANTS, MAX_VARIANTS = 5, 100
MAX_BATCH = 1024


def between(least: int, most: int) -> Callable[[int | None], int | None]:
    """A check for a whole number that says what is allowed; a value not given (None) passes."""

    def check(value: int | None) -> int | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"{value} is not between {least} and {most}")
        return value

    return check


def _from_zero_on(value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:  # nor NaN
        raise typer.BadParameter(f"{value} is not a number from 0 on")
    return value


def _of(values: Sequence[int]) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value not in values:
            raise typer.BadParameter(f"{value} is none of {', '.join(map(str, values))}")
        return value

    return check


def _part(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:  # nor NaN
        raise typer.BadParameter(f"{value} is not between 0 and 1")
    return value


_MODEL = "Model"
_MACHINE = "Machine"
_RESULTS = "Results"

Pictures = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        callback=with_standard_input,
        help="Images, folders (with sub-folders, without results of earlier runs), or - for standard input.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        "-n",
        callback=between(1, MAX_STEPS),
        help="How often the estimate is corrected: by default 5 times for ReStyle, 1,000 for optimisations, else once.",
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
        help="Name from [bold]restyle weights list[/], or a file; a generator alone means the projector on it.",
        rich_help_panel=_MODEL,
    ),
]
Generator = Annotated[
    str | None,
    typer.Option(
        "--generator",
        metavar="NAME|FILE",
        help="Draw with this generator instead of the model's own.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Via = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="CHAIN",
        help="Several models in turn, each with its steps: [bold]psp-portrait,restyle-psp-portrait:5[/].",
        rich_help_panel=_MODEL,
    ),
]
Downscale = Annotated[
    int,
    typer.Option(
        "--downscale",
        metavar="N",
        callback=_of(DOWNSCALES),
        help="Show pSp's encoder the picture N times smaller, as those for super-resolution were trained: "
        f"{', '.join(map(str, DOWNSCALES))}.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Variants = Annotated[
    int | None,
    typer.Option(
        "--variants",
        metavar="N",
        callback=between(1, MAX_VARIANTS),
        help="Also draw each N times with other fine layers, of random codes: photo.variant-1.png, … "
        f"With --mix-alpha alone {DEFAULT_VARIANTS}.",
        show_default=False,
        rich_help_panel=_RESULTS,
    ),
]
MixAlpha = Annotated[
    float | None,
    typer.Option(
        "--mix-alpha",
        metavar="A",
        callback=_part,
        help="How far the variants' fine layers go towards the random ones, from 0 to 1 (all of the way, as by "
        "default).",
        show_default=False,
        rich_help_panel=_RESULTS,
    ),
]
Quality = Annotated[
    Literal["fast", "balanced", "best"] | None,
    typer.Option(
        "--quality",
        help="Choose a chain, and go on with each of its links while it pays. fast: the encoder; balanced: then the "
        "hypernetwork, or a short optimisation; best: then pti too, as long as it takes.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Time for each picture, [bold]20s[/] or [bold]2m[/]: the best that is reached by then is kept. "
        "Without --quality, balanced.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="T",
        callback=_from_zero_on,
        help="Stop a picture once a step of the last method lowers its L2 by less than T.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Align = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        "--align",
        help="Find the face and crop as the networks expect; auto leaves alone what fits already.",
        rich_help_panel=_MODEL,
    ),
]
Face = Annotated[
    str,
    typer.Option(
        "--face",
        metavar="N|all",
        help="Which of several faces, 1 being the largest; all: each, as photo.1, photo.2, …",
        rich_help_panel=_MODEL,
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="FILE",
        help="Your own points of the faces, 68 or 5 (eyes, nose, corners of the mouth): JSON, text or npy for one "
        "picture, or a table by file name.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="A picture of the photo's shape: what is black or erased is not known, and methods that optimise fill it "
        "in.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
Crossover = Annotated[
    Path | None,
    typer.Option(
        "--crossover",
        metavar="FILE",
        help="With --mask: the photo that shows where the mask is black.",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
PasteBack = Annotated[
    bool,
    typer.Option(
        "--paste-back",
        help="Also put the reconstruction back into the whole photo: photo.pasted.png, with --face all of all faces.",
        rich_help_panel=_RESULTS,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", callback=between(0, MAX_SEED), help="Another seed, other random numbers; the same seed, the same."
    ),
]
InvertSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        callback=between(0, MAX_SEED),
        help="Of the random numbers of --variants, of projector and pti-pivot (noise on the code) and of pti-local; 0 "
        "if not given.",
        show_default=False,
        rich_help_panel=_RESULTS,
    ),
]

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.", rich_help_panel=_RESULTS),
]
Save = Annotated[
    str,
    typer.Option(
        "--save",
        metavar="KINDS",
        help=f"What to write, of {', '.join(SAVE_KINDS)}. The latent file is always written.",
        rich_help_panel=_RESULTS,
    ),
]
Keep = Annotated[
    Literal["best", "last"],
    typer.Option("--keep", help="Keep each picture's nearest step, or its last.", rich_help_panel=_RESULTS),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Do again what is done already.", rich_help_panel=_RESULTS),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=_RESULTS),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=_RESULTS),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Fetch no networks; RESTYLE_OFFLINE=1 says the same for every command.",
        rich_help_panel=_MACHINE,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:i]|mps",
        help="Where to compute.",
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
        help="Pictures computed at once; chosen by the device if not given.",
        show_default=False,
        rich_help_panel=_MACHINE,
    ),
]


def parse_save(kinds: str) -> frozenset[str]:
    """The kinds named in `--save`, always with "latent", which marks a picture as done.

    UsageError for a kind that does not exist.
    """
    names = [name.strip() for name in kinds.split(",") if name.strip()]
    for name in names:
        if name not in SAVE_KINDS:
            near = did_you_mean(name, SAVE_KINDS)
            raise UsageError(f"--save knows no '{name}'", near or f"choose from {', '.join(SAVE_KINDS)}")
    return frozenset(names) | {"latent"}


def parse_budget(text: str) -> float:
    """The seconds that `--budget` names ("20s", "1.5m", "1h"); UsageError when it names none."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h)", text.strip(), re.ASCII)
    seconds = float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--budget takes a time, not '{text}'", "20s, 1.5m or 1h")
    return seconds


def parse_face(text: str) -> int | Literal["all"]:
    """What `--face` names; UsageError when it is neither a number from 1 on nor "all"."""
    if text == "all":
        return "all"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"--face takes a number from 1 on, or all, not '{text}'", "1 is the largest face")
