"""The records of a training: losses and scores as CSV files and for TensorBoard, and a sheet of sample images."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restyle_cli.images import save_image, to_image
from restyle_cli.io import write_atomic
from restyle_cli.run.strip import Cell, draw_strip, stack
from restyle_cli.train.task import Sheet

EVERY = 50
"""Steps between two rows of losses, which are means over these steps."""


class Log:
    """Writes `losses.csv`, `scores.csv`, `sheet.png` and, if TensorBoard is installed, `tensorboard/` in a folder.

    `step`: where the training continues; later rows, of a run that was killed, are removed.
    """

    def __init__(self, output: Path, step: int) -> None:
        self.output = output
        self.rows: list[dict[str, float]] = []
        self.tables = {name: _read_rows(output / name, step) for name in ("losses.csv", "scores.csv")}
        self.writer = _tensorboard(output / "tensorboard", step)

    def step(self, step: int, lr: float, terms: dict[str, float], seconds: float) -> None:
        """Record a step."""
        self.rows.append({"step": step, "lr": lr, **terms, "seconds": seconds})
        if step % EVERY:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        values = {name: [row[name] for row in self.rows if name in row] for name in names}
        mean = {name: round(sum(found) / len(found), 7) for name, found in values.items()}
        self.rows.clear()
        self._add("losses.csv", mean | {"step": step})

    def scores(self, step: int, scores: dict[str, float], sheet: Sheet, note: Callable[[str], None]) -> None:
        """Record the scores of a validation, and its images."""
        self._add("scores.csv", {"step": step} | {name: round(value, 6) for name, value in scores.items()})
        note(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        strips = [
            draw_strip([Cell(to_image(image), caption) for image, caption in zip(row, sheet.captions, strict=True)])
            for row in sheet.rows
        ]
        picture = stack(strips)
        save_image(picture, self.output / "sheet.png")

    def _add(self, name: str, row: dict[str, Any]) -> None:
        rows = self.tables[name]
        rows.append(row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(key for one in rows for key in one)))
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.output / name, lambda aside: aside.write_text(text.getvalue(), encoding="utf-8", newline=""))
        if self.writer is not None:
            for key, value in row.items():
                if key != "step":
                    self.writer.add_scalar(f"{name.removesuffix('.csv')}/{key}", value, row["step"])
            self.writer.flush()


def _read_rows(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of a table up to `step`."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if str(row.get("step", "")).isdecimal()]
    return [row for row in rows if int(row["step"]) <= step]


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
