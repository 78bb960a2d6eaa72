"""Options that several commands share, each spelled and explained once.

A command declares those that it takes, `def invert(paths: Images, steps: Steps = None, ...)`, with its defaults.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from restyle_cli.errors import UsageError, did_you_mean

OUTPUT = Path("restyle-out")
"""Each command writes to its own sub-folder, so that commands never overwrite each other's files."""
DEFAULT_QUALITY = "balanced"
DEFAULT_SAVE = "image,strip,latent"
SAVE_KINDS = ("image", "strip", "steps", "latent", "npy")
MAX_STEPS, MAX_SEED, MAX_BATCH, MAX_VARIANTS = 10_000, 10**9, 1024, 100
DOWNSCALES = (1, 2, 4, 8, 16, 32)
DEFAULT_VARIANTS = 5
MODEL, FACE, RESULTS, MACHINE, ADVANCED = "Model", "Face", "Results", "Machine", "Advanced"
"""Panels of the help. They appear in the order of a command's parameters, so rare options come last there."""

Number = TypeVar("Number", int, float)


def examples(*lines: str) -> str:
    """The epilog of a command: its examples, one per line."""
    return "\n\n".join(["Examples:", *(f"[bold]{line}[/]" for line in lines)])


def option(names: str, help: str, panel: str | None = None, *, default: bool = False, **more: Any) -> Any:
    """A `typer.Option` with names like "--steps -n". `default`: the help shows the default value."""
    return typer.Option(*names.split(), help=help, rich_help_panel=panel, show_default=default, **more)


def between(least: float, most: float) -> Callable[[Number | None], Number | None]:
    """Returns a callback that refuses numbers outside `least` to `most`, and NaN; None passes."""

    def check(value: Number | None) -> Number | None:
        if value is not None and not least <= value <= most:
            raise typer.BadParameter(f"{value} is not between {least} and {most}")
        return value

    return check


def _one_of(values: Sequence[int]) -> Callable[[int], int]:
    def check(value: int) -> int:
        if value not in values:
            raise typer.BadParameter(f"{value} is not one of {', '.join(map(str, values))}")
        return value

    return check


def _with_standard_input(ctx: typer.Context, paths: list[Path]) -> list[Path]:
    """`paths` with `-` replaced by a temporary file (images are read more than once), removed when the command ends."""
    if Path("-") not in paths:
        return paths
    folder = tempfile.TemporaryDirectory(prefix="restyle-")
    ctx.call_on_close(folder.cleanup)
    spooled = Path(folder.name) / "stdin"  # the base name of its results
    with spooled.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return [spooled if path == Path("-") else path for path in paths]


# --- models

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        callback=_with_standard_input,
        help="Images or folders (with sub-folders). Use - for an image on standard input. Result files are left out.",
    ),
]
Steps = Annotated[
    int | None,
    option(
        "--steps -n",
        "Number of steps. Defaults: 5 for ReStyle and HyperStyle, 350 for PTI, 1,000 for optimisation, 1 for other "
        "encoders; see [bold]restyle methods NAME[/].",
        MODEL,
        callback=between(1, MAX_STEPS),
    ),
]
Model = Annotated[
    str,
    option(
        "--model -m",
        "Name from [bold]restyle weights list[/], or a file. A generator alone uses the projector method.",
        MODEL,
        default=True,
        metavar="NAME|FILE",
    ),
]
Generator = Annotated[
    str | None,
    option("--generator", "Generate with this generator instead of the model's own.", MODEL, metavar="NAME|FILE"),
]
Via = Annotated[
    str | None,
    option(
        "--via",
        "Run several models in sequence, each with its steps: [bold]psp,restyle-psp:5[/].",
        MODEL,
        metavar="CHAIN",
    ),
]
Quality = Annotated[
    Literal["fast", "balanced", "best"] | None,
    option(
        "--quality",
        "Choose the chain automatically, and run each method while it lowers the L2. fast: the encoder; "
        "balanced: also a hypernetwork or a short optimisation; best: also PTI.",
        MODEL,
    ),
]
Budget = Annotated[
    str | None,
    option(
        "--budget",
        "Time limit for each image, such as [bold]20[/] (seconds), [bold]20s[/] or [bold]2m[/]. Writes the best "
        f"step within it. Implies --quality {DEFAULT_QUALITY}.",
        MODEL,
        metavar="TIME",
    ),
]
Mask = Annotated[
    Path | None,
    option(
        "--mask",
        "Image of the photo's aspect ratio: white is known; black or transparent is filled in. Needs an optimisation "
        "method.",
        MODEL,
        metavar="FILE",
    ),
]
Crossover = Annotated[
    Path | None,
    option("--crossover", "With --mask: the image to use where the mask is black.", ADVANCED, metavar="FILE"),
]
Tolerance = Annotated[
    float | None,
    option(
        "--tolerance",
        "Stop an image when a step of the last method lowers its L2 by less than T.",
        ADVANCED,
        metavar="T",
        callback=between(0, 4),  # the largest L2 of two images
    ),
]
Downscale = Annotated[
    int,
    option(
        "--downscale",
        f"Downscale the input of a pSp encoder N times (super-resolution models): {', '.join(map(str, DOWNSCALES))}.",
        ADVANCED,
        metavar="N",
        callback=_one_of(DOWNSCALES),
    ),
]

