"""`restyle eval`: the error of inversion methods per step, and their time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restyle_cli.cli import options
from restyle_cli.cli.output import Table, Terminal, human_seconds
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.run.prepare import MachineOptions, choose_machine, fetching, find_sources
from restyle_cli.store.paths import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from restyle_cli.evaluate.journal import Skip
    from restyle_cli.evaluate.protocol import Evaluation
    from restyle_cli.evaluate.schedule import Item
    from restyle_cli.metrics.base import Column
    from restyle_cli.models import Plan
    from restyle_cli.run.sources import Source

EPILOG = options.examples(
    "restyle eval faces -n 5",
    "restyle eval faces -m psp-portrait,restyle-psp-portrait:5",
    'restyle eval faces -m "psp-portrait; psp-portrait,restyle-psp-portrait:3"',
    "restyle eval photos --against reconstructions --metrics l2,ms_ssim",
)

Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "-m",
        metavar="A,B:5,…",
        help="Models to compare, or chains separated by semicolons: [bold]'a; b,c:5'[/]. "
        "Default: all installed models of one domain.",
        show_default=False,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="DIR", help="Folder of images with the same names to compare with, instead of methods."
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="A,B",
        help="Metrics: l2, lpips, structure, ms_ssim, id, id/curricularface, id/dlib. Default: all "
        "installed ones, and the one identity metric that fits the domain.",
        show_default=False,
    ),
]


def evaluate(
    paths: options.Images,
    methods: Methods = None,
    via: options.Via = None,
    generator: options.Generator = None,
    against: Against = None,
    steps: options.Steps = None,
    metrics: Metrics = None,
    align: options.Align = "auto",
    output: options.Output = options.OUTPUT / "eval",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start over, and replace the report of another run.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
) -> None:
    """Compare inversion methods: error per step, and time.

    Writes report.html (curves, tables, best and worst images, protocol),
    report.json and images.csv with all numbers, and journal.jsonl, from which
    an interrupted run continues.
    """
    began = time.perf_counter()
    terminal = Terminal(json, quiet, verbose)
    names = None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    if against is not None and (methods or via or generator or steps or align == "always"):
        hint = "leave out --methods, --via, --generator, --steps and --align"
        raise UsageError("--against compares images without inverting or aligning them", hint)
    sources, missing = find_sources(paths, output, terminal)
    others = _others(paths, against, output)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli.align import AlignOptions
    from restyle_cli.evaluate import schedule
    from restyle_cli.evaluate.protocol import Evaluation
    from restyle_cli.evaluate.schedule import Item
    from restyle_cli.metrics import IDENTITIES, choose

    machine = choose_machine(MachineOptions(device, precision, batch_size, offline))
    items = [Item(source.path) for source in sources]
    plans: list[Plan] = []
    if against is not None:
        items = schedule.pairs(paths[0], sources, against, others)
        if left := len(others) - len(items):
            terminal.note(f"images in {str(against)!r} without a counterpart, left out: {left}")
    else:
        plans = schedule.plans(methods, via, steps, fetching(offline, terminal), generator)
        for notice in dict.fromkeys(notice for plan in plans for notice in plan.notices):
            terminal.note(notice)
    rule = schedule.rule(plans)
    chosen = choose(names, machine.device, IDENTITIES if rule == "face" else ())
    check_writable(output)
    framing = AlignOptions(align, rule=rule)
    measured = (chosen.metrics, chosen.missing)
    evaluation = Evaluation(paths, output, *measured, machine, framing, plans, against, terminal.note)
    report, files, skipped = _run(evaluation, items, overwrite, terminal)
    terminal.result(report, *_views(report, evaluation.columns, files["page"], time.perf_counter() - began))
    if skipped or missing:
        raise typer.Exit(1)


def _others(paths: list[Path], against: Path | None, output: Path) -> list[Source]:
    """The images of `against`; UsageError unless both are folders or both are files."""
    from restyle_cli.run.sources import find_images

    if against is None:
        return []
    if len(paths) > 1 or (against.exists() and paths[0].is_dir() != against.is_dir()):
        raise UsageError("--against compares a folder with a folder, or a file with a file")
    return find_images([against], output)


def _run(
    evaluation: Evaluation, items: Sequence[Item], overwrite: bool, terminal: Terminal
) -> tuple[dict[str, Any], dict[str, Path], int]:
    """Measure everything, with progress and errors; returns the report, its files, and how many were skipped."""
    from restyle_cli.evaluate.run import evaluate

    total, done, skipped = len(items) * len(evaluation.schedules), 0, 0

    def on_item(skip: Skip | None) -> None:
        nonlocal done, skipped
        done += 1
        if skip is not None:
            skipped += 1
            terminal.error(RestyleError(skip.reason, skip.hint))
        progress.advance()

    try:
        with terminal.progress("measuring", total) as progress:
            report, files = evaluate(evaluation, items, overwrite, on_item)
    except KeyboardInterrupt:
        message = f"interrupted after {done} of {total} measurements"
        raise Interrupted(message, "run the same command again to continue") from None
    return report, files, skipped


def _views(report: dict[str, Any], columns: Sequence[Column], page: Path, seconds: float) -> list[Table | str]:
    """For people: the steps of each method, the table of methods, the protocol, and the report file."""
    from restyle_cli.evaluate.summary import format_value, step_cells, titles

    protocol, methods = report["protocol"], report["methods"]
    names = titles(columns, [one["name"] for one in protocol["missing"]])
    timed = protocol["against"] is None
    views: list[Table | str] = []
    if timed:
        rows = []
        for method in methods:
            for place, step in enumerate(method["steps"]):
                name = method["name"] if not place else ""
                rows.append([name, str(step["step"]), *step_cells(method, place, [*names, "seconds"])])
        views += [_table(["method", "step", *names.values(), "seconds"], rows), ""]
    keys = [*names, *(["seconds"] if timed else [])]
    heads = ["last step" if timed else "pairs", "images", *names.values(), *(["seconds"] if timed else [])]
    rows = [[m["name"], str(m["images"]), *step_cells(m, -1, keys), format_value(m["peak_memory_mb"])] for m in methods]
    views += [_table([*heads, "peak MB"], rows), ""]
    how = [("—", "; ".join(filter(None, (one["reason"], one["hint"])))) for one in protocol["missing"]]
    how.append(("protocol:", "; ".join(protocol[key] for key in ("statistics", "framing", "resize", "range"))))
    how += [(f"{metric['name']}:", metric["how"]) for metric in protocol["metrics"]]
    how.append(("device:", f"{report['device']}, {report['precision']}, batches of {protocol['batch_size']}"))
    views.append(Table(["", ""], how))
    skipped = len({one["input"] for one in report["skipped"]})
    views.append(f"{report['images']} images, {skipped} skipped, in {human_seconds(seconds)}:")
    views.append(str(page))
    return views


def _table(heads: list[str], rows: list[list[str]]) -> Table:
    return Table(heads, rows, frozenset(heads[1:]), spare=heads[:2:-1])
