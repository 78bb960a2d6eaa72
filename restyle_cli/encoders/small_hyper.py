"""HyperStyle's hypernetwork for small generators: the small encoders' body, and heads that cost little.

As in the large one (`hyper`), a convolution's delta is one factor for each pair of its channels, those that share get
whole kernels from one network, and the rest of the work is seeing. Here the body is free of normalisation, ends in one
vector instead of a map, and every head is linear. An untrained one changes nothing: its last layers are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from restyle_cli.encoders.hyper import SharedKernels, check_targets
from restyle_cli.encoders.small import SmallConfig, SmallNetwork
from restyle_cli.errors import RestyleError


@dataclass(frozen=True)
class SmallHyperConfig(SmallConfig):
    """`targets` lists the generator's convolutions whose weights change; `sharing` those that share a network.

    `code` is the width of what a head reads: a convolution's delta is a sum of so many learned patterns.
    """

    targets: tuple[tuple[str, int, int], ...] = (("convs.0", 192, 192), ("convs.1", 192, 192))  # name, outputs, inputs
    sharing: tuple[str, ...] = ()
    code: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_targets(self.targets, self.sharing)
        if not isinstance(self.code, int) or self.code < 1:
            raise RestyleError(f"a hypernetwork's code is a whole number above zero, not {self.code!r}")


def choose_targets(
    shapes: Mapping[str, tuple[int, int]],  # the generator's `conv_shapes()`
) -> dict[str, tuple]:
    """The `targets` and `sharing` for a generator: all convolutions but ToRGB's; the widest, if several, share."""
    targets = tuple((name, *shape) for name, shape in shapes.items() if name.startswith("convs."))
    widest = max((shape for _, *shape in targets), key=math.prod)
    sharing = tuple(name for name, *shape in targets if shape == widest)
    return {"targets": targets, "sharing": sharing if len(sharing) > 1 else ()}


class SmallHyperNetwork(SmallNetwork):
    """Picture and reconstruction -> {name of a convolution: delta [N, O, I, 3, 3] or [N, O, I, 1, 1]}."""

    Config = SmallHyperConfig
    config: SmallHyperConfig

    def __init__(self, config: SmallHyperConfig) -> None:
        super().__init__(config)
        self.codes = nn.Linear(config.hidden, len(config.targets) * config.code)
        self.factors = nn.ModuleDict(
            {
                name.replace(".", "_"): nn.Linear(config.code, outputs * inputs)
                for name, outputs, inputs in config.targets
                if name not in config.sharing
            }
        )
        if config.sharing:
            outputs, inputs = next(t[1:] for t in config.targets if t[0] in config.sharing)
            self.kernels = SharedKernels(config.code, outputs, inputs)
        if not self.codes.weight.is_meta:  # then the tensors come from a file
            self.init_weights()
            for factor in self.factors.values():
                nn.init.zeros_(factor.get_parameter("weight"))
            if config.sharing:
                nn.init.zeros_(self.kernels.w1)  # its bias is zero from the beginning

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [N, C, H, W] in [-1, 1], any size; the deltas are in the order of `targets`."""
        config = self.config
        codes = self.codes(self.features(x)).unflatten(1, (len(config.targets), config.code))
        found: dict[str, Tensor] = {}
        for index, (name, outputs, inputs) in enumerate(config.targets):
            if name in config.sharing:
                found[name] = self.kernels(codes[:, index])
            else:
                factor = self.factors[name.replace(".", "_")]
                found[name] = factor(codes[:, index]).view(-1, outputs, inputs, 1, 1)
        return found
