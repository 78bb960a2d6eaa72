"""`restyle heatmap`: where each step changed the image, and which layers of the latent it moved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restyle_cli.cli import options, running
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.run.prepare import DEFAULT_MODEL, FaceOptions, MachineOptions, RunOptions, prepare_run

EPILOG = options.examples(
    "restyle heatmap photo.jpg -n 5",
    "restyle heatmap faces --normalise folder -o maps",
)

if TYPE_CHECKING:
    from restyle_cli.run.pipeline import Outcome

Normalise = Annotated[
    Literal["photo", "folder", "none"],
    typer.Option(
        "--normalise",
        help="Upper end of the colour scale: the largest changes of the photo, of the folder, or (none) a fixed "
        "value that is the same in every run.",
        rich_help_panel="Results",
    ),
]


def heatmap(
    paths: options.Images,
    steps: options.Steps = None,
    model: options.Model = DEFAULT_MODEL,
    via: options.Via = None,
    generator: options.Generator = None,
    align: options.Align = "auto",
    face: options.Face = "1",
    output: options.Output = options.OUTPUT / "heatmap",
    normalise: Normalise = "photo",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
    landmarks: options.Landmarks = None,
) -> None:
    """Show where each step changed the image, and which layers of the latent it moved.

    Writes for each image photo.heatmap.png and the numbers, photo.heatmap.npz;
    for several images also their average. The change is measured by LPIPS.
    """
    began = time.perf_counter()
    terminal = Terminal(json, quiet, verbose)
    run = prepare_run(
        RunOptions(
            paths,
            output,
            model=model,
            via=via,
            steps=steps,
            generator=generator,
            overwrite=overwrite,
            face=FaceOptions(align, options.parse_face(face), landmarks),
            machine=MachineOptions(device, precision, batch_size, offline),
        ),
        terminal,
    )
    from restyle_cli.heatmap.changes import Mean
    from restyle_cli.heatmap.measures import NAME, TITLE, load_lpips
    from restyle_cli.heatmap.results import Sheets, map_all, write_average

    sheets = Sheets(load_lpips(run.machine.device), normalise)
    notes = {**run.notes, "generators": run.plan.generators}
    results = sheets.results(output, {**run.settings, "measure": NAME}, notes, run.numbered)
    mean = Mean()
    outcomes = map_all(run.sources, run.task(results), sheets, mean)
    tally = running.run(run.sources, run.missing, outcomes, "measuring", terminal)
    average = write_average(mean, tally.steps.means(), run.sources, results, sheets) if mean.count > 1 else None
    summary = tally.summary(began)
    values = {
        "command": "heatmap",
        **run.values,
        "measure": NAME,
        "normalise": normalise,
        "notices": run.plan.notices,
        "images": tally.described,
        "average": average,
        "summary": summary,
    }
    views = _views(tally.first, average)
    if tally.total > 1:
        views.append(running.counts(summary, output))
    terminal.result(values, Table(["", ""], [("change:", TITLE)]), *views)
    running.end(tally)


def _views(first: Outcome | None, average: dict[str, Any] | None) -> list[Table | str]:
    """For people: what each step changed, on average over the images, and the written files."""
    if average:
        return [f"mean of {average['count']} images:", _table(average["steps"]), *average["outputs"].values()]
    return [_table(first.record["steps"]), *map(str, first.files.values())] if first else []


def _table(steps: Sequence[dict[str, Any]]) -> Table:
    """One row per step that is shown."""
    from restyle_cli.heatmap.drawing import format_number

    rows = []
    for step in steps:
        if "distance" in step:
            layers = [f"{share:.0%}" for share in step["layers"].values()]
            parts = [f"{step[name]:.0%}" for name in ("area", "broad", "way")]
            distance = format_number(step["distance"])
            rows.append((str(step["step"]), step["method"], f"{step['l2']:.4f}", distance, *parts, *layers))
    titles = ["step", "method", "L2", "change", "half in", "broad", "latent", "coarse", "middle", "fine"]
    spare = ("broad", "half in", "latent", "middle", "coarse", "fine")
    return Table(titles, rows, frozenset(titles) - {"method"}, spare)
