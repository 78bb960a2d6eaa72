"""Augmentation of an encoder's inputs, so that it works on photographs by other cameras, in other light and places.

Targets are never augmented: the encoder learns to see the face behind the change.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(x: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Change about `share` of the images x [N, 3, H, W] in [-1, 1]; the others stay as they are.

    Shape, light, colour, blur, texture, what surrounds an aligned face, occlusion, resolution and noise.
    """
    n, _, height, width = x.shape
    chosen = torch.from_numpy(rng.random(n) < share).to(x.device)[:, None, None, None]
    if not chosen.any():
        return x

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (n, *shape)).astype(np.float32)).to(x.device)

    def strength(probability: float) -> Tensor:
        """[N, 1, 1, 1]: 0 with 1 - `probability`, else uniform in [0, 1]."""
        return uniform(0, 1, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) < probability)

    def field(channels: int, *cells: int) -> Tensor:
        """A smooth random map in about [-1, 1] with so many cells along each side."""
        return F.interpolate(uniform(-1, 1, channels, *cells), (height, width), mode="bicubic", align_corners=False)

    # Shape: crooked smiles, other outlines.
    still = F.affine_grid(
        torch.eye(2, 3, device=x.device).expand(n, -1, -1), [n, 3, height, width], align_corners=False
    )
    moved = (0.05 * strength(0.5) * field(2, 5, 5)).permute(0, 2, 3, 1)
    image = F.grid_sample(x, still + moved, padding_mode="reflection", align_corners=False).add(1).div(2).clamp(0, 1)
    # Other surroundings: another image of the batch, mirrored upside down, or texture.
    around = _outside_of_face(height, width, x.device)
    scraps = torch.lerp(
        image.roll(1, dims=0).flip(2), 0.5 + 0.4 * field(3, 4, 4), (uniform(0, 1, 1, 1, 1) < 0.5).float()
    )
    image = torch.lerp(image, scraps.clamp(0, 1), around * strength(0.5))
    # Light: tone curve, a lamp from one side, its colour; then the camera's contrast and saturation.
    image = image ** torch.exp(0.4 * uniform(-1, 1, 1, 1, 1)) * torch.exp(0.5 * strength(0.7) * field(1, 3, 3))
    image = image * torch.exp(0.16 * uniform(-1, 1, 3, 1, 1)) * torch.exp(0.2 * uniform(-1, 1, 1, 1, 1))
    grey = image.mean(dim=1, keepdim=True)
    image = grey + uniform(0.4, 1.4, 1, 1, 1) * (image - grey)
    # Texture that no training image has, mostly of light.
    for cells in ((7, 7), (15, 15), (36, 10), (10, 36)):
        texture = field(3, *cells)
        image = image + 0.08 * strength(0.4) * torch.lerp(texture, texture.mean(dim=1, keepdim=True), 0.7)
    # Occlusion: a hand, a microphone, a strand of hair.
    centre, radius = uniform(-1, 1, 2), uniform(0.1, 0.4, 2)
    axes = [torch.linspace(-1, 1, side, device=x.device) for side in (height, width)]
    distance = ((axes[0][:, None] - centre[:, 0, None, None]) / radius[:, 0, None, None]) ** 2
    distance = distance + ((axes[1] - centre[:, 1, None, None]) / radius[:, 1, None, None]) ** 2
    hidden = torch.sigmoid(20 * (1 - distance))[:, None] * (uniform(0, 1, 1, 1, 1) < 0.2)
    image = torch.lerp(image, uniform(0, 1, 3, 1, 1).expand_as(image), hidden)
    # Resolution and noise.
    small = F.interpolate(F.avg_pool2d(image, 4, ceil_mode=True), (height, width), mode="bilinear", align_corners=False)
    image = torch.lerp(image, small, strength(0.5))
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x.device)
    image = image + 0.06 * strength(0.5) * noise
    return torch.where(chosen, image.clamp(0, 1) * 2 - 1, x)


def _outside_of_face(height: int, width: int, device: torch.device) -> Tensor:
    """[H, W]: 0 where an aligned head is, 1 in the corners."""
    y, x = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    return (2.5 * (torch.sqrt(x**2 + (0.85 * (y[:, None] - 0.1)) ** 2) - 0.75)).clamp(0, 1)
