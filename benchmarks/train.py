"""Training ReStyle-pSp at the original's size: steps per second and peak memory against the plain form.

    python benchmarks/train.py --resolution 1024

Plain is the papers' loop written down: the loss of each step goes backward through the generator as one graph. Ours
computes the gradient of the image first and sends it through the generator by resolution (`EncoderTask`). Both run five
steps on a batch of one with the same networks (IR-SE50, random weights; L2 and LPIPS), in processes of their own, for
peak memory is that of a process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator

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

FORMS = ("plain", "ours")


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


def plain_step(task: EncoderTask, x: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """As the papers' code: forward, all losses, backward, at each step of the loop."""
    lpips = task.parts.loss_networks["lpips"]
    task.generator.noise_mode = "random"
    optimizer.zero_grad(set_to_none=True)
    for k, state in enumerate(iterate(x, [task._method] * task.recipe.stages[0].iterations)):
        if k:
            image = torch.nn.functional.adaptive_avg_pool2d(state.image, 256)
            ((image - x).square().mean() + 0.8 * lpips(image, x).mean()).backward()
    optimizer.step()
    task.generator.noise_mode = "fixed"


def measure(form: str, resolution: int, iterations: int, steps: int) -> dict[str, float]:
    task = task_of(resolution, iterations)
    (stage,) = task.recipe.stages
    batch = task.source.validation(1)
    task._method.start(batch.x)
    running = Running(task.network, task.recipe, stage, Accelerator(cpu=True)) if form == "ours" else None
    optimizer = make_optimizer(task.network, task.recipe, stage)
    seconds = []
    for step in range(steps + 1):  # the first is not counted
        began = time.perf_counter()
        if running is not None:
            running.step(task, task.network, batch, stage, step, stage.lr)
        else:
            plain_step(task, batch.x, optimizer)
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": sum(seconds[1:]) / steps, "peak_gb": peak / 1e9}


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
        print(f"{form:6} {found[form]['seconds']:6.2f} s a step, peak {found[form]['peak_gb']:.2f} GB", flush=True)
    ratios = {key: found["ours"][key] / found["plain"][key] for key in ("seconds", "peak_gb")}
    print(f"ours / plain: time {ratios['seconds']:.2f}, memory {ratios['peak_gb']:.2f}")


if __name__ == "__main__":
    main()
