"""From the backbone's maps to codes: style heads, and how codes are put together."""

from __future__ import annotations

import torch
from torch import Tensor


def base_and_offsets(
    codes: Tensor,  # [N, L, D]: the base code, then L - 1 offsets
    stage: int | None = None,
) -> Tensor:
    """The codes of "e4e": the base code for every style, and for the styles 1 to `stage` their offset added.

    None, or a stage of L - 1 and more, adds them all.
    """
    base, offsets = codes[:, :1], codes[:, 1:]
    if stage is not None and stage < offsets.shape[1]:
        offsets = torch.cat([offsets[:, :stage], torch.zeros_like(offsets[:, stage:])], dim=1)
    return torch.cat([base, base + offsets], dim=1)
