"""Initialise one kind of encoder from another so that the output stays the same."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch

from restyle_cli.encoders.base import Encoder
from restyle_cli.encoders.small import SmallEncoder
from restyle_cli.errors import RestyleError

AnyEncoder = TypeVar("AnyEncoder", bound=Encoder)


@torch.no_grad()
def widen_input(encoder: AnyEncoder, channels: int) -> AnyEncoder:
    """A copy of the encoder with `channels` input channels and the same output: the weights of the new ones are zero.

    They come after the old ones, as the reconstruction comes after the image. RestyleError for fewer channels.
    """
    config = encoder.config
    if channels < config.input_channels:
        raise RestyleError(f"an encoder of {config.input_channels} input channels cannot be narrowed to {channels}")
    wide = type(encoder)(dataclasses.replace(config, input_channels=channels))
    wide.to(next(encoder.parameters()).device).train(encoder.training)
    weights = wide.state_dict()
    for name, value in encoder.state_dict().items():
        if weights[name].shape == value.shape:
            weights[name].copy_(value)
        else:  # only the first convolution, [out, channels, k, k], depends on the input channels
            weights[name].zero_()
            weights[name][:, : config.input_channels] = value
    return wide


@torch.no_grad()
def to_offsets(encoder: SmallEncoder) -> SmallEncoder:
    """A copy of a small encoder with `codes="e4e"` and the same output: the first style is the base of the offsets."""
    copy = SmallEncoder(dataclasses.replace(encoder.config, codes="e4e"))
    copy.load_state_dict(encoder.state_dict())
    for tensor in (copy.last.weight, copy.last.bias):  # [L * rank, …]
        by_style = tensor.view(encoder.config.styles, -1)
        by_style[1:] -= by_style[:1].clone()
    return copy.to(next(encoder.parameters()).device).train(encoder.training)
