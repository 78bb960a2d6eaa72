"""What the commands have in common that put pictures through a chain of models."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from restyle_cli import __version__
from restyle_cli.cli import framing
from restyle_cli.cli.output import Progress, Table, Terminal, human_seconds
from restyle_cli.errors import Interrupted, RestyleError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from restyle_cli.folder import Outcome
    from restyle_cli.images import Source
    from restyle_cli.loading import Ensure

CPU_BATCH, GPU_BATCH = 4, 8
MOST_ROWS = 20
LONG = 20
"""Steps of a schedule from which on its L2 is shown as it goes, and Ctrl-C keeps what it has reached."""
Missing = list[tuple[Path, RestyleError]]
"""Paths where no picture was, and why."""


def find(paths: list[Path], output: Path, terminal: Terminal) -> tuple[list[Source], Missing]:
    """The pictures, and the paths where none are, which are told at once; RestyleError where there is nothing."""
    from restyle_cli.images import find_pictures

    missing: Missing = []
    sources = find_pictures(paths, output, lambda path, error: missing.append((path, error)))
    if not sources:
        for _, error in missing[:-1]:
            terminal.error(error)
        raise missing[-1][1]
    for _, error in missing:
        terminal.error(error)
    return sources, missing


def fetching(offline: bool, terminal: Terminal) -> Ensure:
    """`fetch.ensure` that tells the terminal what it does; models that cannot be used are warned of before."""
    from restyle_cli.store import catalog, fetch

    for problem in catalog.problems():
        terminal.warn(problem.whole)
    return partial(fetch.ensure, offline=offline, note=terminal.note, progress=terminal.transfer)


@dataclass(frozen=True)
class Machine:
    """Where and how to compute, and how many pictures at once; `notes` tell it in results."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    notes: dict[str, str]


def choose_machine(device: str, precision: str, batch_size: int | None) -> Machine:
    """What the options `--device`, `--precision` and `--batch-size` mean here; UsageError where they mean nothing."""
    from restyle_cli.devices import PRECISIONS, choose_device, choose_dtype

    where = choose_device(device)
    dtype = choose_dtype(precision, where)
    number_format = next(name for name, value in PRECISIONS.items() if value == dtype)
    notes = {"version": __version__, "device": str(where), "precision": number_format}
    return Machine(where, dtype, batch_size or (CPU_BATCH if where.type == "cpu" else GPU_BATCH), notes)


