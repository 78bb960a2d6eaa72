"""Measures of the change of an image at each pixel: LPIPS, or colour distance where its bundled file is missing.

Images are [N, 3, H, W] in [-1, 1], one per step; a map is [H, W] with values from 0 (no change) on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

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
_BLUR = 1 / 64  # of the height; hides edges that moved by a pixel
_BROAD = 1 / 32
_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)
"""From linear sRGB to X, Y and Z relative to the white point D65."""


class Measure(Protocol):
    """A measure of change. `name` is for files, `title` for people, `unit` for captions.

    `top`: a large change, the end of the colour scale that is the same for all images.
    """

    name: str
    title: str
    unit: str
    top: float

    def maps(self, images: Tensor) -> Floats:
        """The change from each image to the next, [N - 1, H, W]."""


class ColourDistance:
    """Distance in CIELAB (1976), blurred: 2 is just noticeable, black and white are 100 apart."""

    name = "lab"
    title = f"distance of colours in CIELAB, blurred by 1/{round(1 / _BLUR)} of the height"
    unit = "Lab"
    top = 50.0

    def maps(self, images: Tensor) -> Floats:
        """The change from each image to the next, [N - 1, H, W]."""
        distances = np.linalg.norm(np.diff(lab(images), axis=0), axis=3)
        return np.stack([_blurred(distance, _BLUR) for distance in distances])


class LPIPSDistance:
    """LPIPS before spatial averaging: the distance maps of the five AlexNet layers, resized to full size and added."""

    name = "lpips"
    title = "LPIPS (AlexNet, version 0.1), at each place"
    unit = "LPIPS"
    top = 1.0

    def __init__(self, lpips: LPIPS, device: torch.device) -> None:
        self.lpips, self.device = lpips, device

    @torch.no_grad()
    def maps(self, images: Tensor) -> Floats:
        """The change from each image to the next, [N - 1, H, W]."""
        size = (images.shape[2], images.shape[3])
        total = torch.zeros(len(images) - 1, *size, device=self.device)
        with exactly(self.device):
            maps = self.lpips.features(images.clamp(-1, 1).to(self.device))
            for features, weight in zip(maps, self.lpips.weights, strict=True):
                distance = ((features[1:] - features[:-1]).square() * weight[:, None, None]).sum(dim=1, keepdim=True)
                total += F.interpolate(distance, size, mode="bilinear", align_corners=False)[:, 0]
        return total.cpu().numpy()


def choose_measure(device: torch.device) -> Measure:
    """LPIPS, or the distance of the colours where the bundled file is missing."""
    entry = catalog.find("lpips-alex")
    if not fetch.installed(entry):
        return ColourDistance()
    lpips = read_module(fetch.installed_path(entry), device, role="perceptual")
    return LPIPSDistance(cast("LPIPS", lpips), device)


def half_area(maps: Floats) -> Floats:
    """For each map [N, H, W] the smallest share of the image that has half of the change: 0 to 0.5."""
    flat = -np.sort(-maps.reshape(len(maps), -1).astype(np.float64), axis=1)
    cumulated = np.cumsum(flat, axis=1)
    return (cumulated < cumulated[:, -1:] / 2).mean(axis=1).astype(np.float32)


def broad_share(images: Tensor) -> Floats:
    """For each of the N - 1 changes, the share of its energy that remains after a blur by 1/32 of the height: 0 to 1.

    Moving shapes and changes of colour are broad; strands of hair and edges are not.
    """
    changes = np.diff(lab(images), axis=0)
    left = np.stack([_blurred(change, _BROAD) for change in changes])
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


def _blurred(values: Floats, part: float) -> Floats:
    """`values` [H, W, ...] blurred with a sigma of `part` of the height."""
    return np.asarray(
        cv2.GaussianBlur(values, (0, 0), part * values.shape[0], borderType=cv2.BORDER_REFLECT), np.float32
    )
