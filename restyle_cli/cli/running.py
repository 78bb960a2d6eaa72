"""Shared parts of the commands that process images: run, show progress, count, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from restyle_cli.cli.output import Progress, Table, Terminal, human_seconds
from restyle_cli.cli.tally import Tally
from restyle_cli.errors import Interrupted

if TYPE_CHECKING:
    from torch import Tensor

    from restyle_cli.run.pipeline import Outcome
    from restyle_cli.run.prepare import Missing
    from restyle_cli.run.sources import Source

LONG = 20
"""Longer schedules show their L2 while they run, and Ctrl-C writes the best step so far."""


class Live:
    """Progress within a batch: step and L2 of a schedule of `steps`, shown if it is `long`.

    `open_end`: `steps` is an upper limit. `seconds`: a budget; progress then counts seconds. `total`: the end of the
    count for a single image, None if unknown.
    """

    def __init__(self, steps: int, open_end: bool = False, seconds: float | None = None) -> None:
        self.steps = steps
        self.long = steps > LONG or seconds is not None
        self.total = math.ceil(seconds) if seconds is not None else None if open_end else steps
        self._of = "" if open_end else f" of {steps}"
        self._timed = seconds is not None
        self._alone = False
        self._began = time.perf_counter()
        self._counted = 0
        self._progress: Progress | None = None

    def begin(self, progress: Progress, alone: bool) -> None:
        """Show it on `progress`, which counts steps (or seconds) if the image is `alone`."""
        self._progress, self._alone = progress, alone

    def step(self, k: int, l2: Tensor) -> None:
        """Show step `k` of a batch, whose images have these L2 [N]."""
        if k == 0:
            self._began = time.perf_counter()
        if self._progress is None or k == 0:
            return
        step = "" if self._alone and not self._timed else f"step {k}{self._of}, "
        self._progress.describe(f"{step}L2 {float(l2.mean()):.4f}")
        if self._alone:
            reached = min(int(time.perf_counter() - self._began), self.total or 0) if self._timed else k
            self._progress.advance(reached - self._counted)
            self._counted = reached


def run(
    sources: Sequence[Source],
    missing: Missing,
    outcomes: Generator[Outcome, None, None],
    what: str,
    terminal: Terminal,
    live: Live | None = None,
    describe: Callable[[Outcome], dict[str, Any]] | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Tally:
    """Exhaust `outcomes`, showing progress of `what`, errors and warnings; returns the tally, `missing` included.

    `describe` returns the JSON of an outcome, by default `as_json`.
    """
    from restyle_cli.run.pipeline import Outcome

    tally = Tally((describe or as_json) if terminal.json else None)
    for place, (path, error) in enumerate(missing, start=-len(missing)):
        tally.add(Outcome(path, "failed", error=error), place)
    # Skipped images come before those in the same batch, so the JSON is sorted by the order of the inputs.
    order = {source.path: index for index, source in enumerate(sources)} if terminal.json else {}
    alone = live is not None and live.long and len(sources) == 1
    shown = terminal if len(sources) > 1 or alone else Terminal(quiet=True)
    before: Path | None = None
    try:
        total = live.total if live is not None and alone else len(sources)
        with closing(outcomes), shown.progress(what, total) as progress:
            if live is not None:
                live.begin(progress, alone)
            for outcome in outcomes:
                if not alone and outcome.path != before:  # another face of the same image is not counted
                    progress.advance()
                before = outcome.path
                tally.add(outcome, order.get(outcome.path, 0))
                if outcome.error:
                    terminal.error(outcome.error)
                elif outcome.status == "done":
                    warn_about(outcome, terminal)
                on_outcome(outcome)
    except KeyboardInterrupt:
        message = f"interrupted after {tally.total - len(missing)} of {len(sources)} images"
        raise Interrupted(message, "run the same command again to continue") from None
    return tally


def warn_about(outcome: Outcome, terminal: Terminal) -> None:
    """Print what may be wrong with the result of an image: its crop, steps that produced NaN, a rotated photo."""
    path, record = str(outcome.path), outcome.record
    face = f", face {record['alignment']['face']}" if record["alignment"]["face"] > 1 else ""
    for text in record["alignment"]["doubts"]:
        terminal.warn(f"{path!r}{face}: {text}")
    if "pasted" in outcome.files and record["source"]["turned"]:
        terminal.note(f"{path!r} is stored rotated (EXIF); {str(outcome.files['pasted'])!r} is upright")
    if nan_steps := [step["step"] for step in record.get("steps", ()) if step["l2"] is None]:
        terminal.warn(f"{path!r}: steps from {nan_steps[0]} on produced NaN; try --precision fp32")


def end(tally: Tally, steps: int | None = None) -> None:
    """Raise for the exit status: Interrupted if Ctrl-C cut an image short, Exit(1) if one failed.

    `steps`: length of the schedule; None if it was not fixed.
    """
    if tally.cut is not None:
        reached = tally.cut.record["steps"][-1]["step"]
        of, written = "" if steps is None else f" of {steps}", tally.cut_is_written
        message = f"interrupted after step {reached}{of}" + ("; the best step so far is written" if written else "")
        raise Interrupted(message, "run the same command to process these images from the start")
    if tally.counts["failed"]:
        raise typer.Exit(1)


def as_json(outcome: Outcome, with_steps: bool = True) -> dict[str, Any]:
    """The JSON of an image."""
    record = outcome.record
    values: dict[str, Any] = {
        "input": str(outcome.path),
        "status": outcome.status,
        "outputs": {kind: str(file) for kind, file in outcome.files.items()},
    }
    if with_steps:
        values |= {key: record.get(key) for key in ("steps", "best_step", "kept_step")}
        values["steps"] = values["steps"] or []
    values["alignment"] = record.get("alignment")
    values |= {key: record[key] for key in ("links", "interrupted", "against") if record.get(key)}
    if outcome.error:
        values["error"] = outcome.error.message
    return values


def views(tally: Tally, summary: dict[str, Any], output: Path) -> list[Table | str]:
    """For people: L2 and seconds of each step, on average over the images, and the written files."""
    steps, links = tally.steps, tally.links
    shown: list[Table | str] = []
    if tally.total > 1 and steps.images:
        shown.append(f"mean of {steps.images} images:")
    by_links = bool(links.images) and not links.without
    if steps.images and not (by_links and steps.images > 1):  # images that took different chains share no steps
        shown.append(steps.table())
    if by_links:
        shown.extend(["", links.table()] if steps.images == 1 else [links.table()])
    if tally.total == 1 and tally.first is not None:
        shown.extend(str(file) for file in tally.first.files.values())
        if summary["skipped"]:
            shown.append("already done; use --overwrite to process it again")
    else:
        shown.append(counts(summary, output))
    return shown


def counts(summary: dict[str, Any], output: Path) -> str:
    """Number of images done, skipped and failed, time and folder, in one line."""
    counted = ", ".join(f"{summary[status]} {status}" for status in ("done", "skipped", "failed"))
    return f"{counted} in {human_seconds(summary['seconds'])}: {output}"
