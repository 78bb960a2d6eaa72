"""The training loop: resuming, interruption, processes, memory, and what it writes."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from accelerate import Accelerator, debug_launcher
from torch import Tensor

from restyle_cli.data.generated import Generated
from restyle_cli.data.source import Batch
from restyle_cli.errors import Interrupted, RestyleError
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train.build import Parts
from restyle_cli.train.checkpoint import average, differences
from restyle_cli.train.config import Recipe, make_recipe
from restyle_cli.train.encoder import EncoderTask
from restyle_cli.train.loop import Running, fit, learning_rate, stage_of
from restyle_cli.train.task import Loss

SIZE = (32, 32)


def recipe(method: str = "restyle-psp", **table: Any) -> Recipe:
    training = {"steps": 6, "batch": 4, "iterations": 2, "warm_up": 0, "losses": {"l2": 1.0}} | table.pop(
        "training", {}
    )
    values = {"name": "mine", "method": method, "generator": "g", "validation": {"every": 2, "images": 3}, **table}
    return make_recipe(values | {"data": {"kind": "generated"}, "training": training}, "mine")


def task_of(wanted: Recipe, noise: bool = False) -> EncoderTask:
    torch.manual_seed(wanted.seed)
    generator = tiny.generator()
    channels = 6 if wanted.method.startswith("restyle") else 3
    network = tiny.encoder(channels=channels).train().requires_grad_(True)
    source = Generated(generator, SIZE, 1.0)
    return EncoderTask(wanted, Parts(generator, Path("g.safetensors"), network, source))


@pytest.fixture(autouse=True)
def _catalog_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny generator counts as one that the catalog knows, and metrics are those of images of 32 px."""
    monkeypatch.setattr("restyle_cli.train.encoder.generator_reference", lambda name, *_: name)
    monkeypatch.setattr("restyle_cli.train.encoder.IDENTITIES", ())


def run(wanted: Recipe, output: Path, **options: Any) -> dict[str, Tensor]:
    path = fit(wanted, task_of(wanted), output, Accelerator(cpu=True), **options)
    assert path == output / "mine.safetensors"
    return read_module(output / f"mine-step-{options.get('until') or wanted.steps:06}.safetensors").state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


E4E = {
    "discriminator": {"lr": 1e-3, "pool": 3, "r1_every": 2},
    "progressive": {"start": 1, "every": 1},
    "training": {"losses": {"l2": 1.0, "delta_norm": 0.1, "w_discriminator": 0.1, "latent": 0.1}, "ema": 0.9},
}


@pytest.mark.parametrize(
    ("method", "table"),
    [
        ("restyle-psp", {}),
        ("restyle-e4e", E4E),
        ("psp", {"optimizer": "ranger", "training": {"iterations": 1, "augment": 1.0}}),
        ("restyle-psp", {"accumulate": 2, "clip": 0.1, "stages": [{"steps": 4}, {"steps": 2, "lr": 1e-3}]}),
    ],
)
def test_resuming_equals_not_stopping(method: str, table: dict[str, Any], tmp_path: Path) -> None:
    wanted = recipe(method, **table)
    whole = run(wanted, tmp_path / "whole")
    for until in (3, 4, 5):
        run(wanted, tmp_path / "parts", until=until, resume=True)
    assert equal(whole, run(wanted, tmp_path / "parts", resume=True))
    rows = [list(csv.DictReader((tmp_path / part / "scores.csv").open())) for part in ("whole", "parts")]
    assert rows[0][-1] == rows[1][-1]


def test_training_lowers_the_error(tmp_path: Path) -> None:
    run(recipe(training={"steps": 60, "lr": 3e-3, "batch": 8}, validation={"every": 30}), tmp_path)
    first, last = csv.DictReader((tmp_path / "scores.csv").open())
    assert float(last["l2"]) < 0.8 * float(last["l2_0"])
    assert float(last["l2"]) <= float(first["l2"])
    header = read_header(tmp_path / "mine.safetensors")
    assert header["extra"]["method"] == "restyle-psp"
    assert header["extra"]["trained"]["steps"] == 60
    losses = list(csv.DictReader((tmp_path / "losses.csv").open()))
    assert [row["step"] for row in losses] == ["50"]
    assert {"loss", "l2", "lr", "seconds"} <= losses[0].keys()
    assert (tmp_path / "sheet.png").exists()