# --- faces

Align = Annotated[
    Literal["auto", "always", "never"],
    option(
        "--align",
        "Find the face and crop it as the models expect. auto leaves images that already fit unchanged.",
        FACE,
        default=True,
    ),
]
Face = Annotated[
    str,
    option(
        "--face",
        "Which of several faces, 1 is the largest. all: each face, as photo.1, photo.2, …",
        FACE,
        default=True,
        metavar="N|all",
    ),
]
Landmarks = Annotated[
    Path | None,
    option(
        "--landmarks",
        "Your own face landmarks, 68 or 5 points (eyes, nose, corners of the mouth): JSON, text or npy for one image, "
        "or a table by file name.",
        ADVANCED,
        metavar="FILE",
    ),
]

# --- results

Output = Annotated[Path, option("--output -o", "Output folder.", RESULTS, default=True, metavar="DIR")]
Save = Annotated[
    str,
    option(
        "--save",
        f"Files to write, of {', '.join(SAVE_KINDS)}. The latent file is always written.",
        RESULTS,
        default=True,
        metavar="KINDS",
    ),
]
PasteBack = Annotated[
    bool,
    option(
        "--paste-back",
        "Also paste the reconstruction into the full photo: photo.pasted.png, with --face all of all faces.",
        RESULTS,
    ),
]
Keep = Annotated[
    Literal["best", "last"], option("--keep", "Select each image's best step or its last.", RESULTS, default=True)
]
Variants = Annotated[
    int | None,
    option(
        "--variants",
        "Also render N variants with random fine layers (style mixing): photo.variant-1.png, … "
        f"{DEFAULT_VARIANTS} if only --mix-alpha is given.",
        RESULTS,
        metavar="N",
        callback=between(1, MAX_VARIANTS),
    ),
]
MixAlpha = Annotated[
    float | None,
    option(
        "--mix-alpha",
        "Strength of the style mixing in variants, from 0 (none) to 1 (the default).",
        ADVANCED,
        metavar="A",
        callback=between(0, 1),
    ),
]
Seed = Annotated[int, option("--seed", "Random seed.", default=True, callback=between(0, MAX_SEED))]
InvertSeed = Annotated[
    int | None,
    option(
        "--seed",
        "Random seed, for --variants, projector, pti-pivot and pti-local. Default: 0.",
        ADVANCED,
        callback=between(0, MAX_SEED),
    ),
]
Overwrite = Annotated[bool, option("--overwrite", "Process finished images again.", RESULTS)]
Json = Annotated[bool, option("--json", "Print the result as JSON on standard output.", RESULTS)]
Quiet = Annotated[bool, option("--quiet -q", "Print no progress and no notes.", RESULTS)]
Verbose = Annotated[
    bool, option("--verbose -v", "Print what happens and how long it takes, and the traceback of an error.", RESULTS)
]

# --- the machine

Device = Annotated[
    str, option("--device", "Device to compute on.", MACHINE, default=True, metavar="auto|cpu|cuda[:i]|mps")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    option("--precision", "Number format of the computation.", MACHINE, default=True),
]
BatchSize = Annotated[
    int | None,
    option(
        "--batch-size -b",
        "Images per batch. Default: depends on the device.",
        MACHINE,
        callback=between(1, MAX_BATCH),
    ),
]
Offline = Annotated[bool, option("--offline", "Never download; same as RESTYLE_OFFLINE=1.", MACHINE)]


# --- values of options


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
