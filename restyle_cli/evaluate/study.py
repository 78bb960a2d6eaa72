"""Run an evaluation, all images with all methods, and write its report."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import restyle_cli
from restyle_cli.devices import PRECISIONS
from restyle_cli.errors import RestyleError
from restyle_cli.evaluate import files
from restyle_cli.evaluate.journal import Journal
from restyle_cli.evaluate.protocol import network_files, pairs_protocol, protocol
from restyle_cli.evaluate.rows import Course, Skip
from restyle_cli.evaluate.run import Outcome, Pair, Photo, Task, compare, evaluate
from restyle_cli.evaluate.schedules import courses
from restyle_cli.evaluate.summary import Measured, summary
from restyle_cli.metrics.missing import Missing
from restyle_cli.models import Plan


@dataclass(frozen=True)
class EvalRequest:
    """What to evaluate: the methods of `plans` on the inputs, or pairs of inputs and images of `compare_with`."""

    inputs: Sequence[Path]
    folder: Path
    plans: Sequence[Plan] = ()
    compare_with: Path | None = None
    missing: Mapping[str, Missing] = field(default_factory=dict)  # metrics that cannot be computed


class Study:
    """One evaluation: exhaust `run`, then call `finish`. A new one with the same request resumes an interrupted one."""

    def __init__(self, request: EvalRequest, task: Task, overwrite: bool = False) -> None:
        """RestyleError if the folder has a report of another run, unless `overwrite`."""
        files.check_free(request.folder, overwrite)
        self.request, self.task = request, task
        self.machine = {
            "version": restyle_cli.__version__,
            "device": str(task.device),
            "precision": next(name for name, dtype in PRECISIONS.items() if dtype == task.dtype),
        }
        self.journal = Journal(request.folder / files.JOURNAL, self._settings())
        self.journal.open(overwrite)
        pairs = Course(str(request.compare_with), str(request.compare_with), (0,), ("given",))
        self.courses = courses(request.plans) if request.compare_with is None else [pairs]
        self._used: dict[str, str] = {}
        self._skips: dict[tuple[str, str | None], Skip] = {}

    def run(self, items: Sequence[Photo] | Sequence[Pair]) -> Generator[Outcome, None, None]:
        """Measure all images with all methods, or all pairs, and yield the outcome of each.

        Close the iterator, or exhaust it. An image skipped for all methods has its skip in the first outcome only.
        """
        for index, course in enumerate(self.courses):
            with closing(self._pass(items, course, index)) as outcomes:
                for outcome in outcomes:
                    yield self._record(outcome)

    def finish(self) -> tuple[dict[str, Any], dict[str, Path]]:
        """Write the report; returns the report and its files by kind. RestyleError if nothing was measured."""
        if not self._used:
            raise RestyleError("no image could be measured", "the reasons are above")
        request, task = self.request, self.task
        measured = Measured(
            self.journal,
            self.courses,
            task.columns,
            list(request.missing),
            task.ranking,
            self._used,
            list(self._skips.values()),
        )
        if request.compare_with is None:
            used = protocol(request.inputs, task, request.plans, request.missing)
        else:
            used = pairs_protocol(request.inputs, request.compare_with, task, request.missing)
        notices = list(dict.fromkeys(notice for plan in request.plans for notice in plan.notices))
        report = {"command": "eval", **self.machine, "notices": notices, "protocol": used, **summary(measured)}
        return report, files.write(request.folder, report, measured)

    def _pass(self, items: Any, course: Course, index: int) -> Generator[Outcome, None, None]:
        if self.request.compare_with is not None:
            yield from compare(items, course, self.task, self.journal)
        else:
            methods = self.request.plans[index].load(self.task.device)
            yield from evaluate(items, course, methods, self.task, self.journal)

    def _record(self, outcome: Outcome) -> Outcome:
        if outcome.skip is None:
            self._used[outcome.input] = str(outcome.sha256)
            return outcome
        key = (outcome.input, outcome.skip.course)
        first = key not in self._skips
        self._skips[key] = outcome.skip
        return outcome if first else Outcome(outcome.input, outcome.sha256)

    def _settings(self) -> dict[str, Any]:
        """The settings that the results depend on. The keys appear in the message that refuses to resume."""
        request, task = self.request, self.task
        networks = [network for metric in task.metrics for network in metric.networks]
        return {
            "inputs": [str(path.resolve()) for path in request.inputs],
            "pictures to compare with": str(request.compare_with.resolve()) if request.compare_with else None,
            "methods": [plan.chain for plan in request.plans],
            "metrics": [metric.name for metric in task.metrics],
            "networks": network_files(request.plans, networks),
            "alignment": task.framing.mode,
            "batch size": task.batch_size,
            **self.machine,
        }
