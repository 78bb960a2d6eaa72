"""`restyle invert`: pictures to latent codes and reconstructions."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from restyle_cli import __version__
from restyle_cli.cli import options
from restyle_cli.cli.output import Table, Terminal, human_seconds
from restyle_cli.errors import Interrupted, RestyleError

if TYPE_CHECKING:
    from restyle_cli.folder import Outcome, Task
    from restyle_cli.images import Source

CPU_BATCH, GPU_BATCH = 4, 8
MOST_ROWS = 20


def invert(
    paths: options.Pictures,
    steps: options.Steps = None,
    model: options.Model = options.DEFAULT_MODEL,
    via: options.Via = None,
    tolerance: options.Tolerance = None,
    align: options.Align = "auto",
    output: options.Output = options.DEFAULT_OUTPUT,
    save: options.Save = options.DEFAULT_SAVE,
    keep: options.Keep = "best",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
) -> None:
    """Find the latent codes of pictures, and draw what the codes give.

    Writes for each its reconstruction, a strip of all steps, and the latent file.

    A picture with a latent file that tells of the same picture, networks and settings
    is done and skipped: an interrupted run goes on where it stopped.

    Examples:

        [bold]restyle invert photo.jpg -n 5[/]

        [bold]restyle invert photos/ --via psp-portrait,restyle-psp-portrait:3 --save image,latent,npy[/]
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    kinds = options.parse_save(save)
    sources, missing = _find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli import loading
    from restyle_cli.devices import PRECISIONS, choose_device, choose_dtype
    from restyle_cli.folder import Outcome, Task
    from restyle_cli.results import Results
    from restyle_cli.store import fetch

    ensure = partial(fetch.ensure, offline=offline, note=terminal.note, progress=terminal.transfer)
    plan = loading.plan(model, steps, via, ensure)
    where = choose_device(device)
    dtype = choose_dtype(precision, where)
    _check_writable(output)
    for notice in plan.notices:
        terminal.note(notice)
    result = {"model": plan.models[-1].name, "chain": plan.chain}
    settings = {**result, "networks": plan.networks(), "keep": keep, "tolerance": tolerance, "align": align}
    number_format = next(name for name, value in PRECISIONS.items() if value == dtype)
    machine = {"version": __version__, "device": str(where), "precision": number_format}
    notes = {**machine, "generator": plan.models[-1].generator_name}
    batch = batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH)
    results = Results(output, kinds, settings, notes)
    task = Task(plan.load(where), results, where, dtype, keep, tolerance, align, overwrite, batch)

    outcomes = [Outcome(path, "failed", error=error) for path, error in missing]
    outcomes += _run(sources, task, terminal)
    summary = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    summary["seconds"] = round(time.perf_counter() - began, 3)
    images = [_as_json(outcome) for outcome in outcomes]
    values = {"command": "invert", **machine, **result, "images": images, "summary": summary}
    terminal.result(values, *_views(outcomes, summary, output))
    if summary["failed"]:
        raise typer.Exit(1)


def _find(paths: list[Path], output: Path, terminal: Terminal) -> tuple[list[Source], list[tuple[Path, RestyleError]]]:
    """The pictures, and the paths where none are, which are told at once; RestyleError where there is nothing."""
    from restyle_cli.images import find_pictures

    missing: list[tuple[Path, RestyleError]] = []
    sources = find_pictures(paths, output, lambda path, error: missing.append((path, error)))
    if not sources:
        for _, error in missing[:-1]:
            terminal.error(error)
        raise missing[-1][1]
    for _, error in missing:
        terminal.error(error)
    return sources, missing


def _check_writable(folder: Path) -> None:
    """RestyleError, once and before the work, when nothing can be written to `folder`; creates it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if folder.is_file() else (error.strerror or str(error)).lower()
        message = f"cannot write to the folder {str(folder)!r}: {reason}"
        raise RestyleError(message, "choose another with --output") from error


def _run(sources: Sequence[Source], task: Task, terminal: Terminal) -> list[Outcome]:
    """Invert all, showing progress and each failure; the outcomes are in the order of the pictures."""
    from restyle_cli.folder import invert_all

    outcomes: list[Outcome] = []
    shown = terminal if len(sources) > 1 else Terminal(quiet=True)
    try:
        with closing(invert_all(sources, task)) as done, shown.progress("inverting", len(sources)) as progress:
            for outcome in done:
                outcomes.append(outcome)
                if outcome.error:
                    terminal.error(outcome.error)
                progress.advance()
    except KeyboardInterrupt:
        message = f"interrupted after {len(outcomes)} of {len(sources)} pictures"
        raise Interrupted(message, "the same command goes on from there") from None
    order = {source.path: index for index, source in enumerate(sources)}  # what was skipped came in between
    return sorted(outcomes, key=lambda outcome: order[outcome.path])


def _as_json(outcome: Outcome) -> dict[str, Any]:
    values: dict[str, Any] = {
        "input": str(outcome.path),
        "status": outcome.status,
        "outputs": {kind: str(file) for kind, file in outcome.files.items()},
        "steps": outcome.made.get("steps", []),
        "best_step": outcome.made.get("best_step"),
    }
    if outcome.error:
        values["error"] = outcome.error.message
    return values


def _views(outcomes: list[Outcome], summary: dict[str, Any], output: Path) -> list[Table | str]:
    """For people: what each step brought, on average over the pictures, and where the files are."""
    made = [outcome.made for outcome in outcomes if outcome.made]
    views: list[Table | str] = []
    if len(outcomes) > 1 and made:
        views.append(f"mean of {len(made)} pictures:")
    if made:
        views.append(_steps_table(made))
    if len(outcomes) == 1 and made:
        views.extend(str(file) for file in outcomes[0].files.values())
        if summary["skipped"]:
            views.append("done before; --overwrite does it again")
    else:
        counts = ", ".join(f"{summary[status]} {status}" for status in ("done", "skipped", "failed"))
        views.append(f"{counts} in {human_seconds(summary['seconds'])}: {output}")
    return views


def _steps_table(made: Sequence[dict[str, Any]]) -> Table:
    """One row a step, not all of many. A picture that stopped early counts with its last L2 in the rows after."""
    from restyle_cli.strip import shown_steps

    longest = max((m["steps"] for m in made), key=len)
    kept = Counter(m["kept_step"] for m in made)
    rows = []
    shown = {*shown_steps(len(longest) - 1, MOST_ROWS), *(kept if len(made) == 1 else ())}
    for k in sorted(shown):
        l2 = [m["steps"][min(k, len(m["steps"]) - 1)]["l2"] for m in made]
        seconds = [m["steps"][k]["seconds"] for m in made if k < len(m["steps"])]
        mark = (str(kept[k]) if len(made) > 1 else "kept") if kept[k] else ""
        mean_l2, mean_seconds = sum(l2) / len(l2), sum(seconds) / len(seconds)
        rows.append((str(k), longest[k]["method"], f"{mean_l2:.4f}", f"{mean_seconds:.3f}", mark))
    titles = ["step", "method", "L2", "seconds", "kept" if len(made) > 1 else ""]
    return Table(titles, rows, right=frozenset({"step", "L2", "seconds", "kept"}))
