"""Heatmap files: a sheet and an .npz for each image, and for several images their average."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.changes import Changes, Mean, changes_of, read_changes, read_record, write_changes
from restyle_cli.heatmap.drawing import draw_changes
from restyle_cli.heatmap.measures import Measure
from restyle_cli.images import save_image
from restyle_cli.run.outputs import Inverted, Results, Writer
from restyle_cli.run.pipeline import Outcome, Task, invert_all
from restyle_cli.run.sources import Source
from restyle_cli.run.strip import shown_steps

SUFFIXES = {"heatmap": ".heatmap.png", "maps": ".heatmap.npz"}
AVERAGE = "average"
MOST = 10
"""Maximum number of steps on a sheet; of longer schedules a selection is shown."""
Normalise = Literal["photo", "folder", "none"]
"""Upper end of a sheet's scale: its own largest changes, the folder's, or a constant."""
_DRAWN = "restyle-heatmap"  # PNG text chunk with the settings of the drawing


@dataclass(frozen=True)
class Mapped(Inverted):
    """An inverted image with the changes of its steps."""

    changes: Changes | None = None


@dataclass(frozen=True, kw_only=True)
class HeatmapResults(Results):
    """Heatmap sheets and numbers. The numbers are written last and have the record; sheets can be redrawn."""

    measure: Measure
    normalise: Normalise = "photo"

    mark: ClassVar[str] = "maps"
    of_every_step: ClassVar[bool] = True

    @property
    def suffixes(self) -> Mapping[str, str]:
        """The suffixes of a heatmap's files."""
        return SUFFIXES

    @property
    def keeps_codes(self) -> bool:
        """True: the moves of the layers are computed from all latents."""
        return True

    def pictures(self, last: int) -> list[int]:
        """Which of the steps 0 … `last` are needed as images."""
        return shown_steps(last, MOST + 1)

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """Write the files of an image; returns their record."""
        changes = changes_of(inverted.photo.x, inverted.inversion, self.measure)
        return super().write(Mapped(inverted.photo, inverted.inversion, changes=changes))

    def draw(self, file: Path, changes: Changes, folder_top: float | None = None, force: bool = False) -> None:
        """Draw the sheet `file`. An existing sheet with the same settings is only redrawn with `force`."""
        tops = {"photo": changes.top, "folder": folder_top or changes.top, "none": self.measure.top}
        how = json.dumps({"top": tops[self.normalise], "count": changes.count, "measure": self.measure.name})
        if force or _drawn(file) != how:
            sheet = draw_changes(changes, self.measure, tops[self.normalise])
            save_image(sheet, file, {_DRAWN: how})

    def _writers(self) -> Mapping[str, Writer]:
        return {
            "heatmap": lambda file, inverted, record: self.draw(file, _changes(inverted), force=True),
            "maps": lambda file, inverted, record: write_changes(file, _changes(inverted), record),
        }

    def _describe(self, inverted: Inverted) -> dict[str, Any]:
        record = super()._describe(inverted)
        return record | {"steps": _with_changes(record["steps"], _changes(inverted))}

    def _earlier(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        """Empty if the numbers are damaged."""
        record = super()._earlier(files, sha256)
        if record:
            try:
                read_changes(files[self.mark])
            except RestyleError:
                return {}
        return record

    def _read_mark(self, mark: Path) -> Any:
        return read_record(mark)

    def _files(self, source: Source) -> dict[str, Path]:
        """An image called "average" gets other file names, which the average uses."""
        if str(source.relative).casefold() == AVERAGE:
            source = replace(source, relative=source.relative.with_name(f"{source.relative}.photo"))
        return super()._files(source)


@dataclass(frozen=True)
class Average:
    """The average over the images: its steps as in JSON, and its files by kind."""

    count: int
    steps: Sequence[dict[str, Any]]
    files: Mapping[str, Path]


def map_all(
    sources: Iterable[Source], task: Task, results: HeatmapResults, mean: Mean
) -> Generator[Outcome, None, None]:
    """`pipeline.invert_all` for a task with `results`; the changes of each image are added to `mean`.

    Sheets of earlier runs are redrawn if their settings differ; with the folder's scale all sheets are redrawn at the
    end. RestyleError if that fails. Memory holds the maps of one batch.
    """
    top = 0.0
    drawn: list[Mapping[str, Path]] = []
    with closing(invert_all(sources, task)) as outcomes:
        for outcome in outcomes:
            if outcome.status == "failed":
                yield outcome
                continue
            try:
                changes = read_changes(outcome.files["maps"])
                if results.normalise != "folder":
                    results.draw(outcome.files["heatmap"], changes)
            except RestyleError as error:
                yield Outcome(outcome.path, "failed", error=error)
                continue
            mean.add(changes)
            top = max(top, changes.top)
            if results.normalise == "folder":
                drawn.append(outcome.files)
            yield outcome
    for files in drawn:
        results.draw(files["heatmap"], read_changes(files["maps"]), top)


def write_average(
    mean: Mean, steps: Sequence[dict[str, Any]], sources: Iterable[Source], results: HeatmapResults
) -> Average:
    """Write the average over the finished images of `sources`; `steps` are their mean steps."""
    files = {kind: results.folder / f"{AVERAGE}{suffix}" for kind, suffix in SUFFIXES.items()}
    if any(source.path.resolve() == files["heatmap"].resolve() for source in sources):
        message = f"the average would be written to {str(files['heatmap'])!r}, which is an input"
        raise RestyleError(message, "choose another folder with --output")
    changes = mean.result()
    steps = _with_changes(steps, changes)
    write_changes(files["maps"], changes, {**results.settings, **results.notes, "steps": steps})
    results.draw(files["heatmap"], changes, force=True)
    return Average(changes.count, steps, files)


def _changes(inverted: Inverted) -> Changes:
    assert isinstance(inverted, Mapped) and inverted.changes is not None, "made by HeatmapResults.write"
    return inverted.changes


def _with_changes(steps: Sequence[dict[str, Any]], changes: Changes) -> list[dict[str, Any]]:
    """The steps; those that are shown have their changes added."""
    records = dict(changes.described())
    return [step | records.get(step["step"], {}) for step in steps]


def _drawn(sheet: Path) -> str | None:
    """The settings in an existing sheet; None if there is no sheet written by restyle."""
    try:
        with Image.open(sheet) as picture:
            return picture.info.get(_DRAWN)
    except OSError:
        return None
