"""Networks of the published shapes, filled with the made-up weights of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import parity
import torch
from golden import fill
from torch import Tensor, nn

from restyle_cli.encoders import ENCODERS
from restyle_cli.encoders.psp import PSPEncoder, PSPEncoderConfig
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config


def generator(weights: Mapping[str, Tensor], average: str | None, **config: Any) -> StyleGAN2:
    """The generator among `weights` ("decoder.…"), with the average code of that name (None: at zero)."""
    with torch.device("meta"):
        network = StyleGAN2(StyleGAN2Config(**config))
    renamed = parity.rename_generator(_under("decoder.", weights), network.layers)
    average_code = torch.zeros(network.layers, 512) if average is None else latent_avg(average, network.layers)
    network.load_state_dict(renamed | {"w_avg": average_code}, assign=True)
    return network.eval().requires_grad_(False)


def latent_avg(name: str, rows: int, salt: str = "") -> Tensor:
    """The average code that a file carries beside its weights, [rows, 512]."""
    return torch.from_numpy(fill.tensor(name, (rows, 512), salt=salt))


def encoder(weights: Mapping[str, Tensor], **config: Any) -> nn.Module:
    """The encoder with style blocks among `weights` ("encoder.…")."""
    styles = config["styles"]
    theirs = {key: value for key, value in weights.items() if key.startswith("encoder.")}
    with torch.device("meta"):
        if "encoder.latlayer1.weight" in theirs:
            network: nn.Module = PSPEncoder(PSPEncoderConfig(**config))
            groups = {"coarse": range(3), "middle": range(3, 7), "fine": range(7, styles)}
        else:
            network = ReStyleEncoder(ReStyleEncoderConfig(**config))
            groups = {"heads": range(styles)}
    network.load_state_dict(parity.rename_encoder(theirs, groups), assign=True)
    return network.eval().requires_grad_(False)


def one_layer_or_hyper(weights: Mapping[str, Tensor], **opts: Any) -> nn.Module:
    """The hypernetwork or the encoder with one linear layer among `weights`."""
    hyper = any(key.startswith("hypernet.") for key in weights)
    part = parity.recognised(weights, opts, "hypernet." if hyper else "encoder.")
    assert part is not None
    family = ENCODERS.load(part.family)
    with torch.device("meta"):
        network = family(family.Config.from_dict(part.config))
    network.load_state_dict(part.tensors, assign=True)
    return network.eval().requires_grad_(False)


def checker(case: str) -> Callable[[str, Tensor], None]:
    """A function that compares a value with an output of `case`, at the limit of `parity.limit`."""
    references = parity.outputs(case)

    def check(output: str, value: Tensor) -> None:
        sample, _ = fill.summary(value.numpy())
        assert sample.shape == references[output].shape, output
        error, limit = float(np.abs(sample - references[output]).max()), parity.limit(case, output)
        print(f"{case} {output}: greatest difference {error:.2e}, limit {limit:.2e}")
        assert error <= limit, output

    return check


def matching(pattern: str) -> Callable[[str], bool]:
    """For `parity.weights`: whether a key begins with `pattern`."""
    return lambda key: re.match(pattern, key) is not None


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
