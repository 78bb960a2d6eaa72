"""What a training writes: one checkpoint to resume from, and models that the commands take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from restyle_cli.errors import RestyleError
from restyle_cli.records import RecordError, conform
from restyle_cli.store.files import read_header, read_module, write_module, write_torch
from restyle_cli.store.legacy.safe import read_checkpoint
from restyle_cli.train.config import Recipe
from restyle_cli.train.task import Task

_OTHER = "train into another folder with -o, or give --force to continue with the changed recipe"


class _Checkpoint(TypedDict):
    step: int
    recipe: dict
    best: float
    run: dict
    task: dict


class Checkpoints:
    """The files in a training's folder:

    - `checkpoint.pt`: everything needed to continue: weights, averaged weights, optimizer, step, recipe
    - `NAME.safetensors`: the model with the best score so far, NAME being the recipe's
    - `NAME-step-001000.safetensors`: the models of the last `recipe.keep` checkpoints
    """

    def __init__(self, output: Path, recipe: Recipe) -> None:
        self.output, self.recipe = output, recipe
        self.file = output / "checkpoint.pt"
        self.result = output / f"{recipe.name}.safetensors"
        self.best = float("inf")

    def read(self, force: bool, note: Callable[[str], None]) -> dict[str, Any] | None:
        """The checkpoint, if there is one. RestyleError if it is damaged, or of another recipe (unless `force`)."""
        if not self.file.exists():
            return None
        try:
            saved = conform(read_checkpoint(self.file), _Checkpoint)
        except RecordError as error:
            raise RestyleError(f"'{self.file}' is no checkpoint of a training: {error}", _OTHER) from error
        changes = differences(saved["recipe"], dataclasses.asdict(self.recipe))
        if changes and not force:
            raise RestyleError(f"'{self.file}' is of another recipe: {'; '.join(changes)}", _OTHER)
        for change in changes:
            note(f"changed since the checkpoint: {change}")
        return saved

    def restore(self, saved: dict[str, Any], run: Any, task: Task) -> None:
        """Continue from what `read` returned."""
        try:
            run.load_state_dict(saved["run"])
            task.load_state_dict(saved["task"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise RestyleError(f"'{self.file}' does not fit this recipe: {error}", _OTHER) from error
        self.best = saved["best"]

    def write(self, step: int, run: Any, task: Task, scores: dict[str, float]) -> None:
        """Write the models, then the checkpoint: what it says has been done is there."""
        trained = {"recipe": self.recipe.name, "steps": step, "scores": scores}
        task.save(run.averaged, self.output / f"{self.recipe.name}-step-{step:06}.safetensors", trained)
        score = scores.get(self.recipe.validation.best, scores.get("l2", float("inf")))
        if score < self.best or not self.result.exists():
            self.best = min(self.best, score)
            task.save(run.averaged, self.result, trained)
        state = {"step": step, "recipe": dataclasses.asdict(self.recipe), "best": self.best, "run": run.state_dict()}
        write_torch(self.file, state | {"task": task.state_dict()})
        for old in sorted(self.output.glob(f"{self.recipe.name}-step-*.safetensors"))[: -self.recipe.keep]:
            old.unlink(missing_ok=True)


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Each setting that differs, as "data.resolution 128 instead of 256"; how long to train may differ."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, list | tuple) and isinstance(new, list | tuple):
            old, new = dict(enumerate(old)), dict(enumerate(new))
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(
                {str(k): v for k, v in old.items()}, {str(k): v for k, v in new.items()}, f"{prefix}{key}."
            )
        elif old != new and key != "keep":
            found.append(f"{prefix}{key} {new} instead of {old}")
    return found


@torch.no_grad()
def average(files: Sequence[Path], output: Path) -> None:
    """Write a model whose weights are the mean of those in `files`; RestyleError unless all are of one shape."""
    headers = [read_header(path) for path in files]
    for path, header in zip(files, headers, strict=True):
        if (header["family"], header["config"]) != (headers[0]["family"], headers[0]["config"]):
            raise RestyleError(f"'{path}' has another shape than '{files[0]}'", "average checkpoints of one training")
    mean = read_module(files[0])
    others = [read_module(path).state_dict() for path in files[1:]]
    state = mean.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            total = value.double()
            for other in others:
                total += other[name].double()
            value.copy_(total / len(files))
    extra = headers[0]["extra"] | {"average_of": [path.name for path in files]}
    write_module(output, mean, headers[0]["family"], extra)
