"""Base classes of the encoders and of their configs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from restyle_cli.encoders.heads import base_and_offsets
from restyle_cli.errors import RestyleError
from restyle_cli.registry import NetworkConfig

CODES = ("psp", "e4e")


@dataclass(frozen=True)
class EncoderConfig(NetworkConfig):
    """The fields that every encoder has."""

    input_channels: int = 6  # 3: image; 6: image and current reconstruction
    styles: int = 18  # L, the number of styles of the generator
    w_dim: int = 512
    codes: str = "psp"  # the heads predict: "psp", L vectors; "e4e", one vector and L - 1 offsets from it

    def __post_init__(self) -> None:
        if self.codes not in CODES:
            raise RestyleError(f"`codes` of an encoder must be 'psp' or 'e4e', not {self.codes!r}")
        for name in ("input_channels", "styles", "w_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise RestyleError(f"`{name}` of an encoder must be a positive integer, not {value!r}")


class Encoder(nn.Module):
    """Base of the encoders: image [N, C, H, W] -> w_plus [N, L, w_dim]; hypernetworks return weight deltas instead.

    `stage` is for the progressive training of "e4e" encoders: the number of offsets in use, None for all. It is not
    saved.
    """

    config: EncoderConfig
    stage: int | None = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    def to_w_plus(self, styles: Tensor) -> Tensor:
        """The output of the style heads [N, L, w_dim] as w_plus: "e4e" heads return a base vector and offsets."""
        return base_and_offsets(styles, self.stage) if self.config.codes == "e4e" else styles


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
