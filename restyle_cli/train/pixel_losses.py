"""Pixel losses of generators. All take images [N, 3, H, W] in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError

# Centre and radii, as shares of the side, of the part of an aligned face that holds eyes, nose and mouth.
FEATURES = (0.5, 0.59, 0.27, 0.24)


def feature_weights(size: int, extra: float, like: Tensor) -> Tensor:
    """[1, 1, size, size]: 1 outside the features of an aligned face, 1 + extra inside, mean 1."""
    x0, y0, rx, ry = FEATURES
    axis = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    inside = ((axis[None, :] - x0) / rx) ** 2 + ((axis[:, None] - y0) / ry) ** 2
    weights = 1 + extra * torch.sigmoid(8 * (1 - inside))
    return (weights / weights.mean())[None, None]


def pixel_loss(image: Tensor, target: Tensor, weights: dict[str, float], focus: float = 0.0) -> Tensor:
    """The weighted sum of the named terms, each a mean over all values: a scalar."""
    if unknown := set(weights) - set(TERMS):
        raise RestyleError(f"no loss named '{min(unknown)}'", f"there are {', '.join(sorted(TERMS))}")
    where = feature_weights(image.shape[-1], focus, image) if focus else None
    difference = image.float() - target
    return sum(
        (weight * TERMS[name](difference, where) for name, weight in weights.items()),
        start=torch.zeros((), device=image.device),
    )


def _mean(values: Tensor, where: Tensor | None) -> Tensor:
    if where is not None:
        values = values * where[..., : values.shape[-2], : values.shape[-1]]
    return values.mean()


def _gradients(difference: Tensor) -> tuple[Tensor, Tensor]:
    return difference[..., 1:] - difference[..., :-1], difference[..., 1:, :] - difference[..., :-1, :]


TERMS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "l1": lambda d, where: _mean(d.abs(), where),
    "l2": lambda d, where: _mean(d.square(), where),
    "gradient_l1": lambda d, where: _mean(_gradients(d)[0].abs(), where) + _mean(_gradients(d)[1].abs(), where),
    "gradient_l2": lambda d, where: _mean(_gradients(d)[0].square(), where) + _mean(_gradients(d)[1].square(), where),
}
