"""Painting with signed distances: shapes, shading and layers over [N, 3, H, W] pictures.

A shape is a distance map d [N, H, W], negative inside; its coverage is a soft step one pixel wide, so edges are
smooth at any resolution. Lengths are in half pictures, divided by the zoom that frames the face.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restyle_cli.data.looks import Look

ZOOM = 1.75


def smoothstep(a: float | Tensor, b: float | Tensor, x: Tensor) -> Tensor:
    """0 below a, 1 above b, smooth between; a > b turns it round."""
    t = ((x - a) / (b - a)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def ellipse(x: Tensor, y: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
    """Approximate distance to an axis-aligned ellipse."""
    k = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    slope = torch.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9)
    return k * (k - 1) / slope


def superellipse(x: Tensor, y: Tensor, rx: Tensor, ry: Tensor, power: float | Tensor) -> Tensor:
    """Approximate distance to |x/rx|^p + |y/ry|^p = 1; p = 2 is the ellipse, larger p is squarer."""
    a, b = (x.abs() / rx).clamp_min(1e-4), (y.abs() / ry).clamp_min(1e-4)
    k = (a**power + b**power) ** (1 / power)
    slope_x, slope_y = (a / k) ** (power - 1) / rx, (b / k) ** (power - 1) / ry
    return (k - 1) / torch.sqrt(slope_x**2 + slope_y**2 + 1e-9)


def saturate(colour: Tensor, gain: float) -> Tensor:
    """Move colours [N, 3, …] away from their grey."""
    grey = colour.mean(dim=1, keepdim=True)
    return (grey + gain * (colour - grey)).clamp(0, 1)


def unit(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The vector (x, y, z) at length 1."""
    length = torch.sqrt(x * x + y * y + z * z + 1e-6)
    return x / length, y / length, z / length


