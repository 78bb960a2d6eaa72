"""Several pictures of one code (pSp: Richardson et al. 2021, section 4.2): its fine layers from sampled codes.

Coarse layers hold what a sketch, a label map or a tiny photo shows; colours and fine structure, which it does not show,
are anyone's choice. So the layers from the ninth on are mixed with those of a random code of the generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator

FINE = 8
"""The first layer, counted from 0, that is mixed; as published, for every resolution."""


@torch.no_grad()
def sample_w(generator: StyleGenerator, seed: int) -> Tensor:
    """The code [L, w_dim] of a random z, the same for the same seed."""
    z = torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.w_plus(generator.mapping(z.to(generator.w_avg)))[0]


def mix(
    w: Tensor,  # [N, L, w_dim]
    sampled: Tensor,  # [L, w_dim]
    alpha: float = 1.0,
    first: int = FINE,
) -> Tensor:  # [N, L, w_dim]
    """w with its layers from `first` on moved by `alpha` (1: all of the way) towards the sampled code's.

    RestyleError when there is no such layer.
    """
    if first >= w.shape[1]:
        raise RestyleError(
            f"this generator's codes have {w.shape[1]} layers, none of them fine enough to mix",
            f"it takes one of more than {first}, 128 px for instance",
        )
    fine = torch.lerp(w[:, first:], sampled[first:].expand_as(w[:, first:]), alpha)
    return torch.cat([w[:, :first], fine], dim=1)
