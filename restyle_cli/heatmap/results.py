"""A folder's heat maps: one sheet and one file of numbers for every picture, and for several their average."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.folder import Outcome, Task, invert_all
from restyle_cli.heatmap.changes import Changes, Mean, changes_of, read_changes, read_made, write_changes
from restyle_cli.heatmap.drawing import draw_changes
from restyle_cli.heatmap.measures import Measure
from restyle_cli.images import save_picture
from restyle_cli.results import Inverted, Results, Writer
from restyle_cli.sources import Source
from restyle_cli.strip import shown_steps

SUFFIXES = {"heatmap": ".heatmap.png", "maps": ".heatmap.npz"}
AVERAGE = "average"
MOST = 10
"""Steps that a sheet has room for; of longer schedules, the first ones and then ever fewer are shown."""
Normalise = Literal["photo", "folder", "none"]
"""Where the one scale of a sheet ends: at its own largest changes, at the folder's, or where those of all runs do."""
_DRAWN = "restyle-heatmap"  # the text chunk of a sheet that says how it was drawn


@dataclass(frozen=True)
class Mapped(Inverted):
    """A picture, what came of it, and what each step changed."""

    changes: Changes | None = None


@dataclass(frozen=True, kw_only=True)
class HeatmapResults(Results):
    """Sheets and numbers of heat maps. The numbers come last and say how they were made; sheets can be redrawn."""

    measure: Measure
    normalise: Normalise = "photo"

    suffixes: ClassVar[Mapping[str, str]] = SUFFIXES
    mark: ClassVar[str] = "maps"
    of_every_step: ClassVar[bool] = True

    @property
    def keeps_codes(self) -> bool:
        """Yes: they tell which layers were moved."""
        return True

    def pictures(self, last: int) -> list[int]:
        """Which of the steps 0 … `last` are needed as pictures."""
        return shown_steps(last, MOST + 1)

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """Write the files of a picture; returns the description that they carry."""
        changes = changes_of(inverted.photo.x, inverted.inversion, self.measure)
        return super().write(Mapped(inverted.photo, inverted.inversion, changes=changes))

    def draw(self, file: Path, changes: Changes, folder_top: float | None = None, anew: bool = False) -> None:
        """Draw the sheet `file`; if it is there and was drawn so already, only with `anew`."""
        tops = {"photo": changes.top, "folder": folder_top or changes.top, "none": self.measure.top}
        how = json.dumps({"top": tops[self.normalise], "count": changes.count, "measure": self.measure.name})
        if anew or _drawn(file) != how:
            sheet = draw_changes(changes, self.measure, tops[self.normalise])
            save_picture(sheet, file, {_DRAWN: how})

    def _writers(self) -> Mapping[str, Writer]:
        return {
            "heatmap": lambda file, mapped, made: self.draw(file, mapped.changes, anew=True),
            "maps": lambda file, mapped, made: write_changes(file, mapped.changes, made),
        }

    def _describe(self, inverted: Inverted) -> dict[str, Any]:
        made = super()._describe(inverted)
        steps = _with_changes(made["steps"], inverted.changes) if isinstance(inverted, Mapped) else made["steps"]
        return made | {"steps": steps}

    def _earlier(self, files: Mapping[str, Path], sha256: str) -> dict[str, Any]:
        """Nothing where the numbers are damaged."""
        made = super()._earlier(files, sha256)
        try:
            return made and read_changes(files[self.mark]) and made
        except RestyleError:
            return {}

    def _read_mark(self, mark: Path) -> Any:
        return read_made(mark)

    def _files(self, source: Source) -> dict[str, Path]:
        """Those of a picture called "average" have another name: the average's are called so."""
        if str(source.relative).casefold() == AVERAGE:
            source = replace(source, relative=source.relative.with_name(f"{source.relative}.photo"))
        return super()._files(source)


@dataclass(frozen=True)
class Average:
    """The average over a folder: its numbers as JSON has them, and its files by kind."""

    count: int
    steps: Sequence[dict[str, Any]]
    files: Mapping[str, Path]


def map_all(sources: Iterable[Source], task: Task, mean: Mean) -> Iterator[Outcome]:
    """`folder.invert_all` for a task with HeatmapResults; what each picture changed is added to `mean`.

    Sheets of pictures done earlier are redrawn where they are not as wished; all are, when the folder's scale is
    known. RestyleError where that cannot be written any more. Memory holds the maps of one batch.
    """
    results, top, drawn = task.results, 0.0, []
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
    """Write the average of what was finished of the pictures `sources`; `steps`: theirs, on average."""
    files = {kind: results.folder / f"{AVERAGE}{suffix}" for kind, suffix in SUFFIXES.items()}
    if any(source.path.resolve() == files["heatmap"].resolve() for source in sources):
        message = f"the average would be written to {str(files['heatmap'])!r}, which is a picture that was read"
        raise RestyleError(message, "choose another folder with --output")
    changes = mean.result()
    steps = _with_changes(steps, changes)
    write_changes(files["maps"], changes, {**results.settings, **results.notes, "steps": steps})
    results.draw(files["heatmap"], changes, anew=True)
    return Average(changes.count, steps, files)


def _with_changes(steps: Sequence[dict[str, Any]], changes: Changes | None) -> list[dict[str, Any]]:
    """The steps, those that are shown with what they changed."""
    said = dict(changes.described()) if changes else {}
    return [step | said.get(step["step"], {}) for step in steps]


def _drawn(sheet: Path) -> str | None:
    """How a sheet says that it was drawn; None where there is none, or not one of ours."""
    try:
        with Image.open(sheet) as picture:
            return picture.info.get(_DRAWN)
    except OSError:
        return None
