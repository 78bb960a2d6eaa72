"""Statistics of a run: counts, means over the steps, and a line of JSON on disk for each image.

Memory does not grow with the number of images, so a folder of any size can be inverted.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restyle_cli.cli.output import Stored, Table

if TYPE_CHECKING:
    from restyle_cli.run.pipeline import Outcome

MOST_ROWS = 20
IN_MEMORY = 1_000_000
"""Bytes of JSON above which it is stored on disk."""


class Tally:
    """The outcomes of a run. `describe` returns the JSON of one; without it no JSON is stored."""

    def __init__(self, describe: Callable[[Outcome], dict[str, Any]] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.first: Outcome | None = None  # the first with a result
        self.steps, self.links = StepMeans(), LinkMeans()
        self.compared = StepMeans()  # of the chain to compare with
        self.cut: Outcome | None = None  # the last one that Ctrl-C interrupted
        self.cut_is_written = False
        self.described = Spool()
        self._describe = describe

    @property
    def total(self) -> int:
        """Number of outcomes."""
        return self.counts.total()

    def add(self, outcome: Outcome, place: int) -> None:
        """Add one; `place` is the position of its JSON in the output."""
        self.counts[outcome.status] += 1
        if self._describe is not None:
            self.described.add(self._describe(outcome), place)
        if outcome.record.get("interrupted"):
            self.cut = outcome
            self.cut_is_written |= outcome.status == "done"
        if not outcome.record or outcome.status == "failed":
            return
        self.first = self.first or outcome
        if "steps" in outcome.record:
            self.steps.add(outcome.record["steps"], outcome.record["kept_step"])
            self.links.add(outcome.record)
        if steps := outcome.record.get("against"):
            self.compared.add(steps, len(steps) - 1)

    def summary(self, began: float) -> dict[str, Any]:
        """Number of images done, skipped and failed, and the seconds since `began`."""
        counts: dict[str, Any] = {status: self.counts[status] for status in ("done", "skipped", "failed")}
        return counts | {"seconds": round(time.perf_counter() - began, 3)}


class Spool(Stored):
    """JSON values, many of them in a temporary file, read back in the order of their places."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 closed with this object
        self._places, self._starts = array("q"), array("q")

    def add(self, value: Any, place: int) -> None:
        """Store a value."""
        self._places.append(place)
        self._starts.append(self._file.seek(0, 2))
        self._file.write(json.dumps(value).encode("ascii") + b"\n")

    def __iter__(self) -> Iterator[Any]:
        for index in sorted(range(len(self._places)), key=self._places.__getitem__):
            self._file.seek(self._starts[index])
            yield json.loads(self._file.readline())


class StepMeans:
    """Mean L2 and seconds of each step. An image that stopped early counts with its last L2 in later steps."""

    def __init__(self) -> None:
        self.images = 0
        self.selected: Counter[int] = Counter()
        self._methods: list[str] = []
        self._l2: list[float] = []  # sums; NaN where one produced NaN
        self._seconds: list[float] = []
        self._times: list[int] = []
        self._ended: dict[int, float] = defaultdict(float)  # sums of last L2s, by the last step

    def add(self, steps: Sequence[Mapping[str, Any]], selected: int) -> None:
        """Add an image."""
        self.images += 1
        self.selected[selected] += 1
        for k, step in enumerate(steps):
            if k == len(self._l2):
                self._methods.append(step["method"])
                for sums in (self._l2, self._seconds, self._times):
                    sums.append(0)
            self._l2[k] += _number(step["l2"])
            self._seconds[k] += step["seconds"]
            self._times[k] += 1
        self._ended[len(steps) - 1] += _number(steps[-1]["l2"])

    def means(self) -> list[dict[str, Any]]:
        """Method, L2 and seconds of each step; the seconds are the mean over the images that made the step."""
        gone = [sum(last for end, last in self._ended.items() if end < k) for k in range(len(self._l2))]
        return [
            {
                "step": k,
                "method": method,
                "l2": (self._l2[k] + gone[k]) / self.images,
                "seconds": self._seconds[k] / self._times[k],
            }
            for k, method in enumerate(self._methods)
        ]

    def table(self) -> Table:
        """One row per step; long schedules show some of them."""
        from restyle_cli.run.strip import shown_steps

        alone, steps = self.images == 1, self.means()
        rows = []
        for k in sorted({*shown_steps(len(steps) - 1, MOST_ROWS), *(self.selected if alone else ())}):
            mark = ("selected" if alone else str(self.selected[k])) if self.selected[k] else ""
            rows.append((str(k), steps[k]["method"], shown(steps[k]["l2"]), f"{steps[k]['seconds']:.3f}", mark))
        titles = ["step", "method", "L2", "seconds", "" if alone else "selected"]
        return Table(titles, rows, right=frozenset({"step", "L2", "seconds", "selected"}))


class LinkMeans:
    """Means for the links of a `--quality` chain: steps, best L2, seconds, and why each link ended."""

    def __init__(self) -> None:
        self.images = self.without = 0
        self._start = 0.0
        self._sums: dict[str, Counter[str]] = {}
        self._reasons: dict[str, Counter[str]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Add an image."""
        if not record.get("links"):
            self.without += 1
            return
        self.images += 1
        self._start += _number(record["steps"][0]["l2"])
        for link in record["links"]:
            sums = self._sums.setdefault(link["method"], Counter())
            sums.update({"times": 1} | {key: link[key] for key in ("steps", "l2", "seconds")})
            self._reasons.setdefault(link["method"], Counter())[link["ended"]] += 1

    def table(self) -> Table:
        """One row per link."""
        alone = self.images == 1
        rows = [("start", "", shown(self._start / self.images), "", "")]
        for method, sums in self._sums.items():
            steps, l2, seconds = (sums[key] / sums["times"] for key in ("steps", "l2", "seconds"))
            reasons = self._reasons[method].most_common()
            why = ", ".join(reason if alone else f"{reason} {times}" for reason, times in reasons)
            rows.append((method, f"{steps:.{0 if alone else 1}f}", f"{l2:.4f}", f"{seconds:.3f}", why))
        titles = ["link", "steps", "best L2", "seconds", "ended"]
        return Table(titles, rows, right=frozenset({"steps", "best L2", "seconds"}))


def shown(l2: float) -> str:
    """An L2 as tables show it; a dash where a step produced NaN."""
    return "—" if math.isnan(l2) else f"{l2:.4f}"


def _number(l2: float | None) -> float:
    return math.nan if l2 is None else l2
