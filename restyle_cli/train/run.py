"""From what a user names (a recipe, or a folder of images and a generator) to a training."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restyle_cli.data.source import Batches
from restyle_cli.devices import choose_device
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.registry import Registry
from restyle_cli.store.paths import check_writable
from restyle_cli.train.config import Recipe, make_recipe, read_table
from restyle_cli.train.loop import OnStep, Running, fit, make_accelerator
from restyle_cli.train.task import Task

TASKS: Registry[Any] = Registry(
    "kind of training",
    {
        "encoder": "restyle_cli.train.encoder:EncoderTask",
        "faces": "restyle_cli.train.generator:FaceGenerator",
    },
)
TIMED_STEPS = 2


@dataclass(frozen=True)
class Request:
    """What to train and how, as on the command line. `source`: a recipe's name or file, or a folder of images."""

    source: str
    output: Path
    generator: str | None = None
    method: str | None = None
    preset: str | None = None
    data: Path | None = None
    steps: int | None = None
    batch: int | None = None
    settings: Sequence[str] = ()
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    resume: bool = False
    force: bool = False


def recipe_of(request: Request) -> Recipe:
    """The recipe that is requested; RestyleError or UsageError names what is wrong with it."""
    source = Path(request.source)
    if source.suffix != ".toml" and source.exists():
        if request.generator is None:
            raise UsageError("a folder of images needs a generator to train for", "name one with --generator")
        table: dict[str, Any] = {"name": "encoder", "preset": request.preset or "small"}
        table |= {"method": request.method or "restyle-psp", "data": {"folder": request.source}}
    else:
        table = dict(read_table(request.source))
        changed = {"--method": request.method, "--preset": request.preset}
        if option := next((name for name, value in changed.items() if value is not None), None):
            raise UsageError(f"{option} is for folders of images: a recipe has its own", "use --set to change a recipe")
    settings = list(request.settings)
    if request.generator is not None:
        table["generator"] = request.generator
    if request.data is not None:
        table["data"] = table.get("data", {}) | {"folder": str(request.data)}
    if request.batch is not None:
        settings.append(f"training.batch={request.batch}")
    return make_recipe(table, request.source, settings)


def train(
    request: Request,
    *,
    note: Callable[[str], None] = lambda text: None,
    on_step: OnStep = lambda step, loss: None,
    recipe: Recipe | None = None,
) -> Path:
    """Train as requested and return the file of the best model. RestyleError for what cannot be trained."""
    recipe = recipe or recipe_of(request)
    checkpoint = request.output / "checkpoint.pt"
    if checkpoint.exists() and not request.resume:
        raise RestyleError(
            f"{str(request.output)!r} already holds a training",
            "continue it with --resume, or choose another folder with -o",
        )
    check_writable(request.output)
    if request.threads:
        torch.set_num_threads(request.threads)
    accelerator = make_accelerator(choose_device(request.device), request.precision)
    task = make_task(recipe, request.output, accelerator.device)
    if accelerator.is_main_process:
        for name, text in task.describe().items():
            note(f"{name}: {text}")
    return fit(
        recipe,
        task,
        request.output,
        accelerator,
        until=request.steps,
        resume=request.resume,
        force=request.force,
        note=note,
        on_step=on_step,
    )


def make_task(recipe: Recipe, output: Path, device: torch.device) -> Task:
    """The task of the recipe, its networks on `device`."""
    torch.manual_seed(recipe.seed)  # of the untrained weights
    return TASKS.load(recipe.task).of_recipe(recipe, output, device)


def dry_run(request: Request, note: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """What the training would need: networks and data, and the time and memory of two real steps."""
    recipe = recipe_of(request)
    check_writable(request.output)
    if request.threads:
        torch.set_num_threads(request.threads)
    accelerator = make_accelerator(choose_device(request.device), request.precision)
    device = accelerator.device
    task = make_task(recipe, request.output, device)
    task.prepare(note)
    stage = recipe.stages[0]
    task.begin(stage, None)
    running = Running(task.network.to(device), recipe, stage, accelerator)
    batches = Batches(task.source, stage.batch, recipe.seed)
    seconds = []
    for step in range(TIMED_STEPS):
        batch = batches.of_step(step).to(device)
        began = time.perf_counter()
        running.step(task, task.network, batch, stage, step, stage.lr)
        seconds.append(time.perf_counter() - began)
    images = task.source.length
    return {
        "recipe": recipe.name,
        **task.describe(),
        "images": "endless" if images is None else images,
        "steps": recipe.steps,
        "batch": stage.batch,
        "seconds_per_step": round(seconds[-1], 3),
        "hours": round(seconds[-1] * recipe.steps / 3600, 2),
        "peak_memory_gb": round(_peak_memory(device) / 1e9, 2),
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
