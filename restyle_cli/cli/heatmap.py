"""`restyle heatmap`: where each step changed the image, and which layers of the latent it moved."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restyle_cli.cli import framing, options, running
from restyle_cli.cli.output import Table, Terminal
from restyle_cli.store.paths import check_writable

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
    model: options.Model = options.DEFAULT_MODEL,
    via: options.Via = None,
    generator: options.Generator = None,
    align: options.Align = "auto",
    face: options.Face = "1",
    output: options.Output = options.OUTPUT / "heatmap",
    normalise: Normalise = "photo",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
    landmarks: options.Landmarks = None,
) -> None:
    """Show where each step changed the image, and which layers of the latent it moved.

    Writes for each image photo.heatmap.png and the numbers, photo.heatmap.npz;
    for several images also their average. The change is measured by LPIPS if
    its model is installed (restyle weights get lpips-alex), otherwise by the
    distance of the colours.
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    sources, missing = running.find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli import models
    from restyle_cli.align import alignment_rule
    from restyle_cli.heatmap.changes import Mean
    from restyle_cli.heatmap.measures import choose_measure
    from restyle_cli.heatmap.results import Sheets, map_all, write_average
    from restyle_cli.run.pipeline import Task

    plan = models.plan(model, steps, via, running.fetching(offline, terminal), generator)
    rule = alignment_rule(plan.models[0].name, plan.models[0].generator_name)
    framed, framing_settings = framing.choose(align, face, landmarks, sources, terminal, rule)
    machine = running.choose_machine(device, precision, batch_size)
    measure = choose_measure(machine.device)
    check_writable(output)
    for notice in plan.notices:
        terminal.note(notice)
    result = {"model": plan.models[-1].name, "chain": plan.chain, "measure": measure.name}
    settings = {**result, "networks": plan.networks(), **framing_settings, **machine.settings}
    notes = {**machine.notes, "generators": plan.generators}
    sheets = Sheets(measure, normalise)
    results = sheets.results(output, settings, notes, framed.face == "all")
    methods = plan.load(machine.device)
    where = (machine.device, machine.dtype)
    task = Task(methods, results, *where, "last", None, framed, overwrite, machine.batch_size, note=terminal.note)

    mean = Mean()
    tally = running.run(sources, missing, map_all(sources, task, sheets, mean), "measuring", terminal)
    average = write_average(mean, tally.steps.means(), sources, results, sheets) if mean.count > 1 else None
    summary = tally.summary(began)
    values = {
        "command": "heatmap",
        **machine.notes,
        **result,
        "normalise": normalise,
        "notices": plan.notices,
        "images": tally.described,
        "average": average,
        "summary": summary,
    }
    views = _views(tally.first, average)
    if tally.total > 1:
        views.append(running.counts(summary, output))
    terminal.result(values, Table(["", ""], [("change:", measure.title)]), *views)
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
