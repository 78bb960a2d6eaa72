"""HyperStyle's hypernetwork (Alaluf et al. 2022) for small generators: the body of the small encoders, linear heads.

As in the large one (`hyper`), a delta is one factor per pair of channels, and the widest convolutions get full kernels
from a shared network. Untrained, all deltas are zero, as the last layers are.
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
    """`targets`: the convolutions of the generator that get a delta; `sharing`: those that use the shared network.

    `code`: input size of each head; a delta is a linear combination of this many learned patterns.
    """

    targets: tuple[tuple[str, int, int], ...] = (("convs.0", 192, 192), ("convs.1", 192, 192))  # name, outputs, inputs
    sharing: tuple[str, ...] = ()
    code: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_targets(self.targets, self.sharing)
        if not isinstance(self.code, int) or self.code < 1:
            raise RestyleError(f"`code` of a hypernetwork must be a positive integer, not {self.code!r}")


def choose_targets(
    shapes: Mapping[str, tuple[int, int]],  # the generator's `conv_shapes()`
) -> dict[str, tuple]:
    """`targets` and `sharing` for a generator: all convolutions except ToRGB; the widest share, if several."""
    targets = tuple((name, *shape) for name, shape in shapes.items() if name.startswith("convs."))
    widest = max((shape for _, *shape in targets), key=math.prod)
    sharing = tuple(name for name, *shape in targets if shape == widest)
    return {"targets": targets, "sharing": sharing if len(sharing) > 1 else ()}


class SmallHyperNetwork(SmallNetwork):
    """Image and reconstruction -> {name of a convolution: delta [N, O, I, 3, 3] or [N, O, I, 1, 1]}."""

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
        if not self.codes.weight.is_meta:  # on the meta device, tensors come from a file
            self.init_weights()
            for factor in self.factors.values():
                nn.init.zeros_(factor.get_parameter("weight"))
            if config.sharing:
                nn.init.zeros_(self.kernels.w1)  # its bias starts at zero

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [N, C, H, W] in [-1, 1], any size -> deltas by name, in the order of `targets`."""
        config = self.config
        codes = self.codes(self.features(x)).unflatten(1, (len(config.targets), config.code))
        deltas: dict[str, Tensor] = {}
        for index, (name, outputs, inputs) in enumerate(config.targets):
            if name in config.sharing:
                deltas[name] = self.kernels(codes[:, index])
            else:
                factor = self.factors[name.replace(".", "_")]
                deltas[name] = factor(codes[:, index]).view(-1, outputs, inputs, 1, 1)
        return deltas
