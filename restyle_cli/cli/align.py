"""`restyle align`: photos to face crops."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

from restyle_cli import __version__
from restyle_cli.cli import options, running
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.cli.tally import Tally
from restyle_cli.run.prepare import FaceOptions, choose_alignment, find_sources
from restyle_cli.store.paths import check_writable

if TYPE_CHECKING:
    from restyle_cli.run.pipeline import Outcome

MOST_CROPS = 100
"""Maximum number of rows in the printed table; --json has every crop."""

EPILOG = options.examples(
    "restyle align photo.jpg",
    "restyle align photos --face all --size 1024 -o faces",
    "restyle align photo.jpg --landmarks points.json",
)


def align(
    paths: options.Images,
    size: Annotated[
        int,
        options.option(
            "--size", "Longer side of the crops in pixels.", default=True, callback=options.between(16, 4096)
        ),
    ] = 256,
    domain: Annotated[
        str,
        options.option(
            "--domain", "Domain of the images; without faces they are only resized.", default=True, metavar="NAME"
        ),
    ] = "ffhq",
    align: options.Align = "auto",
    face: options.Face = "1",
    output: options.Output = options.OUTPUT / "align",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    landmarks: options.Landmarks = None,
) -> None:
    """Crop and align faces as in FFHQ.

    Writes for each image photo.png, the crop, and photo.json with the corners
    of the crop in the photo, the transform and its inverse, and the landmarks.
    Other commands use the crops without aligning them again.
    """
    began = time.perf_counter()
    terminal = Terminal(json, quiet, verbose)
    sources, missing = find_sources(paths, output, terminal)

    from restyle_cli.run.crops import crop_all, crop_folder
    from restyle_cli.store import catalog

    known = catalog.domain(domain)
    face_options = FaceOptions(align, options.parse_face(face), landmarks)
    align_options, settings = choose_alignment(face_options, sources, terminal, known.align)
    check_writable(output)
    height, width = (max(round(size * side / max(known.input)), 1) for side in known.input)
    settings = {"domain": domain, "pixels": [height, width], **settings}
    crops = crop_folder(output, settings, {"version": __version__}, align_options.face == "all")
    done = crop_all(sources, crops, align_options, (height, width), overwrite)
    rows: list[list[str]] = []

    def add_row(outcome: Outcome) -> None:
        if outcome.record and len(rows) < MOST_CROPS:
            rows.append(_row(outcome))

    describe = partial(running.as_json, with_steps=False)
    tally = running.run(sources, missing, done, "aligning", terminal, describe=describe, on_outcome=add_row)
    summary = tally.summary(began)
    values = {"command": "align", "version": __version__, **settings, "images": tally.described, "summary": summary}
    terminal.result(values, *_views(rows, tally, running.counts(summary, output)))
    running.end(tally)


def _views(rows: list[list[str]], tally: Tally, counts: str) -> list[Table | str]:
    if not rows:
        return [counts]
    titles = ["crop", "how", "face", "pixels", "turned"]
    table = Table(titles, rows, right=frozenset(titles[2:]), spare=("turned", "pixels", "how"))
    more = tally.counts["done"] + tally.counts["skipped"] - len(rows)
    return [table, *([f"… and {more} more"] if more else []), counts]


def _row(outcome: Outcome) -> list[str]:
    """A crop: file, how it was aligned, which face of how many, its width and rotation in the photo."""
    from restyle_cli.align import side_of, tilt_of

    alignment = outcome.record["alignment"]
    of = f"{alignment['face']} of {alignment['faces']}" if alignment["faces"] else ""
    width, tilt = side_of(alignment["quad"]), tilt_of(alignment["quad"])
    return [str(outcome.files["image"]), alignment["how"], of, f"{width:.0f}", f"{tilt:.0f}°"]