class Canvas:
    """The picture so far, with the light that falls on it; `toon` draws two-tone shading and ink outlines."""

    INK = (0.13, 0.09, 0.12)
    OUTLINE = 0.016

    def __init__(
        self, n: int, resolution: int, light: tuple[Tensor, Tensor], warmth: Tensor, toon: bool, like: Tensor
    ) -> None:
        self.n, self.resolution, self.toon = n, resolution, toon
        self.like = like
        axis = (torch.arange(resolution, device=like.device, dtype=like.dtype) + 0.5) / resolution * 2 - 1
        self.x, self.y = axis.view(1, 1, -1) / ZOOM, axis.view(1, -1, 1) / ZOOM
        self.pixel = 2.0 / resolution / ZOOM
        self.light = unit(light[0], light[1], torch.ones_like(light[0]))
        self.warmth = self.rgb(0.06, 0.0, -0.07) * warmth.unsqueeze(1)
        self.image = like.new_zeros(n, 3, resolution, resolution)

    def rgb(self, red: float, green: float, blue: float) -> Tensor:
        """A colour constant [1, 3, 1, 1]."""
        return torch.tensor((red, green, blue), dtype=self.like.dtype, device=self.like.device).view(1, 3, 1, 1)

    @property
    def ink(self) -> Tensor:
        """The colour of outlines."""
        return self.rgb(*self.INK)

    def cover(self, distance: Tensor, softness: float = 1.0) -> Tensor:
        """Distance → coverage in [0, 1], `softness` pixels wide at 256 px (never under one pixel)."""
        width = max(self.pixel, softness * 2.0 / 256 / ZOOM)
        return (0.5 - distance / width).clamp(0, 1)

    def over(self, colour: Tensor, alpha: Tensor) -> None:
        """Lay a colour [N, 3, ·, ·] over the picture with coverage [N, H, W]."""
        self.image = self.image + (colour - self.image) * alpha.unsqueeze(1)

    def layer(self, colour: Tensor, distance: Tensor, softness: float = 1.0) -> None:
        """Lay a shape over the picture; a toon gets its ink outline first."""
        if self.toon:
            self.over(self.ink, self.cover(distance - self.OUTLINE, softness))
        self.over(colour, self.cover(distance, softness))

    def lit(
        self,
        colour: Tensor,
        normal: tuple[Tensor, Tensor, Tensor],
        wrap: float = 0.25,
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> Tensor:
        """Shade a colour: wrapped Lambert, a little red where light turns to shade (`glow`), a highlight (`gloss`)."""
        nx, ny, nz = normal
        lx, ly, lz = self.light
        facing = nx * lx + ny * ly + nz * lz
        if self.toon:
            return (colour * ((0.74 + 0.3 * smoothstep(0.34, 0.46, facing)).unsqueeze(1) + self.warmth)).clamp(0, 1)
        amount = 0.34 + 0.78 * ((facing + wrap) / (1 + wrap)).clamp(0, 1)
        shaded = colour * (amount.unsqueeze(1) + self.warmth)
        if glow:
            day = facing.clamp(0, 1)
            shaded = shaded + self.rgb(1.0, 0.25, 0.1) * (glow * day * (1 - day)).unsqueeze(1) * colour
        if gloss:
            half = (nx * lx + ny * ly + nz * (lz + 1)) / torch.sqrt(lx**2 + ly**2 + (lz + 1) ** 2)
            shaded = shaded + (gloss * half.clamp(0, 1) ** 22).unsqueeze(1)
        return shaded.clamp(0, 1)


class Head:
    """The head: a disc with a jaw, whose height field is a sphere; turning it gives coordinates on the face.

    `face(x)` coordinates U, V (half pictures, V downwards) move with parallax and foreshorten when the head turns, so
    everything drawn in them is glued to the face.
    """

    def __init__(self, canvas: Canvas, look: Look) -> None:
        scalar = look.scalar
        self.scale = scalar("scale", 0.022, 1.0)
        self.cx, self.cy = scalar("head_x", 0.006), scalar("head_y", 0.006, 0.002)
        self.yaw, self.pitch, roll = scalar("yaw", 0.16), scalar("pitch", 0.08), scalar("roll", 0.02)
        self.rx = scalar("face_width", 0.045, 0.365) * self.scale
        self.ry = scalar("face_height", 0.035, 0.475) * self.scale
        self._cos, self._sin = torch.cos(roll), torch.sin(roll)
        dx, dy = canvas.x - self.cx, canvas.y - self.cy
        self.hx, self.hy = dx * self._cos + dy * self._sin, dy * self._cos - dx * self._sin
        low = torch.relu(self.hy / self.ry + 0.05)
        high = torch.relu(-self.hy / self.ry)
        self.jx = self.hx - 0.16 * self.rx * torch.sin(self.yaw) * low  # the chin turns with the head
        taper = scalar("jaw", 0.15, 0.27)
        self._width = (1 - taper * low**2 / (1 + 0.25 * low) - 0.04 * high**2).clamp_min(0.3)
        self._height = torch.where(self.hy > 0, self.ry * scalar("chin", 0.07, 1.06), self.ry)

    def surface(self, grown: float | Tensor = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(distance, a, b, c): outline grown by a factor, and the unit sphere's point over each pixel."""
        rx, ry = self.rx * self._width * grown, self._height * grown
        a, b = self.jx / rx, self.hy / ry
        k = torch.sqrt(a * a + b * b + 1e-9)
        slope = torch.sqrt((a / rx) ** 2 + (b / ry) ** 2 + 1e-9)
        return k * (k - 1) / slope, a, b, torch.sqrt((1 - a * a - b * b).clamp_min(1e-4))

    def turn(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sphere point → (u, v, depth) on the turned head."""
        cy, sy, cp, sp = (f(t) for t in (self.yaw, self.pitch) for f in (torch.cos, torch.sin))
        u, w = a * cy - c * sy, a * sy + c * cy
        return u, b * cp - w * sp, b * sp + w * cp

    def normal(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A normal in the head's frame → in the picture's."""
        return a * self._cos - b * self._sin, a * self._sin + b * self._cos, c


def gaussian(x: Tensor, sigma: float | Tensor) -> Tensor:
    """exp(-(x / sigma)²)."""
    return torch.exp(-((x / sigma) ** 2))
