"""Heatmap files: a sheet and an .npz for each image, and for several images their average."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.heatmap.changes import Changes, Mean, changes_of, read_changes, write_changes
from restyle_cli.heatmap.drawing import draw_changes
from restyle_cli.heatmap.measures import NAME, TOP
from restyle_cli.images import save_image
from restyle_cli.perceptual.lpips import LPIPS
from restyle_cli.run.folder import Mark, Output
from restyle_cli.run.outputs import Inverted, Results
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
class Sheets:
    """Draws heatmap sheets, with the scale `normalise`."""

    lpips: LPIPS
    normalise: Normalise = "photo"

    def results(
        self, folder: Path, settings: Mapping[str, Any], notes: Mapping[str, Any], numbered: bool = False
    ) -> Results:
        """The files of each image. The numbers are written last and have the record; sheets can be redrawn.

        An image called "average" gets other names: the average uses that.
        """
        sheet = Output("heatmap", SUFFIXES["heatmap"], self._write_sheet, image_steps=_shown_steps, every_w=True)
        maps = Mark("maps", SUFFIXES["maps"], _write_maps, read=lambda file: read_changes(file)[1])
        return Results(
            folder,
            frozenset(SUFFIXES),
            settings,
            notes,
            numbered,
            outputs=[sheet],
            mark=maps,
            reserved=AVERAGE,
            extra=lambda x, inversion, generator, dtype: changes_of(x, inversion, self.lpips),
            all_finite=True,
        )

    def draw(self, file: Path, changes: Changes, folder_top: float | None = None, force: bool = False) -> None:
        """Draw the sheet `file`. An existing sheet with the same settings is only redrawn with `force`."""
        tops = {"photo": changes.top, "folder": folder_top or changes.top, "none": TOP}
        how = json.dumps({"top": tops[self.normalise], "count": changes.count, "measure": NAME})
        if force or _drawn(file) != how:
            sheet = draw_changes(changes, tops[self.normalise])
            save_image(sheet, file, {_DRAWN: how})

    def _write_sheet(self, file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
        self.draw(file, _changes(inverted), force=True)


def _shown_steps(last: int) -> list[int]:
    return shown_steps(last, MOST + 1)


def _write_maps(file: Path, inverted: Inverted, record: dict[str, Any]) -> None:
    write_changes(file, _changes(inverted), record)


def map_all(sources: Iterable[Source], task: Task, sheets: Sheets, mean: Mean) -> Generator[Outcome, None, None]:
    """`pipeline.invert_all` for a task with the results of `sheets`; adds the changes of each image to `mean`.

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
                changes, _ = read_changes(outcome.files["maps"])
                if sheets.normalise != "folder":
                    sheets.draw(outcome.files["heatmap"], changes)
            except RestyleError as error:
                yield Outcome(outcome.path, "failed", error=error)
                continue
            mean.add(changes)
            top = max(top, changes.top)
            if sheets.normalise == "folder":
                drawn.append(outcome.files)
            yield outcome
    for files in drawn:
        sheets.draw(files["heatmap"], read_changes(files["maps"])[0], top)


def write_average(
    mean: Mean, steps: Sequence[dict[str, Any]], sources: Iterable[Source], results: Results, sheets: Sheets
) -> dict[str, Any]:
    """Write the average over the finished images of `sources`, whose mean steps are `steps`; returns it as JSON."""
    files = {kind: results.folder / f"{AVERAGE}{suffix}" for kind, suffix in SUFFIXES.items()}
    if any(source.path.resolve() == files["heatmap"].resolve() for source in sources):
        message = f"the average would be written to {str(files['heatmap'])!r}, which is an input"
        raise RestyleError(message, "choose another folder with --output")
    changes = mean.result()
    record: dict[str, Any] = {**results.settings, **results.notes, "steps": list(steps)}
    changes.add_to(record)
    write_changes(files["maps"], changes, record)
    sheets.draw(files["heatmap"], changes, force=True)
    outputs = {kind: str(file) for kind, file in files.items()}
    return {"count": changes.count, "outputs": outputs, "steps": record["steps"]}


def _changes(inverted: Inverted) -> Changes:
    assert isinstance(inverted.extra, Changes), "see Sheets.results"
    return inverted.extra


def _drawn(sheet: Path) -> str | None:
    """The settings in an existing sheet; None if there is no sheet written by restyle."""
    try:
        with Image.open(sheet) as image:
            return image.info.get(_DRAWN)
    except OSError:
        return None
