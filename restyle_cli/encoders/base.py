"""Base classes of the encoders and of their configs."""

from __future__ import annotations

from dataclasses import dataclass

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

    def to_w_plus(self, codes: Tensor) -> Tensor:
        """The output of the style heads [N, L, w_dim] as w_plus: "e4e" heads return a base vector and offsets."""
        return base_and_offsets(codes, self.stage) if self.config.codes == "e4e" else codes
