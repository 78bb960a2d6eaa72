"""What the generators of StyleGAN's family share: codes and their average, stored noise, the crop of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

NOISE_MODES = ("fixed", "random", "none")


class StyleGenerator(nn.Module):
    """From codes w [N, L, w_dim] to pictures [N, 3, H, W], nominally in [-1, 1], never clamped.

    A subclass has `config`, `mapping`, the convolutions `convs` and `to_rgbs`, the average code `w_avg` [L, w_dim]
    and, where it takes noise, a map `noise_k` [1, 1, h, w] for each of `convs`.
    """

    config: Any
    mapping: nn.Module
    convs: nn.ModuleList
    to_rgbs: nn.ModuleList
    w_avg: Tensor

    @property
    def layers(self) -> int:
        """The number L of styles in a W+ code."""
        return self.config.layers

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures, after the crop."""
        return self.config.crop or (self.config.resolution, self.config.resolution)

    def start(self, n: int) -> Tensor:
        """The average code, n times: [n, L, w_dim]."""
        return self.w_avg.expand(n, -1, -1)

    def w_plus(self, w: Tensor) -> Tensor:
        """One w [N, w_dim] for all styles: [N, L, w_dim]; codes that are W+ already stay as they are."""
        return w if w.dim() == 3 else w[:, None].expand(-1, self.layers, -1)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull codes w [N, L, w_dim] towards the average: w_avg + psi (w - w_avg)."""
        return self.w_avg + psi * (w - self.w_avg)

    @torch.no_grad()
    def mean_w(self, samples: int = 100_000, seed: int = 0) -> Tensor:
        """The mean of the mapping over random z: [w_dim], or [L, w_dim] where each style has a w of its own."""
        generator = torch.Generator().manual_seed(seed)
        total: Tensor | float = 0.0
        for left in range(samples, 0, -10_000):
            z = torch.randn(min(left, 10_000), self.config.z_dim, generator=generator)
            total = total + self.mapping(z.to(self.w_avg.device)).cpu().double().sum(dim=0)
        return (total / samples).float().to(self.w_avg)

    def conv_shapes(self) -> dict[str, tuple[int, int]]:
        """The convolutions that a `patch` can change by a factor: from their names to (outputs, inputs)."""
        rooms = {"convs": self.convs, "to_rgbs": self.to_rgbs}
        return {
            f"{room}.{index}": (conv.weight.shape[0], conv.weight.shape[1])
            for room, convs in rooms.items()
            for index, conv in enumerate(convs)
            if conv.weight is not None
        }

    def _noise(self, index: int, x: Tensor, mode: str, changes: Mapping[str, Tensor]) -> Tensor | None:
        if mode == "none" or not self.config.noise:
            return None
        stored = getattr(self, f"noise_{index}")
        if mode == "fixed":
            change = changes.get(f"noise_{index}")
            return stored if change is None else stored + change
        return torch.randn(x.shape[0], *stored.shape[1:], device=x.device, dtype=stored.dtype)

    def _cropped(self, image: Tensor) -> Tensor:
        if self.config.crop is None:
            return image
        height, width = self.config.crop
        top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
        return image[:, :, top : top + height, left : left + width]
