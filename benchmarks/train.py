"""Training ReStyle-pSp at the original's size: steps per second and peak memory against the plain form.

    python benchmarks/train.py --resolution 1024

Plain has the papers' operators (`generator.py`) and their loop: the loss of each step goes backward through generator
and encoder as one graph. "loop" has that loop with our operators. Ours also computes the gradient of the image first
and recomputes the generator's layers on the way back (`EncoderTask`). All run five steps on a batch of one with the
same networks (IR-SE50, random weights; L2 and LPIPS, Ranger), in processes of their own. Two figures of memory: what
tensors occupied at most without the optimizer's state, by torch's profiler, and the peak of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path

import torch
from accelerate import Accelerator
from generator import plain_operators
from torch.profiler import ProfilerActivity, profile

from restyle_cli.data.generated import Generated
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.inversion import iterate
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_module
from restyle_cli.train.build import Parts
from restyle_cli.train.config import make_recipe
from restyle_cli.train.encoder import EncoderTask
from restyle_cli.train.loop import Running, make_optimizer

FORMS = ("plain", "loop", "ours")


def task_of(resolution: int, iterations: int) -> EncoderTask:
    torch.manual_seed(0)
    generator = StyleGAN2(StyleGAN2Config(resolution)).eval().requires_grad_(False)
    encoder = ReStyleEncoder(ReStyleEncoderConfig(styles=generator.layers)).train()
    training = {"batch": 1, "lr": 1e-4, "iterations": iterations, "losses": {"l2": 1.0, "lpips": 0.8}}
    table = {"name": "benchmark", "generator": "random", "optimizer": "ranger", "training": training}
    lpips = read_module(fetch.path_of(catalog.find("lpips-alex")), role="perceptual").requires_grad_(False)
    source = Generated(generator, (256, 256), 1.0)
    return EncoderTask(
        make_recipe(table, "benchmark"), Parts(generator, Path("random"), encoder, source, {"lpips": lpips})
    )


def plain_gradients(task: EncoderTask, x: torch.Tensor) -> None:
    """As the papers' code: forward, all losses, backward, at each step of the loop."""
    lpips = task.parts.loss_networks["lpips"]
    task.generator.noise_mode = "random"
    for k, state in enumerate(iterate(x, [task._method] * task.recipe.stages[0].iterations)):
        if k:
            image = torch.nn.functional.adaptive_avg_pool2d(state.image, 256)
            ((image - x).square().mean() + 0.8 * lpips(image, x).mean()).backward()
    task.generator.noise_mode = "fixed"


class Step:
    """A step of training in one of the FORMS."""

    def __init__(self, form: str, resolution: int, iterations: int) -> None:
        self.task = task_of(resolution, iterations)
        (self.stage,) = self.task.recipe.stages
        self.batch = self.task.source.validation(1)
        self.task._method.start(self.batch.x)
        self.operators = plain_operators if form == "plain" else nullcontext
        self.running: Running | None = None
        if form == "ours":
            self.running = Running(self.task.network, self.task.recipe, self.stage, Accelerator(cpu=True))

    def gradients(self) -> None:
        """Compute the gradients alone."""
        self.task.network.zero_grad(set_to_none=True)
        if self.running is None:
            with self.operators():
                plain_gradients(self.task, self.batch.x)
        else:
            self.running._backward(self.task, self.task.network, self.batch, self.stage, 0, True, 1)

    def whole(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients and update."""
        self.gradients()
        optimizer.step()


def live_gb(step: Step) -> float:
    """The most that parameters, gradients and activations occupied at once."""
    step.gradients()  # what is made once
    step.task.network.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step.gradients()
    events = [(e.start_ns(), e.nbytes()) for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    peak = max(accumulate(size for _, size in sorted(events)))
    networks = (step.task.network, step.task.generator, *step.task.parts.loss_networks.values())
    return (peak + sum(p.numel() * p.element_size() for network in networks for p in network.parameters())) / 1e9


def measure(form: str, resolution: int, iterations: int, steps: int) -> dict[str, float]:
    """Seconds a step and peak memory in GB; the first step is not timed."""
    step = Step(form, resolution, iterations)
    optimizer = make_optimizer(step.task.network, step.task.recipe, step.stage)
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step.whole(optimizer)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    del optimizer
    return {"seconds": sum(seconds[1:]) / steps, "live_gb": live_gb(step), "process_gb": peak / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--form", choices=FORMS)
    options = parser.parse_args()
    if options.form:
        print(json.dumps(measure(options.form, options.resolution, options.iterations, options.steps)))
        return
    found = {}
    for form in FORMS:
        command = [sys.executable, __file__, "--form", form]
        for name in ("resolution", "iterations", "steps"):
            command += [f"--{name}", str(getattr(options, name))]
        found[form] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds, live, process = (found[form][key] for key in ("seconds", "live_gb", "process_gb"))
        print(f"{form:6} {seconds:6.2f} s a step, {live:.2f} GB live, process {process:.2f} GB", flush=True)
    for form in FORMS[1:]:
        ratios = {key: found[form][key] / found["plain"][key] for key in found["plain"]}
        text = "time {seconds:.2f}, live memory {live_gb:.2f}, process {process_gb:.2f}".format(**ratios)
        print(f"{form} / plain: {text}")


if __name__ == "__main__":
    main()