def test_last_models_are_kept_and_the_best_has_the_plain_name(tmp_path: Path) -> None:
    run(recipe(keep=2, validation={"every": 1}), tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["mine-step-000005.safetensors", "mine-step-000006.safetensors", "mine.safetensors"]
    scores = [float(row["l2"]) for row in csv.DictReader((tmp_path / "scores.csv").open())]
    assert read_header(tmp_path / "mine.safetensors")["extra"]["trained"]["steps"] == 1 + scores.index(min(scores))


def test_a_changed_recipe_is_shown_and_needs_force(tmp_path: Path) -> None:
    run(recipe(), tmp_path, until=2)
    changed = recipe(training={"lr": 5e-4})
    with pytest.raises(RestyleError, match=r"stages\.0\.lr 0\.0005 instead of 0\.0001"):
        run(changed, tmp_path, resume=True)
    notes: list[str] = []
    run(changed, tmp_path, resume=True, force=True, note=notes.append)
    assert "changed since the checkpoint: stages.0.lr 0.0005 instead of 0.0001" in notes
    assert differences({"a": (1, 2), "keep": 1}, {"a": [1, 2], "keep": 3}) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_damaged_checkpoint(content: bytes | None, tmp_path: Path) -> None:
    if content is None:
        torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    else:
        (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(RestyleError, match=r"checkpoint\.pt"):
        run(recipe(), tmp_path, resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_finishes_the_step_and_saves(number: signal.Signals, tmp_path: Path) -> None:
    wanted = recipe()

    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            signal.raise_signal(number)

    with pytest.raises(Interrupted, match="after step 3 of 6"):
        run(wanted, tmp_path / "parts", on_step=interrupt)
    assert equal(run(wanted, tmp_path / "whole"), run(wanted, tmp_path / "parts", resume=True))


class Diverging(EncoderTask):
    """Its loss becomes NaN at step 2."""

    def losses(self, network: Any, batch: Batch, stage: Any, step: int) -> Iterator[Loss]:
        for loss in super().losses(network, batch, stage, step):
            yield Loss(loss.backward, loss.value * (float("nan") if step == 1 else 1.0), loss.terms)


def test_a_loss_that_is_not_finite_names_the_images(tmp_path: Path) -> None:
    wanted = recipe()
    task = task_of(wanted)
    with pytest.raises(RestyleError, match="the loss is nan at step 2; images of this batch: sample 4, sample 5"):
        fit(wanted, Diverging(wanted, task.parts), tmp_path, Accelerator(cpu=True))


def _two_processes(folder: str) -> None:
    wanted = recipe()
    accelerator = Accelerator(cpu=True)
    task = task_of(wanted)
    running = Running(task.network, wanted, wanted.stages[0], accelerator)
    del running
    import restyle_cli.train.encoder as module

    module.generator_reference = lambda name, *_: name
    module.IDENTITIES = ()
    fit(wanted, task, Path(folder), accelerator)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    whole = run(recipe(), tmp_path / "one")
    debug_launcher(_two_processes, (str(tmp_path / "two"),), num_processes=2)
    two = read_module(tmp_path / "two" / "mine-step-000006.safetensors").state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=1e-4)


def test_parts_of_a_batch_give_its_gradient(tmp_path: Path) -> None:
    whole, parts = run(recipe(), tmp_path / "whole"), run(recipe(accumulate=4), tmp_path / "parts")
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["restyle-psp", "psp"])
def test_gradient_is_that_of_the_plain_form(method: str) -> None:
    """The gradient of the image first, and checkpoints at every resolution, change no gradient."""
    wanted = recipe(method, training={"iterations": 1, "losses": {"l2": 1.0, "w_norm": 0.01}})
    task = task_of(wanted)
    (stage,) = wanted.stages
    batch = task.source.batch([0, 1], [torch_rng(0), torch_rng(1)])
    task._method.start(batch.x)
    for loss in task.losses(task.network, batch, stage, 0):
        loss.backward.backward()
    ours = {
        name: parameter.grad.clone()
        for name, parameter in task.network.named_parameters()
        if parameter.grad is not None
    }
    task.network.zero_grad()
    method_ = task._using(task.network)
    state = method_.step(batch.x, method_.start(batch.x).detach())
    plain = (state.image - batch.y).square().mean()
    plain = plain + 0.01 * (state.w - task.generator.w_avg).flatten(1).norm(dim=1).mean()
    plain.backward()
    assert ours
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, task.network.get_parameter(name).grad)


def torch_rng(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed)


def test_noise_is_fresh_in_training_only() -> None:
    wanted = recipe()
    task = task_of(wanted)
    with task._training_generator():
        assert (task.generator.noise_mode, task.generator.gradient_checkpointing) == ("random", True)
    assert (task.generator.noise_mode, task.generator.gradient_checkpointing) == ("fixed", False)


def test_learning_rate_and_stages() -> None:
    wanted = recipe(stages=[{"steps": 10, "lr": 1.0, "warm_up": 4, "final_lr": 0.0}, {"steps": 5, "lr": 0.5}])
    first, second = wanted.stages
    assert [stage_of(wanted, step) for step in (0, 9, 10, 14, 15)] == [(0, 0), (0, 9), (1, 0), (1, 4), (1, 5)]
    assert learning_rate(first, 0) == pytest.approx(0.2)
    assert learning_rate(first, 5) == pytest.approx(0.5)
    assert learning_rate(first, 10) == pytest.approx(0.0)
    assert learning_rate(second, 3) == 0.5


def test_average_of_models(tmp_path: Path) -> None:
    run(recipe(keep=3), tmp_path)
    files = sorted(tmp_path.glob("mine-step-*.safetensors"))
    average(files, tmp_path / "mean.safetensors")
    states = [read_module(path).state_dict() for path in files]
    for name, value in read_module(tmp_path / "mean.safetensors").state_dict().items():
        torch.testing.assert_close(value, sum(state[name] for state in states) / 3)
    assert read_header(tmp_path / "mean.safetensors")["extra"]["average_of"] == [path.name for path in files]
    tiny.write_encoder(tmp_path / "other.safetensors", "psp")
    with pytest.raises(RestyleError, match="another shape"):
        average([files[0], tmp_path / "other.safetensors"], tmp_path / "mean.safetensors")
