"""The generator's numbers against those of the original code, on made-up weights of the official shape."""

import numpy as np
import parity
import pytest
import torch
from golden import fill

from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config

NAME = "stylegan2_g_256"


@pytest.fixture(scope="module")
def network() -> StyleGAN2:
    with torch.device("meta"):
        made = StyleGAN2(StyleGAN2Config(256))
    made.load_state_dict(parity.rename_generator(parity.weights(NAME), made.layers), assign=True)
    return made.eval().requires_grad_(False)


def check(output: str, value: torch.Tensor) -> None:
    sample, _ = fill.summary(value.numpy())
    assert np.abs(sample - parity.outputs(NAME)[output]).max() < parity.limit(NAME, output), output


def test_picture_of_a_w_plus_code(network):
    check("image", network(torch.from_numpy(0.5 * fill.normal("w", (1, 14, 512)))))


def test_mapping_truncation_and_mixing(network):
    w, other = (network.mapping(torch.from_numpy(fill.normal(name, (2, 512)))) for name in ("z", "z2"))
    check("z_to_w", w)
    codes = network.w_plus(w)
    truncated = network.truncate(codes, 0.7)
    check("trunc_latent", truncated)
    check("trunc_image", network(truncated))
    mixed = torch.cat([codes[:, :5], network.w_plus(other)[:, 5:]], dim=1)
    check("mix_latent", mixed)
    check("mix_image", network(mixed))
