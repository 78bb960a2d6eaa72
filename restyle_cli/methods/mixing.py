"""Style mixing for multi-modal results (pSp: Richardson et al. 2021, section 4.2).

A sketch, a label map or a low-resolution image determines the coarse layers of a latent, but not colours and fine
structure. These layers, from the ninth on, are mixed with those of a random latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator

FINE = 8
"""First mixed layer, counted from 0; as published, for every resolution."""


@torch.no_grad()
def sample_w(generator: StyleGenerator, seed: int) -> Tensor:
    """w_plus [L, w_dim] of a random z; the same for the same seed."""
    z = torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.w_plus(generator.mapping(z.to(generator.w_avg)))[0]


def mix(
    w: Tensor,  # [N, L, w_dim]
    sampled: Tensor,  # [L, w_dim]
    alpha: float = 1.0,
    first: int = FINE,
) -> Tensor:  # [N, L, w_dim]
    """w with the layers from `first` on interpolated towards `sampled` by `alpha`; 1 replaces them.

    RestyleError if w has no such layer.
    """
    if first >= w.shape[1]:
        raise RestyleError(
            f"the latents of this generator have {w.shape[1]} layers, too few to mix",
            f"use a generator with more than {first} layers, of 128 px for instance",
        )
    fine = torch.lerp(w[:, first:], sampled[first:].expand_as(w[:, first:]), alpha)
    return torch.cat([w[:, :first], fine], dim=1)
