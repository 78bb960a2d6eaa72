"""One step of ReStyle's training, by the trainer's own code, against the original's: losses, gradients and weights.

Training draws fresh noise; here its strength is 0. Batch norms are in training mode: their statistics move at every
step of the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import parity
import pytest
import torch
from accelerate import Accelerator
from golden import fill
from torch import Tensor, nn

from restyle_cli.data.source import Batch
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.inversion import State
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.train.build import Parts
from restyle_cli.train.config import make_recipe
from restyle_cli.train.encoder import EncoderTask
from restyle_cli.train.loop import Running

CASE = "train_psp_256"
STYLES, STEPS = 14, 5
RECIPE = {
    "name": "parity",
    "method": "restyle-psp",
    "generator": "made-up",
    "optimizer": "ranger",
    "training": {"lr": 1e-4, "batch": 1, "iterations": STEPS, "losses": {"id": 0.1, "l2": 1.0, "w_norm": 0.005}},
}


class NoData:
    """In the place of a folder of images."""

    length = 1


def parts() -> Parts:
    """Encoder in training mode, frozen generator, frozen face network."""
    theirs = parity.weights("restyle_psp_ffhq_256")
    decoder = {k.removeprefix("decoder."): v for k, v in theirs.items() if k.startswith("decoder.")}
    with torch.device("meta"):
        encoder = ReStyleEncoder(ReStyleEncoderConfig(styles=STYLES))
        generator = StyleGAN2(StyleGAN2Config(256))
        arcface = PERCEPTUAL.load("arcface")(PERCEPTUAL.load("arcface").Config())
    encoder_only = {k: v for k, v in theirs.items() if k.startswith("encoder.")}
    encoder.load_state_dict(parity.rename_encoder(encoder_only, {"heads": range(STYLES)}), assign=True)
    generator.load_state_dict(parity.rename_generator(decoder, STYLES), assign=True)
    generator.w_avg = torch.from_numpy(fill.tensor("latent_avg", (STYLES, 512)))
    for conv in generator.convs:
        conv.noise_strength.data.zero_()
    face = parity.recognised(parity.weights("ir_se50"))
    assert face is not None
    arcface.load_state_dict(face.tensors, assign=True)
    frozen = generator.eval().requires_grad_(False), {"id": arcface.eval().requires_grad_(False)}
    return Parts(frozen[0], Path("made-up.pt"), encoder, NoData(), frozen[1], {"id": "arcface"})


def watched(encoder: nn.Module, kind: str) -> Iterator[tuple[str, Tensor]]:
    """The original's name and our value of each parameter (`kind` "value") or its gradient that the case has."""
    for name in sorted(
        {k.partition(".")[2] for k in parity.case(CASE)["outputs"] if k.startswith(("gradnorm.", "step."))}
    ):
        if name.startswith("styles."):
            _, style, ours = name.split(".", 2)
            parameter = encoder.get_parameter(f"heads.{ours}")
            yield name, (parameter if kind == "value" else parameter.grad)[int(style)]
        else:
            parameter = encoder.get_parameter(f"backbone.{name}")
            yield name, parameter if kind == "value" else parameter.grad


def check(output: str, value: Tensor) -> None:
    sample, _ = fill.summary(value.detach().numpy())
    error, limit = abs(sample - parity.outputs(CASE)[output]).max(), parity.limit(CASE, output)
    assert error <= limit, f"{output}: {error:.2e} > {limit:.2e}"


class Recorded(EncoderTask):
    """Keeps what the losses were, and the gradients after each backward pass."""

    def losses(self, *arguments):
        self.rows: dict[str, list[Tensor]] = {}
        for loss in super().losses(*arguments):
            yield loss  # the loop goes backward here
            for name, value in [("loss", loss.value), *((f"loss_{name}", term) for name, term in loss.terms.items())]:
                self.rows.setdefault(f"loss.{name}", []).append(value)
            for name, gradient in watched(self.network, "gradient"):
                self.rows.setdefault(f"gradnorm.{name}", []).append(gradient.norm())

    def _loss(self, state: State, *arguments):
        self.image = state.image.detach()
        return super()._loss(state, *arguments)


@pytest.mark.slow
def test_a_training_step_is_the_originals() -> None:
    recipe = make_recipe(RECIPE, "parity")
    task = Recorded(recipe, parts())
    x = parity.picture("x")
    task._method.start(x)  # the average image; `prepare` would also read data
    encoder, (stage,) = task.network, recipe.stages
    running = Running(encoder, recipe, stage, Accelerator(cpu=True))
    # The heads' convolutions are left out of the step: 2 GB of momenta that nothing here looks at.
    running.optimizer.param_groups[0]["params"] = [
        parameter for name, parameter in encoder.named_parameters() if not name.startswith("heads.convs")
    ]
    before = {name: value.detach().clone() for name, value in watched(encoder, "value")}
    gradients: dict[str, Tensor] = {}
    step = running.optimizer.step

    def keep_gradients() -> None:
        gradients.update({name: gradient.clone() for name, gradient in watched(encoder, "gradient")})
        step()

    running.optimizer.step = keep_gradients
    running.step(task, encoder, Batch(x, x, ["x"]), stage, 0, stage.lr)

    for output, values in task.rows.items():
        if output in parity.outputs(CASE):
            check(output, torch.stack(values))
    for name in ("input_layer.0.weight", "input_layer.2.weight", "styles.13.linear.bias"):
        check(f"grad_{name}", gradients[name].flatten())
    check("image_last", task.image)
    after = dict(watched(encoder, "value"))
    for name in ("input_layer.0.weight", "input_layer.1.weight", "styles.13.linear.bias"):
        check(f"step.{name}", after[name] - before[name])
    norm = encoder.backbone.input_layer[1]
    for name in ("input_layer.1.weight", "input_layer.2.weight", "styles.13.linear.bias"):
        check(f"after.{name}", after[name])
    check("after.input_layer.1.running_mean", norm.running_mean)
    check("after.input_layer.1.running_var", norm.running_var)
    assert (
        int(norm.num_batches_tracked) == int(parity.outputs(CASE)["after.input_layer.1.num_batches_tracked"]) == STEPS
    )
