"""The numbers of the networks that compare pictures against those of the original code, on made-up weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import parity
import pytest
import torch
from golden import fill
from torch import Tensor, nn

from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.train.losses import cosine_loss


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def build(manifest: str, family: str) -> nn.Module:
    """The network of a published file, through the same door as a person's file."""
    part = parity.recognised(parity.weights(manifest))
    assert part is not None
    assert part.family == family
    network = PERCEPTUAL.load(family)
    with torch.device("meta"):
        made = network(network.Config.from_dict(part.config))
    made.load_state_dict(part.tensors, strict=True, assign=True)
    return made.eval().requires_grad_(False)


def check(case: str, values: Mapping[str, Tensor]) -> None:
    references = parity.outputs(case)
    for name, value in values.items():
        sample, _ = fill.summary(value.numpy())
        error, limit = abs(sample - references[name]).max(), parity.limit(case, name)
        print(f"{case} {name}: greatest difference {error:.2e}, limit {limit:.2e}")
        assert error <= limit, f"{case} {name}"


def pictures(name: str, count: int, height: int = 256, width: int = 256) -> Tensor:
    return torch.from_numpy(fill.image(name, (count, 3, height, width)))


def test_arcface() -> None:
    network = build("ir_se50", "arcface")
    y_hat, y, x = (network(pictures(name, 2)) for name in ("y_hat", "y", "x"))
    to_target, to_input, views = ((a * b).sum(dim=1) for a, b in ((y_hat, y), (y_hat, x), (y, x)))
    check(
        "id_nets",
        {
            "arcface_feats": y_hat,
            "diff_target": to_target,
            "diff_input": to_input,
            "diff_views": views,
            "id_loss": cosine_loss(nn.Identity(), y_hat, y),
            "id_improve": ((y_hat * y).sum(dim=1) - (y * x).sum(dim=1)).mean(),
            "arcface_112": network.embed(pictures("aligned", 2, 112, 112)),
        },
    )


def test_curricularface() -> None:
    network = build("curricularface_ir101", "curricularface")
    check("id_nets", {"curricular_112": network.embed(pictures("aligned", 2, 112, 112))})


def test_moco() -> None:
    network = build("moco_v2_resnet50", "moco")
    y_hat, y, x = (network(pictures(name, 2)) for name in ("y_hat", "y", "x"))
    losses = {
        "moco_loss": cosine_loss(nn.Identity(), y_hat, y),
        "id_improve": ((y_hat * y).sum(dim=1) - (y * x).sum(dim=1)).mean(),
    }
    check("moco_loss", {"feats": y_hat} | losses)
    torch.testing.assert_close(network(pictures("y_hat", 2)[1:]), y_hat[1:])  # one picture: where the original fails
    y_hat, y = (network(pictures(name, 2, 192, 256)) for name in ("y_hat", "y"))
    check("moco_loss_cars", {"moco_loss": cosine_loss(nn.Identity(), y_hat, y)})


@pytest.mark.parametrize(
    ("output", "count"),
    [pytest.param("one", 1, marks=pytest.mark.slow), ("two", 2), pytest.param("four", 4, marks=pytest.mark.slow)],
)
def test_stylegan2_discriminator(output: str, count: int, discriminator: nn.Module) -> None:
    check("stylegan2_d_256", {output: discriminator(pictures("pair", 4)[:count])})


@pytest.fixture(scope="module")
def discriminator() -> nn.Module:
    return build("stylegan2_d_256", "stylegan2-discriminator")


def test_latent_discriminator() -> None:
    network = build("latent_discriminator", "latent-discriminator")
    check("latent_discriminator", {"logit": network(torch.from_numpy(0.5 * fill.normal("w", (4, 512))))})


def test_lpips() -> None:
    network = build("lpips_alex", "lpips-alex")
    distances = network(pictures("y_hat", 2), pictures("y", 2))
    check("losses", {"lpips": distances.mean(), "lpips_first": distances[0]})
