"""One training batch of ReStyle, through our loop, against the original's: losses, gradients and what a step changes.

Training draws fresh noise; here its strength is 0. Batch norms are in training mode: their statistics move at every
step of the loop.
"""

from __future__ import annotations

from collections.abc import Iterator

import parity
import pytest
import torch
from golden import fill
from torch import Tensor, nn

from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.inversion import iterate
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.train.paper_losses import Objective
from restyle_cli.train.ranger import ranger

CASE = "train_psp_256"
STYLES, STEPS = 14, 5
WEIGHTS = {"id": 0.1, "l2": 1.0, "w_norm": 0.005}


def networks() -> tuple[nn.Module, nn.Module, nn.Module]:
    """Encoder in training mode, frozen generator, frozen face network."""
    theirs = parity.weights("restyle_psp_ffhq_256")
    decoder = {k.removeprefix("decoder."): v for k, v in theirs.items() if k.startswith("decoder.")}
    face = parity.recognised(parity.weights("ir_se50"))
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
    arcface.load_state_dict(face.tensors, assign=True)
    return encoder.train(), generator.eval().requires_grad_(False), arcface.eval().requires_grad_(False)


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
    print(f"{CASE} {output}: greatest difference {error:.2e}, limit {limit:.2e}")
    assert error <= limit, output


@pytest.mark.slow
def test_a_batch_through_the_loop_and_one_step_are_the_originals() -> None:
    pytest.importorskip("pytorch_optimizer", reason="it comes with the extra `train`")
    encoder, generator, arcface = networks()
    objective, x = Objective(WEIGHTS, {"id": arcface}), parity.picture("x")
    method = ReStyle("restyle-psp", encoder, generator)
    rows: dict[str, list[Tensor]] = {}
    for k, state in enumerate(iterate(x, [method] * STEPS)):
        if k == 0:
            continue
        loss, terms = objective(x, state, generator.w_avg)
        loss.backward()
        for name, value in [("loss", loss), *((f"loss_{name}", term) for name, term in terms.items())]:
            rows.setdefault(f"loss.{name}", []).append(value.detach())
        for name, gradient in watched(encoder, "gradient"):
            rows.setdefault(f"gradnorm.{name}", []).append(gradient.norm())
    for output, values in rows.items():
        if output in parity.outputs(CASE):
            check(output, torch.stack(values))
    gradients = dict(watched(encoder, "gradient"))
    for name in ("input_layer.0.weight", "input_layer.2.weight", "styles.13.linear.bias"):
        gradient = gradients[name].flatten()
        check(f"grad_{name}", gradient)
    check("image_last", state.image)

    before = {name: value.detach().clone() for name, value in watched(encoder, "value")}
    # The heads' convolutions are left out of the step: 2 GB of momenta that nothing here looks at.
    ranger(nn.ModuleList([encoder.backbone, encoder.heads.linear]), lr=1e-4).step()
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
