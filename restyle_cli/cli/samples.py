"""`restyle samples`: drawn pictures to try everything on."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from restyle_cli.cli.options import OUTPUT, Json, Output, Quiet, Seed, between
from restyle_cli.cli.output import Terminal

_BATCH = 8

EPILOG = "Example:  [bold]restyle samples -n 3 -o faces[/]  then  [bold]restyle invert faces -n 5[/]"


def samples(
    domain: Annotated[Literal["portrait", "toon"], typer.Option("--domain", help="Style of the drawing.")] = "portrait",
    count: Annotated[int, typer.Option("--count", "-n", callback=between(1, 100_000), help="How many.")] = 20,
    seed: Seed = 0,
    size: Annotated[int, typer.Option("--size", callback=between(16, 2048), help="Side in pixels.")] = 256,
    output: Output = OUTPUT / "samples",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw portraits that no network here was trained on, framed as the networks expect."""
    from restyle_cli.align import frame_mark
    from restyle_cli.images import save_picture, to_picture
    from restyle_cli.train.portraits import HELD_OUT, draw, sample_z

    terminal = Terminal(json=json, quiet=quiet)
    # In full sixteens: torch draws the last few random numbers of any other length differently, and then
    # `-n 3` would not give the first three of `-n 20`.
    z = sample_z(-(-count // 16) * 16, HELD_OUT + seed)[:count]
    paths = [output / f"{domain}-{index:04d}.png" for index in range(count)]
    with terminal.progress("drawing", count) as progress:
        for first in range(0, count, _BATCH):
            pictures = draw(z[first : first + _BATCH], size, domain)
            for picture, path in zip(pictures, paths[first:], strict=False):
                save_picture(to_picture(picture), path, frame_mark())
            progress.advance(len(pictures))
    values = {
        "command": "samples",
        "domain": domain,
        "seed": seed,
        "size": size,
        "outputs": [str(path) for path in paths],
    }
    names = str(paths[0]) if count == 1 else f"{paths[0]} … {paths[-1].name}"
    terminal.result(values, f"{count} of {size} x {size} pixels: {names}")
