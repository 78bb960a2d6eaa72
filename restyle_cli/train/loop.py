"""The training loop: steps, one checkpoint to go on from, an averaged copy, losses and sample sheets on the way."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from restyle_cli.errors import Interrupted, RestyleError
from restyle_cli.images import save_image, to_image
from restyle_cli.interrupts import DelayedInterrupt
from restyle_cli.io import write_atomic
from restyle_cli.memory import is_out_of_memory
from restyle_cli.records import RecordError, conform
from restyle_cli.registry import Registry
from restyle_cli.store.files import write_module, write_torch
from restyle_cli.store.legacy.safe import read_checkpoint
from restyle_cli.store.paths import check_writable
from restyle_cli.train.config import Recipe, Stage, read_recipe
from restyle_cli.train.networks import Ensemble

TASKS: Registry[Callable[[Recipe, Path], Task]] = Registry(
    "kind of training",
    {
        "stylegan2": "restyle_cli.train.distil:Distil",
        "small": "restyle_cli.train.encode:Encode",
        "small-hyper": "restyle_cli.train.hyper:Hyper",
        "drawn-identity": "restyle_cli.train.identify:Identify",
        "faces": "restyle_cli.train.generator:FaceGenerator",
    },
)
_AFRESH = "train into another folder with -o, or delete the checkpoint to begin again"
Tensors = tuple[Tensor, ...] | list[Tensor]
WARM_UP = 50  # steps over which a stage's learning rate rises


class _Step(TypedDict):
    step: int


class _Checkpoint(TypedDict):
    """What `_save_checkpoint` writes; what is inside the tables, the networks check."""

    network: dict
    task: dict
    averaged: dict
    optimiser: dict
    progress: _Step


class Task(Protocol):
    """What differs between trainings."""

    network: nn.Module
    family: str

    def prepare(self, note: Callable[[str], None]) -> None:
        """Make or open the data."""

    def state(self) -> dict:
        """What the checkpoint keeps beside the network."""

    def load(self, state: dict) -> None:
        """Take that back."""

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Called when a stage starts (not when it is resumed), with the one before it."""

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """Add one batch's gradients; the loss."""

    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """Numbers on held-out pictures."""

    def sheet(self, network: nn.Module, stage: Stage) -> Tensor:
        """Pictures to look at, [N, 3, H, W], rows of eight."""

    def finish(self, network: nn.Module) -> dict[str, Any]:
        """Last touches before the network is written; what its header says of it."""


