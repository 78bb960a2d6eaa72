"""`restyle samples`: synthetic portraits."""

from __future__ import annotations

from typing import Annotated, Literal

from restyle_cli.cli.options import OUTPUT, Json, Output, Quiet, Seed, Verbose, between, examples, option
from restyle_cli.cli.output import Terminal

_BATCH = 8

EPILOG = examples("restyle samples -n 3 -o faces", "restyle invert faces -n 5")


def samples(
    domain: Annotated[
        Literal["portrait", "toon"], option("--domain", "Style of the portraits.", default=True)
    ] = "portrait",
    count: Annotated[int, option("--count -n", "Number of images.", default=True, callback=between(1, 100_000))] = 20,
    seed: Seed = 0,
    size: Annotated[
        int, option("--size", "Height and width in pixels.", default=True, callback=between(16, 2048))
    ] = 256,
    output: Output = OUTPUT / "samples",
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Generate synthetic portraits that no bundled model was trained on."""
    from restyle_cli.align import aligned_mark
    from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
    from restyle_cli.images import save_image, to_image

    terminal = Terminal(json, quiet, verbose)
    # A multiple of 16: torch generates the end of other lengths differently, and `-n 3` would not give the first
    # three images of `-n 20`.
    z = sample_z(-(-count // 16) * 16, HELD_OUT + seed)[:count]
    paths = [output / f"{domain}-{index:04d}.png" for index in range(count)]
    with terminal.progress("generating", count) as progress:
        for first in range(0, count, _BATCH):
            images = draw(z[first : first + _BATCH], size, domain)
            for image, path in zip(images, paths[first:], strict=False):
                save_image(to_image(image), path, aligned_mark())
            progress.advance(len(images))
    values = {
        "command": "samples",
        "domain": domain,
        "seed": seed,
        "size": size,
        "outputs": [str(path) for path in paths],
    }
    names = str(paths[0]) if count == 1 else f"{paths[0]} … {paths[-1].name}"
    terminal.result(values, f"{count} images of {size} x {size} pixels: {names}")
