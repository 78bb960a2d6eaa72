"""How much an image changed: LPIPS at each pixel, and how concentrated and how broad the change is.

Images are [N, 3, H, W] in [-1, 1], one per step; a map is [H, W] with values from 0 (no change) on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.devices import exactly
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_module

if TYPE_CHECKING:
    from restyle_cli.perceptual.lpips import LPIPS

Floats = NDArray[np.float32]
_BROAD = 1 / 32  # of the height: sigma of the blur that removes detail
_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
"""From linear sRGB to X, Y and Z relative to the white point D65."""


NAME, TITLE, UNIT = "lpips", "LPIPS (AlexNet, version 0.1), at each place", "LPIPS"
"""The measure of change: for files, for people, for captions."""
TOP = 1.0
"""A large change: the end of the colour scale that is the same for all images."""


def load_lpips(device: torch.device) -> LPIPS:
    """The bundled LPIPS on AlexNet; RestyleError if its file is missing."""
    return cast("LPIPS", read_module(fetch.installed_path(catalog.find("lpips-alex")), device, role="perceptual"))


@torch.no_grad()
def lpips_maps(lpips: LPIPS, images: Tensor) -> Floats:
    """The change from each image to the next, [N - 1, H, W]: LPIPS before spatial averaging.

    The distance maps of the five AlexNet layers are resized to full size and added.
    """
    weights = list(lpips.weights)
    device, size = weights[0].device, (images.shape[2], images.shape[3])
    total = torch.zeros(len(images) - 1, *size, device=device)
    with exactly(device):
        maps = lpips.features(images.clamp(-1, 1).to(device))
        for features, weight in zip(maps, weights, strict=True):
            distance = ((features[1:] - features[:-1]).square() * weight[:, None, None]).sum(dim=1, keepdim=True)
            total += F.interpolate(distance, size, mode="bilinear", align_corners=False)[:, 0]
    return total.cpu().numpy()


def half_area(maps: Floats) -> Floats:
    """For each map [N, H, W] the smallest share of the image that has half of the change: 0 to 0.5."""
    flat = -np.sort(-maps.reshape(len(maps), -1).astype(np.float64), axis=1)
    cumulated = np.cumsum(flat, axis=1)
    return (cumulated < cumulated[:, -1:] / 2).mean(axis=1).astype(np.float32)


def broad_share(images: Tensor) -> Floats:
    """For each of the N - 1 changes, the share of its energy that remains after a blur by 1/32 of the height: 0 to 1.

    Moving shapes and changes of colour are broad; strands of hair and edges are not.
    """
    changes, sigma = np.diff(lab(images), axis=0), _BROAD * images.shape[2]
    left = np.stack([cv2.GaussianBlur(one, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for one in changes])
    energy = np.square(changes).sum(axis=(1, 2, 3))
    return np.square(left).sum(axis=(1, 2, 3)) / np.maximum(energy, np.finfo(np.float32).tiny)


def lab(images: Tensor) -> Floats:
    """The images in CIELAB, [N, H, W, 3]: L from 0 to 100, a and b.

    OpenCV's conversion has errors of up to 0.5, as much as a late step changes.
    """
    rgb = ((images.float().cpu().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ torch.tensor(_XYZ).T
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(dim=3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=3).numpy()
