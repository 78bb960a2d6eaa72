"""The training loop. It owns device, precision, processes, optimizer, averaging, checkpoints and logs.

Every random number follows from the recipe's seed and the number of the step, so a training that was stopped and
resumed gives the same weights, bit for bit, as one that was not (on one process and the same machine).
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from restyle_cli.data.source import Batch, Batches
from restyle_cli.errors import Interrupted, RestyleError
from restyle_cli.interrupts import DelayedInterrupt
from restyle_cli.train.checkpoint import Checkpoints
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.log import Log
from restyle_cli.train.ranger import ranger
from restyle_cli.train.task import Loss, Task

OnStep = Callable[[int, float], None]
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Accelerate on `device`; started by torchrun, each process has its own."""
    if device.type == "cuda" and device.index is not None:
        os.environ.setdefault("ACCELERATE_TORCH_DEVICE", str(device))
    return Accelerator(cpu=device.type == "cpu", mixed_precision=MIXED[precision])


def fit(
    recipe: Recipe,
    task: Task,
    output: Path,
    accelerator: Accelerator,
    *,
    until: int | None = None,
    resume: bool = False,
    force: bool = False,
    note: Callable[[str], None] = lambda text: None,
    on_step: OnStep = lambda step, loss: None,
) -> Path:
    """Train to step `until` (default: the end) and return the file of the best model; continues if `resume`.

    RestyleError if the loss is not finite, or if the checkpoint is of another recipe (unless `force`).
    """
    main, device = accelerator.is_main_process, accelerator.device
    note = note if main else (lambda text: None)
    until = min(until or recipe.steps, recipe.steps)
    checkpoints = Checkpoints(output, recipe)
    saved = checkpoints.read(force, note) if resume else None
    torch.manual_seed(recipe.seed)
    task.prepare(note)
    network = task.network.to(device)
    step = saved["step"] if saved else 0
    run = Running(network, recipe, recipe.stages[stage_of(recipe, step)[0]], accelerator)
    if saved:
        checkpoints.restore(saved, run, task)
        note(f"continuing at step {step} of {recipe.steps}")
    wrapped = DistributedDataParallel(network) if accelerator.num_processes > 1 else network
    wrapped.config = network.config  # methods read it
    log = Log(output, step) if main else None
    batches: Iterator[Batch] | None = None
    with DelayedInterrupt() as interruption:
        while step < until:
            index, step_in_stage = stage_of(recipe, step)
            stage = recipe.stages[index]
            if step_in_stage == 0:
                if index:
                    network.load_state_dict(run.averaged.state_dict())
                task.begin(stage, recipe.stages[index - 1] if index else None)
                run = Running(network, recipe, stage, accelerator)
            if step_in_stage == 0 or batches is None:
                sized = Batches(
                    task.source, stage.batch, recipe.seed, accelerator.process_index, accelerator.num_processes
                )
                batches = sized.starting_at(step)
            began = time.perf_counter()
            # Also the noise of the generator follows from the step.
            torch.manual_seed((recipe.seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index)
            batch = next(batches).to(device)
            lr = learning_rate(stage, step_in_stage)
            terms = run.step(task, wrapped, batch, stage, step, lr)
            step += 1
            if log:
                log.step(step, lr, terms, time.perf_counter() - began)
            on_step(step, terms["loss"])
            interrupted = step < until and _on_any_process(interruption.requested, accelerator)
            if interrupted or step == until or step % recipe.validation.every == 0 or stage_of(recipe, step)[1] == 0:
                if log:
                    scores = {} if interrupted else task.scores(run.averaged.eval(), stage)
                    if scores:
                        log.scores(step, scores, task.sheet(run.averaged, stage), note)
                    checkpoints.write(step, run, task, scores)
                accelerator.wait_for_everyone()
            if interrupted:
                raise Interrupted(
                    f"interrupted after step {step} of {recipe.steps}; the checkpoint is written",
                    "the same command with --resume continues from there",
                )
    return checkpoints.result


class Running:
    """A network in training: its optimizer, and `averaged`, a copy with averaged weights where a stage has `ema`."""

    def __init__(self, network: nn.Module, recipe: Recipe, stage: Stage, accelerator: Accelerator) -> None:
        self.network, self.recipe, self.accelerator = network, recipe, accelerator
        self.decay, self.updates = stage.ema, 0
        self.averaged = copy.deepcopy(network).requires_grad_(False) if stage.ema else network
        self.optimizer = accelerator.prepare_optimizer(make_optimizer(network, recipe, stage))

    def step(
        self, task: Task, wrapped: nn.Module, batch: Batch, stage: Stage, step: int, lr: float
    ) -> dict[str, float]:
        """One update of the weights; the last loss and its terms. RestyleError if a loss is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = batch.split(self.recipe.accumulate)
        for number, part in enumerate(parts, start=1):
            terms = self._backward(task, wrapped, part, stage, step, number == len(parts), len(parts))
        if self.recipe.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        if self.averaged is not self.network:
            self._average()
        return terms

    def _backward(
        self, task: Task, wrapped: nn.Module, batch: Batch, stage: Stage, step: int, last: bool, parts: int
    ) -> dict[str, float]:
        terms: dict[str, float] = {}
        losses = task.losses(wrapped, batch, stage, step)
        loss: Loss | None = None
        for number in count(1):
            del loss  # and with it the graph of the step before
            final = last and number == stage.iterations  # processes exchange their gradients once a step
            with nullcontext() if final else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    loss = next(losses, None)
                if loss is None:
                    return terms
                value = float(loss.value)
                if not math.isfinite(value):
                    raise RestyleError(
                        f"the loss is {value} at step {step + 1}; images of this batch: {', '.join(batch.names)}",
                        "lower training.lr, or look at these images; --resume continues from the last checkpoint",
                    )
                self.accelerator.backward(loss.backward / parts)
            terms = {"loss": value} | {
                name: float(term) for name, term in (terms | dict(loss.terms)).items() if name != "loss"
            }
        return terms

    @torch.no_grad()
    def _average(self) -> None:
        """An exponential average whose window is short at first, so that where it began is soon forgotten."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), 1 - decay)
        for own, current in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            own.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "averaged": None if self.averaged is self.network else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        if self.averaged is not self.network:
            self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]


def make_optimizer(network: nn.Module, recipe: Recipe, stage: Stage) -> torch.optim.Optimizer:
    """The recipe's optimizer for all weights that are trained."""
    if recipe.optimizer == "ranger":
        return ranger(network, stage.lr)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(parameters, lr=stage.lr, betas=recipe.betas, fused=True)


def stage_of(recipe: Recipe, step: int) -> tuple[int, int]:
    """The number of the stage that trains after `step` steps, and how many steps of it are done."""
    for index, stage in enumerate(recipe.stages):
        if step < stage.steps:
            return index, step
        step -= stage.steps
    return len(recipe.stages) - 1, recipe.stages[-1].steps


def learning_rate(stage: Stage, step: int) -> float:
    """A linear rise over `warm_up` steps, and a cosine from `lr` to `final_lr` * `lr` over the stage."""
    rise = min(1.0, (step + 1) / (stage.warm_up + 1))
    fall = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    return stage.lr * rise * (stage.final_lr + (1 - stage.final_lr) * fall)


def _on_any_process(requested: bool, accelerator: Accelerator) -> bool:
    """Whether Ctrl-C reached any of the processes: all stop after the same step."""
    if accelerator.num_processes == 1:
        return requested
    return bool(accelerator.reduce(torch.tensor(int(requested), device=accelerator.device)) > 0)
