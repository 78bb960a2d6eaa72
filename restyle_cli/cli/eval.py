"""`restyle eval`: how near methods come to pictures, step by step, and how long they take."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restyle_cli.cli import options
from restyle_cli.cli.output import Table, Terminal, human_seconds
from restyle_cli.cli.running import choose_machine, fetching, find
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.store.places import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from restyle_cli.evaluate.run import Pair, Photo, Task
    from restyle_cli.loading import Plan
    from restyle_cli.report.study import Study
    from restyle_cli.sources import Source

EPILOG = """Examples:

    [bold]restyle eval faces -n 5[/]

    [bold]restyle eval faces --methods psp-portrait,restyle-psp-portrait:5[/]

    [bold]restyle eval faces --methods "psp-portrait; psp-portrait,restyle-psp-portrait:3"[/]

    [bold]restyle eval photos --against reconstructions --metrics l2,ms_ssim[/]
"""

Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        "-m",
        metavar="A,B:5,…",
        help="Models to compare; with [bold];[/] between them, chains as --via has them: [bold]'a; b,c:5'[/]. "
        "By default all that are installed of one domain.",
        show_default=False,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option("--against", metavar="DIR", help="Pictures of the same names to measure, instead of methods."),
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="A,B",
        help="Of l2, lpips, structure, ms_ssim, id, id/curricularface, id/dlib, id/portrait; by default all that are "
        "installed, of the last three the first that fits the domain.",
        show_default=False,
    ),
]


def evaluate(
    paths: options.Pictures,
    methods: Methods = None,
    via: options.Via = None,
    generator: options.Generator = None,
    against: Against = None,
    steps: options.Steps = None,
    metrics: Metrics = None,
    align: options.Align = "auto",
    output: options.Output = options.OUTPUT / "eval",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again, and replace the report of another run.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
) -> None:
    """Measure how near methods come to pictures, step by step, and how long they take.

    Writes report.html with curves, tables, the best and the worst, and the protocol;
    report.json and images.csv with every number; journal.jsonl, from which an
    interrupted run goes on where it stopped.
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    names = None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    if against is not None and (methods or via or generator or steps or align == "always"):
        hint = "leave out --methods, --via, --generator, --steps and --align"
        raise UsageError("--against measures pictures as they are", hint)
    sources, missing = find(paths, output, terminal)
    others = _others(paths, against, output)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli.align import Framing
    from restyle_cli.evaluate import schedules
    from restyle_cli.evaluate.pairs import pair_up
    from restyle_cli.evaluate.run import Photo, Task
    from restyle_cli.metrics import choose
    from restyle_cli.report.study import EvalRequest, Study

    machine = choose_machine(device, precision, batch_size)
    items: Sequence[Photo] | Sequence[Pair] = [Photo(source.path) for source in sources]
    plans: list[Plan] = []
    if against is not None:
        items, left = pair_up(paths[0], sources, against, others)
        if left:
            terminal.note(f"{left} of the pictures in {str(against)!r} have no partner, and are left out")
    else:
        plans = schedules.plans(methods, via, steps, fetching(offline, terminal), generator)
        for notice in dict.fromkeys(notice for plan in plans for notice in plan.notices):
            terminal.note(notice)
    rule = schedules.rule(plans)
    chosen = choose(names, machine.device, schedules.identities(plans, rule))
    check_writable(output)
    where = (machine.device, machine.dtype)
    task = Task(chosen.metrics, *where, Framing(align, rule=rule), machine.batch_size, terminal.note)
    study = Study(EvalRequest(paths, output, plans, against, chosen.missing), task, overwrite)

    failed = _run(study, items, terminal) + len(missing)
    report, files = study.finish()
    terminal.result(report, *_views(report, task, files, time.perf_counter() - began))
    if failed:
        raise typer.Exit(1)


def _others(paths: list[Path], against: Path | None, output: Path) -> list[Source]:
    """The pictures of `against`; UsageError where it is not one path that is compared with another."""
    from restyle_cli.sources import find_pictures

    if against is None:
        return []
    if len(paths) > 1 or (against.exists() and paths[0].is_dir() != against.is_dir()):
        raise UsageError("--against compares a folder with a folder, or a file with a file")
    return find_pictures([against], output)


def _run(study: Study, items: Sequence[Photo] | Sequence[Pair], terminal: Terminal) -> int:
    """Measure all, showing progress and what is skipped; how many were."""
    total, done, skipped = len(items) * len(study.courses), 0, 0
    try:
        with closing(study.run(items)) as outcomes, terminal.progress("measuring", total) as progress:
            for outcome in outcomes:
                done += 1
                if outcome.skip is not None:
                    skipped += 1
                    terminal.error(RestyleError(outcome.skip.reason, outcome.skip.hint))
                progress.advance()
    except KeyboardInterrupt:
        message = f"interrupted after {done} of {total} measurements"
        raise Interrupted(message, "the same command goes on from there") from None
    return skipped


def _views(report: dict[str, Any], task: Task, files: dict[str, Path], seconds: float) -> list[Table | str]:
    """For people: the curve of each method, the table across methods, how they came about, where more is."""
    from restyle_cli.report.figures import format_value, step_cells, titles

    protocol, methods = report["protocol"], report["methods"]
    names = titles(task.columns, [one["name"] for one in protocol["missing"]])
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
    heads = ["last step" if timed else "pairs", "pictures", *names.values(), *(["seconds"] if timed else [])]
    rows = [[m["name"], str(m["images"]), *step_cells(m, -1, keys), format_value(m["peak_memory_mb"])] for m in methods]
    views += [_table([*heads, "peak MB"], rows), ""]
    how = [("—", "; ".join(filter(None, (one["reason"], one["hint"])))) for one in protocol["missing"]]
    how.append(("protocol:", "; ".join(protocol[key] for key in ("statistics", "framing", "resize", "range"))))
    how += [(f"{metric['name']}:", metric["how"]) for metric in protocol["metrics"]]
    how.append(("device:", f"{report['device']}, {report['precision']}, batches of {protocol['batch_size']}"))
    views.append(Table(["", ""], how))
    skipped = len({one["input"] for one in report["skipped"]})
    views.append(f"{report['images']} images, {skipped} skipped, in {human_seconds(seconds)}:")
    views.append(str(files["page"]))
    return views


def _table(heads: list[str], rows: list[list[str]]) -> Table:
    return Table(heads, rows, frozenset(heads[1:]), spare=heads[:2:-1])