class Live:
    """The L2 of a schedule of so many `steps`, shown as it goes if it is `long`.

    `open_end`: so many at most. `seconds`: the budget, which then is what progress is counted by. `total`: what it
    counts up to with one picture alone, if that is known.
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
        """Show it on `progress`, which with a picture `alone` counts steps."""
        self._progress, self._alone = progress, alone

    def step(self, k: int, l2: Tensor) -> None:
        """Step k of a batch was made, and its pictures have these L2."""
        if k == 0:
            self._began = time.perf_counter()
        if self._progress is None or k == 0:
            return
        where = "" if self._alone and not self._timed else f"step {k}{self._of}, "
        self._progress.tell(f"{where}L2 {float(l2.mean()):.4f}")
        if self._alone:
            reached = min(int(time.perf_counter() - self._began), self.total or 0) if self._timed else k
            self._progress.advance(reached - self._counted)
            self._counted = reached


def run(
    sources: Sequence[Source],
    missing: Missing,
    done: Iterator[Outcome],
    what: str,
    terminal: Terminal,
    live: Live | None = None,
) -> list[Outcome]:
    """Exhaust `done`, showing progress of `what` and each failure; what is missing first, then all in order."""
    from restyle_cli.folder import Outcome

    outcomes: list[Outcome] = []
    alone = live is not None and live.long and len(sources) == 1
    shown = terminal if len(sources) > 1 or alone else Terminal(quiet=True)
    try:
        total = live.total if live is not None and alone else len(sources)
        with closing(done), shown.progress(what, total) as progress:
            if live is not None:
                live.begin(progress, alone)
            for outcome in done:
                if not alone and not any(outcome.path == before.path for before in outcomes[-1:]):  # another face of it
                    progress.advance()
                outcomes.append(outcome)
                if outcome.error:
                    terminal.error(outcome.error)
                framing.warn(outcome, terminal)
    except KeyboardInterrupt:
        message = f"interrupted after {len(outcomes)} of {len(sources)} pictures"
        raise Interrupted(message, "the same command goes on from there") from None
    order = {source.path: index for index, source in enumerate(sources)}  # what was skipped came in between
    failed = [Outcome(path, "failed", error=error) for path, error in missing]
    return failed + sorted(outcomes, key=lambda outcome: order[outcome.path])


def end(outcomes: Sequence[Outcome], steps: int | None) -> None:
    """The exit status that the outcomes of a schedule of so many `steps` ask for; None: that was not decided before."""
    cut = [outcome for outcome in outcomes if outcome.made.get("interrupted")]
    if cut:
        reached = cut[-1].made["steps"][-1]["step"]
        of, written = "" if steps is None else f" of {steps}", any(outcome.status == "done" for outcome in cut)
        message = f"interrupted after step {reached}{of}" + ("; what was reached by then is written" if written else "")
        raise Interrupted(message, "the same command begins these pictures again")
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def summary(outcomes: Sequence[Outcome], began: float) -> dict[str, Any]:
    """How many are done, skipped and failed, and the seconds since `began`."""
    counts: dict[str, Any] = {
        status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")
    }
    return counts | {"seconds": round(time.perf_counter() - began, 3)}


def as_json(outcome: Outcome) -> dict[str, Any]:
    """A picture in the JSON of a command."""
    values: dict[str, Any] = {
        "input": str(outcome.path),
        "status": outcome.status,
        "outputs": {kind: str(file) for kind, file in outcome.files.items()},
        "steps": outcome.made.get("steps", []),
        "best_step": outcome.made.get("best_step"),
        "kept_step": outcome.made.get("kept_step"),
        "alignment": outcome.made.get("alignment"),
    }
    values |= {key: outcome.made[key] for key in ("links", "interrupted") if outcome.made.get(key)}
    if outcome.error:
        values["error"] = outcome.error.message
    return values


def views(outcomes: Sequence[Outcome], summary: dict[str, Any], output: Path) -> list[Table | str]:
    """For people: what each step brought, on average over the pictures, and where the files are."""
    made = [outcome.made for outcome in outcomes if outcome.made and outcome.status != "failed"]
    shown: list[Table | str] = []
    if len(outcomes) > 1 and made:
        shown.append(f"mean of {len(made)} pictures:")
    by_links = bool(made) and all(m.get("links") for m in made)
    if made and not (by_links and len(made) > 1):  # pictures that went different ways have no step in common
        shown.append(steps_table(made))
    if by_links:
        shown.extend(["", links_table(made)] if len(made) == 1 else [links_table(made)])
    if len(outcomes) == 1 and made:
        shown.extend(str(file) for file in outcomes[0].files.values())
        if summary["skipped"]:
            shown.append("done before; --overwrite does it again")
    else:
        shown.append(counts(summary, output))
    return shown


def links_table(made: Sequence[dict[str, Any]]) -> Table:
    """One row a link of the chains that were decided by progress: how far it led, and why it ended."""
    rows = [("start", "", _mean_of([m["steps"][0]["l2"] for m in made]), "", "")]
    every = [link for m in made for link in m["links"]]
    for method in dict.fromkeys(link["method"] for link in every):
        links = [link for link in every if link["method"] == method]
        steps, l2, seconds = (sum(link[key] for link in links) / len(links) for key in ("steps", "l2", "seconds"))
        reasons = Counter(link["ended"] for link in links).most_common()
        why = ", ".join(reason if len(made) == 1 else f"{reason} {times}" for reason, times in reasons)
        rows.append((method, f"{steps:.{0 if len(made) == 1 else 1}f}", f"{l2:.4f}", f"{seconds:.3f}", why))
    return Table(
        ["link", "steps", "best L2", "seconds", "ended"], rows, right=frozenset({"steps", "best L2", "seconds"})
    )


def counts(summary: dict[str, Any], output: Path) -> str:
    """What became of the pictures, in one line."""
    counted = ", ".join(f"{summary[status]} {status}" for status in ("done", "skipped", "failed"))
    return f"{counted} in {human_seconds(summary['seconds'])}: {output}"


def steps_table(made: Sequence[dict[str, Any]]) -> Table:
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
        rows.append((str(k), longest[k]["method"], _mean_of(l2), f"{sum(seconds) / len(seconds):.3f}", mark))
    titles = ["step", "method", "L2", "seconds", "kept" if len(made) > 1 else ""]
    return Table(titles, rows, right=frozenset({"step", "L2", "seconds", "kept"}))


def _mean_of(l2: Sequence[float | None]) -> str:
    """The mean as tables show it; a dash where a step came to no number."""
    return "—" if None in l2 else f"{sum(l2) / len(l2):.4f}"