def run(
    recipe: str | Path,
    output: Path,
    *,
    data: Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    threads: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Train what the recipe (a name or a TOML file) says, in the folder `output`; the file of the network.

    `data` is the folder of photographs, for recipes that blend them. `steps` ends early. With `resume` it goes on from
    `checkpoint.pt` there; without, a folder that has one is refused.
    """
    wanted = read_recipe(recipe)
    if data is not None:
        wanted = replace(wanted, data=replace(wanted.data, folder=str(data)))
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists() and not resume:
        raise RestyleError(
            f"'{output}' holds a training already", "go on with --resume, or name another folder with -o"
        )
    if threads:
        torch.set_num_threads(threads)
    check_writable(output)
    torch.manual_seed(0)
    return fit(wanted, _task(wanted, output), output, steps or wanted.steps, note)


def _task(recipe: Recipe, output: Path) -> Task:
    kind = TASKS.load(recipe.family)
    try:
        return kind(recipe, output)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        # Which settings of a family's network fit together only its layers know, each with errors of its own.
        reason = str(error) or type(error).__name__
        raise RestyleError(f"the recipe '{recipe.name}' is wrong at 'network': {reason}") from error


def fit(recipe: Recipe, task: Task, output: Path, until: int, note: Callable[[str], None]) -> Path:
    """The loop itself, from the checkpoint in `output` if there is one, to step `until` of all stages together."""
    task.prepare(note)
    network = task.network
    done = Progress(recipe)
    averaged, optimiser = _fresh(network, recipe, done.stage)
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists():
        saved = _read_checkpoint(checkpoint)
        try:
            done.load(saved["progress"])
            averaged, optimiser = _fresh(network, recipe, done.stage)
            network.load_state_dict(saved["network"])
            averaged.load_state_dict(saved["averaged"])
            optimiser.load_state_dict(saved["optimiser"])
            task.load(saved["task"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise RestyleError(f"'{checkpoint}' is of another recipe, or damaged", _AFRESH) from error
        note(f"going on at step {done.step} of {recipe.steps}")
    started, losses = time.perf_counter(), []
    with DelayedInterrupt() as interruption:
        while done.step < until:
            if done.step_in_stage == 0 and done.step > 0:
                network.load_state_dict(averaged.module.state_dict())
                task.begin(done.stage, done.stage_before)
                averaged, optimiser = _fresh(network, recipe, done.stage)
            elif done.step == 0:
                task.begin(done.stage, None)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(done.stage, done.step_in_stage) * group.get("rate", 1.0)
            optimiser.zero_grad(set_to_none=True)
            # Numbered by step: resuming draws the same batches as not stopping would have.
            losses.append(task.backward(done.stage, np.random.default_rng([recipe.steps, done.step])))
            if not math.isfinite(losses[-1]):
                raise RestyleError(f"the loss is no longer a number at step {done.step}", "lower the stage's lr")
            if recipe.clip:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            averaged.update_parameters(network)
            stage = done.stage
            done.advance()
            if interruption.requested and done.step < until:
                _save_checkpoint(checkpoint, task, averaged, optimiser, done)
                message = f"interrupted after step {done.step} of {recipe.steps}; the checkpoint is saved"
                raise Interrupted(message, "the same command with --resume continues from there")
            if done.step % recipe.check_every == 0 or done.step == until or done.step_in_stage == 0:
                scores = task.scores(averaged.module, stage)
                row = {
                    "step": done.step,
                    "seconds": round(time.perf_counter() - started, 1),
                    "loss": round(sum(losses) / len(losses), 6),
                } | {name: round(value, 5) for name, value in scores.items()}
                losses.clear()
                _append(output / "scores.csv", row)
                note("  ".join(f"{name} {value}" for name, value in list(row.items())[:9]))
                _save_sheet(task.sheet(averaged.module, stage), output / "sheet.png")
                _write(task, averaged.module, recipe, done.step, scores, output)
                _save_checkpoint(checkpoint, task, averaged, optimiser, done)  # last: it says that all of this is done
    return output / f"{recipe.name}.safetensors"


class Progress:
    """Where in the recipe's stages a training is."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.step = 0

    @property
    def _position(self) -> tuple[int, int]:
        left = self.step
        for index, stage in enumerate(self.recipe.stages):
            if left < stage.steps:
                return index, left
            left -= stage.steps
        return len(self.recipe.stages) - 1, self.recipe.stages[-1].steps

    @property
    def stage(self) -> Stage:
        """The stage of the next step (the last one at the end)."""
        return self.recipe.stages[self._position[0]]

    @property
    def stage_before(self) -> Stage:
        """The one before it."""
        return self.recipe.stages[self._position[0] - 1]

    @property
    def step_in_stage(self) -> int:
        """Steps done in that stage."""
        return self._position[1]

    def advance(self) -> None:
        """One step more."""
        self.step += 1

    def state(self) -> dict[str, int]:
        """For the checkpoint."""
        return {"step": self.step}

    def load(self, state: dict[str, int]) -> None:
        """The inverse of `state`; ValueError where the recipe has no such step."""
        if not 0 <= state["step"] <= self.recipe.steps:
            raise ValueError(f"the recipe has no step {state['step']}")
        self.step = state["step"]


def learning_rate(stage: Stage, step: int) -> float:
    """A short rise, then a cosine down to `final_lr` of the stage's rate."""
    rise = min(1.0, (step + 1) / WARM_UP)
    fall = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    return stage.lr * rise * (stage.final_lr + (1 - stage.final_lr) * fall)


def _fresh(network: nn.Module, recipe: Recipe, stage: Stage) -> tuple[AveragedModel, torch.optim.Adam]:
    averaged = AveragedModel(network, multi_avg_fn=_running_average(stage.ema), use_buffers=False)
    parameters = network.groups() if isinstance(network, Ensemble) else network.parameters()
    return averaged, torch.optim.Adam(parameters, lr=stage.lr, betas=recipe.betas, fused=True)


def _running_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An exponential average whose window is short at first, so that where it began is soon forgotten."""

    def update(averages: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = float(count)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _append(path: Path, row: dict[str, float]) -> None:
    """Add a row to the table at `path`; rows of this step or later, of a run that was killed, go."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            steps = ((old, str(old.get("step"))) for old in csv.DictReader(file))
            rows = [old for old, step in steps if step.isdecimal() and int(step) < row["step"]]

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for one in [*rows, row] for name in one)))
            writer.writeheader()
            writer.writerows([*rows, row])

    write_atomic(path, write)


def _save_sheet(images: Tensor, path: Path) -> None:
    """Pictures [N, 3, H, W], N a multiple of eight, in rows of eight."""
    n, c, h, w = images.shape
    sheet = images.reshape(n // 8, 8, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, n // 8 * h, 8 * w)
    save_image(to_image(sheet), path)


def _save_checkpoint(
    path: Path, task: Task, averaged: AveragedModel, optimiser: torch.optim.Optimizer, done: Progress
) -> None:
    state = {
        "network": task.network.state_dict(),
        "task": task.state(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": done.state(),
    }
    write_torch(path, state)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """RestyleError when the file is none that `_save_checkpoint` wrote."""
    try:
        return conform(read_checkpoint(path), _Checkpoint)
    except RestyleError as error:
        raise RestyleError(error.message, _AFRESH) from error
    except RecordError as error:
        raise RestyleError(f"'{path}' is no checkpoint of a training: {error}", _AFRESH) from error


def _write(task: Task, network: nn.Module, recipe: Recipe, step: int, scores: dict[str, float], output: Path) -> None:
    told = {name: round(value, 5) for name, value in scores.items() if not name.startswith("share_")}
    network = copy.deepcopy(network)  # training continues on the original
    extra = task.finish(network) | {"trained": {"recipe": recipe.name, "steps": step, "scores": told}}
    main = network.main if isinstance(network, Ensemble) else network
    write_module(output / f"{recipe.name}.safetensors", main, task.family, extra, half=True)
