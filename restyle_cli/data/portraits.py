"""The drawn data set: portraits, and toons that match them pixel by pixel, framed as FFHQ frames a photo.

Painter's order, no loop over pixels or people; everything grows and moves continuously with the look. Eyes lie near
.375 and .625 across and .47 down, the mouth near .74 down, where FFHQ's alignment puts them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.data.canvas import Canvas, Head, ellipse, gaussian, saturate, smoothstep, superellipse
from restyle_cli.data.looks import Look, looks, sample_z
from restyle_cli.errors import RestyleError

__all__ = ["HELD_OUT", "STYLES", "draw", "draw_looks", "sample_z"]

STYLES = ("portrait", "toon")
HELD_OUT = 1_000_000  # seeds from here on are never trained on


def draw(z: Tensor, resolution: int, style: str = "portrait") -> Tensor:
    """Codes z [N, Z_DIM] → pictures [N, 3, R, R] in [-1, 1]; the same z in both styles is the same person."""
    return draw_looks(looks(z), resolution, style)


def held_out(n: int, resolution: int, style: str, first_seed: int = HELD_OUT) -> tuple[Tensor, Tensor]:
    """(looks [n, LOOK_DIM], images [n, 3, R, R] in [-1, 1]) that no training has seen; seeds from `first_seed` on."""
    values = looks(sample_z(n, first_seed))
    return values, torch.cat([draw_looks(part, resolution, style) for part in values.split(32)])


@torch.no_grad()
def draw_looks(values: Tensor, resolution: int, style: str = "portrait", finer: int = 2) -> Tensor:
    """Looks [N, LOOK_DIM] → pictures [N, 3, R, R] in [-1, 1]. Drawn `finer` times larger and averaged."""
    if style not in STYLES:
        raise RestyleError(f"no drawing style named {style!r}", f"there are {' and '.join(STYLES)}")
    image = paint(Look(values), values, resolution * finer, style == "toon")
    return F.avg_pool2d(image, finer).clamp(0, 1) * 2 - 1


def paint(look: Look, like: Tensor, resolution: int, toon: bool) -> Tensor:
    """Looks → [N, 3, R, R] in [0, 1], without supersampling."""
    light = look.scalar("light_x", 0.85), look.scalar("light_y", 0.35, -0.45)
    canvas = Canvas(like.shape[0], resolution, light, look.scalar("light_warmth"), toon, like)
    colours = _colours(look, toon)
    head = Head(canvas, look)
    _background(canvas, colours)
    _hair_behind(canvas, head, look, colours)
    _body(canvas, head, look, colours)
    _ears(canvas, head, look, colours)
    face = Face(canvas, head, look, colours)
    face.skin()
    face.beard_and_mouth()
    face.nose()
    for side in (-1, 1):
        face.eye(side)
        face.brow(side)
    _chin_beard(canvas, head, look, colours)
    _hair_in_front(canvas, head, look, colours)
    face.glasses()
    _hat(canvas, head, look, colours)
    return canvas.image


def _colours(look: Look, toon: bool) -> dict[str, Tensor]:
    names = ("skin", "hair", "iris", "lips", "shirt", "trim", "background", "disc")
    colours = {name: look.colour(name) for name in names}
    if toon:
        gains = {
            "skin": 1.15,
            "hair": 1.35,
            "iris": 1.6,
            "shirt": 1.5,
            "trim": 1.5,
            "background": 1.6,
            "disc": 1.6,
        }
        colours |= {name: saturate(colours[name], gain) for name, gain in gains.items()}
        colours["iris"] = (colours["iris"] * 1.15).clamp(0, 1)
    return colours


def _background(canvas: Canvas, colours: dict[str, Tensor]) -> None:
    slope = (0.5 + 0.32 * canvas.y + 0.18 * canvas.x).clamp(0, 1).unsqueeze(1)
    canvas.over(colours["background"] * (1.08 - 0.38 * slope), torch.ones_like(canvas.image[:, 0]))
    disc = torch.sqrt((canvas.x - 0.12 * canvas.light[0]) ** 2 + canvas.y**2 + 1e-6) - 0.56
    canvas.over(colours["disc"] * (1.05 - 0.25 * slope), canvas.cover(disc, 1.5 if canvas.toon else 4.0) * 0.85)


def _volume(look: Look) -> Tensor:
    return look.scalar("hair_volume", 0.07, 0.10)


def _waves(head: Head, canvas: Canvas, look: Look) -> Tensor:
    """How far curls push the outline of the hair."""
    angle = torch.atan2(head.hy + 0.04, head.hx * 1.2)
    return (0.045 if canvas.toon else 0.035) * look.scalar("curl") * torch.sin(11 * angle + 1.2)


def _hair_behind(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    volume, curl = _volume(look), look.scalar("curl")
    width = head.rx * (1.10 + volume + look.scalar("hair_width", 0.10))
    length = (0.30 + 1.05 * smoothstep(0.25, 1.0, look.scalar("hair_length"))) * head.scale
    y = head.hy + 0.04
    reach = torch.where(y < 0, head.ry * (1.03 + volume), length)
    x = head.hx + 0.10 * head.rx * torch.sin(head.yaw)
    d = superellipse(x, y, width, reach, 2.6) + _waves(head, canvas, look) * (0.35 + smoothstep(-0.5, 0.3, y))
    nx, ny = (x / width).clamp(-1, 1), (y / reach).clamp(-1, 1)
    nz = torch.sqrt((1 - 0.8 * nx * nx - 0.35 * ny * ny).clamp_min(0.05))
    colour = colours["hair"] * 0.80
    if not canvas.toon:
        straight = 0.10 * torch.sin(15 * x / width + 2.0 * y) * (1 - curl)
        rings = 0.10 * curl * torch.sin(16 * torch.sqrt(x * x + y * y + 1e-6)) * torch.sin(13 * torch.atan2(y, x * 1.2))
        colour = colour * (1 + straight + rings).unsqueeze(1)
    canvas.layer(canvas.lit(colour, (nx * 0.8, ny * 0.5, nz), 0.35), d, 1.3)


def _body(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    width, top = look.scalar("shoulder_width", 0.14, 0.80), look.scalar("shoulder_height", 0.03, 0.52)
    neck = look.scalar("neck_width", 0.03, 0.17) * head.scale
    x, y = canvas.x - 0.45 * head.cx, canvas.y - top
    d_body = superellipse(x, y - 0.75, width, 0.75 * torch.ones_like(width), 2.3)
    bx, by = (x / width).clamp(-1, 1), ((y - 0.75) / 0.75).clamp(-1, 0)
    bz = torch.sqrt((1 - 0.75 * bx * bx - 0.6 * by * by).clamp_min(0.05))
    canvas.layer(canvas.lit(colours["shirt"], (bx * 0.87, by * 0.77, bz)), d_body)
    collar = torch.maximum(ellipse(x, y + 0.005, neck * 1.42, 0.125), d_body + 0.005)
    canvas.over(colours["trim"] * (1.0 if canvas.toon else 0.85), canvas.cover(torch.maximum(collar - 0.045, d_body)))
    d_neck = torch.maximum(
        torch.maximum(x.abs() - neck * (1 + 0.35 * torch.relu(y + 0.1)), y - 0.10), head.cy - canvas.y
    )
    nx = (x / neck).clamp(-1, 1)
    flat = torch.zeros_like(canvas.y)
    skin = canvas.lit(colours["skin"], (nx * 0.8, flat + 0.12, torch.sqrt(1 - 0.64 * nx * nx)), 0.25, 0.0, 0.12)
    under_chin = canvas.y - head.cy - head.ry * 1.02 - 0.10 * (1 - nx * nx)
    skin = skin * (1 - (0.22 if canvas.toon else 0.38) * (1 - smoothstep(-0.02, 0.26, under_chin))).unsqueeze(1)
    if canvas.toon:
        canvas.over(canvas.ink, canvas.cover(torch.minimum(d_neck - canvas.OUTLINE, collar)))
    canvas.over(skin, canvas.cover(torch.minimum(d_neck, collar)))


def _ears(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    size = look.scalar("ears", 0.25, 1.0) * head.scale
    for side in (-1, 1):
        x = head.hx - side * head.rx * (0.99 * torch.cos(head.yaw) + 0.02) + 0.22 * torch.sin(head.yaw) * head.rx
        y = head.hy - 0.03 + 0.25 * torch.sin(head.pitch) * head.ry
        normal = head.normal(side * 0.35 + x * 4, y * 3, torch.full_like(canvas.x, 0.8))
        canvas.layer(canvas.lit(colours["skin"] * 0.95, normal), ellipse(x, y, 0.055 * size, 0.10 * size))
        if not canvas.toon:
            inner = canvas.cover(ellipse(x + side * 0.006, y, 0.028 * size, 0.066 * size), 3.0)
            canvas.over(colours["skin"] * 0.62, inner * 0.55)


class Face:
    """What is drawn on the front of the head, in its own coordinates U (right) and V (down)."""

    def __init__(self, canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
        self.canvas, self.head, self.look, self.colours = canvas, head, look, colours
        self.toon, self.scale = canvas.toon, head.scale
        self.distance, self.a, self.b, self.c = head.surface()
        u, v, depth = head.turn(self.a, self.b, self.c)
        self.u, self.v = u * head.rx, v * head.ry * 1.02
        self.side = u
        self.front = smoothstep(0.02, 0.22, depth)
        self.visible = canvas.cover(self.distance) * self.front
        self.nose_width = look.scalar("nose_width", 0.018, 0.054) * self.scale
        self.nose_end = look.scalar("nose_length", 0.028, 0.150) * self.scale
        self.nose_u = self.u - 0.05 * torch.sin(head.yaw)
        self.eye_gap = look.scalar("eye_gap", 0.012, 0.145) * self.scale * (1.05 if self.toon else 1.0)
        self.eye_v = look.scalar("eye_height", 0.010, -0.033) * self.scale
        self.mouth_v = look.scalar("mouth_height", 0.018, 0.265) * self.scale

    def decal(self, colour: Tensor, alpha: Tensor) -> None:
        """Paint on the face only."""
        self.canvas.over(colour, alpha * self.visible)

    def lit(self, colour: Tensor, wrap: float) -> Tensor:
        """Shade a colour that follows the head's surface."""
        return self.canvas.lit(colour, self.head.normal(self.a, self.b * 0.85, self.c), wrap)

    def skin(self) -> None:
        """Skin with the nose bending the normal, and cheeks."""
        nx, ny = self.a, self.b * 0.85
        if not self.toon:
            step, height = 0.012, 0.052 * self.scale / (2 * 0.012)
            bend_u = self._nose(self.nose_u + step, self.v) - self._nose(self.nose_u - step, self.v)
            bend_v = self._nose(self.nose_u, self.v + step) - self._nose(self.nose_u, self.v - step)
            nx, ny = nx - bend_u * height * self.front, ny - bend_v * height * self.front
        length = torch.sqrt(nx**2 + ny**2 + self.c**2 + 1e-6)
        normal = self.head.normal(nx / length, ny / length, self.c / length)
        self.canvas.layer(self.canvas.lit(self.colours["skin"], normal, 0.28, 0.10, 0.16), self.distance)
        blush = (self.colours["skin"] * self.canvas.rgb(1.02, 0.70, 0.68)).clamp(0, 1)
        for side in (-1, 1):
            squared = ((self.u - side * 0.20 * self.scale) / 0.085) ** 2 + ((self.v - 0.14 * self.scale) / 0.065) ** 2
            soft = (
                self.canvas.cover(torch.sqrt(squared + 1e-6) - 1, 8.0) * 0.4
                if self.toon
                else torch.exp(-squared) * 0.42
            )
            self.decal(blush, soft)

    def _nose(self, u: Tensor, v: Tensor) -> Tensor:
        down = smoothstep(-0.08, self.nose_end, v)
        profile = down**1.5 * (1 - smoothstep(self.nose_end, self.nose_end + 0.055 * self.scale, v))
        width = self.nose_width * (0.45 + 0.75 * smoothstep(0.0, self.nose_end, v))
        return torch.exp(-0.5 * (u / width) ** 2) * profile

    def nose(self) -> None:
        """Nostrils and the shadow below; a toon's nose is one line."""
        skin, u, v, end = self.colours["skin"], self.nose_u, self.v, self.nose_end
        if self.toon:
            curve = (v - end - 0.012 * (1 - (u / self.nose_width) ** 2)).abs() - 0.008
            self.decal(
                skin * 0.55,
                self.canvas.cover(torch.maximum(curve, u.abs() - self.nose_width * 0.7), 1.2) * 0.9,
            )
            return
        shadow = gaussian(v - end - 0.045 * self.scale, 0.02) * gaussian(u, self.nose_width * 1.1)
        self.decal(skin * 0.6, shadow * 0.35)
        for side in (-1, 1):
            hole = ellipse(
                u - side * self.nose_width * 0.55,
                v - end - 0.022 * self.scale,
                0.017 * self.scale,
                0.010 * self.scale,
            )
            self.decal(skin * 0.36, self.canvas.cover(hole, 1.6) * 0.75)

    def beard_and_mouth(self) -> None:
        """Beard on the cheeks and around the lips; lips, teeth and the dark between."""
        look, scale, cover, v = self.look, self.scale, self.canvas.cover, self.v
        width = look.scalar("mouth_width", 0.028, 0.122) * scale
        smile = look.scalar("smile", 0.085, 0.035) * scale
        opened = look.scalar("mouth_open", 0.085) * scale
        lip = look.scalar("lip_fullness", 0.016, 0.028) * scale
        s = self.u / width
        arch = (1 - s * s).clamp_min(-0.3)
        ends = (s.abs() - 1) * width
        closed = self.mouth_v + smile * (0.42 - s * s)
        upper, lower = closed - (opened * 0.35 + lip) * arch, closed + (opened + lip * 1.35) * arch
        d_lips = torch.maximum(torch.maximum(upper - v, v - lower), ends)
        d_inside = torch.maximum(
            torch.maximum(closed - opened * 0.35 * arch - v, v - closed - opened * arch), ends + 0.03 * width
        )
        edge = self.mouth_v - 0.055 * scale - 0.18 * scale * smoothstep(0.55, 1.0, self.side.abs())
        edge = edge + 0.035 * scale * torch.cos(self.side * 6)
        growth = smoothstep(-0.03, 0.03, v - edge) * _grown(look, "beard") * 0.95
        self.decal(self.lit(_beard_colour(self.colours, self.toon), 0.3), growth * (1 - cover(d_lips - 0.015, 2.0)))
        lips = self.colours["lips"] * (1.0 if self.toon else 0.95)
        if not self.toon:
            below = gaussian(v - lower - 0.028 * scale, 0.018) * gaussian(self.u, 0.06)
            self.decal(self.colours["skin"] * 0.55, below * 0.25 * (1 - _grown(look, "beard")))
        self.decal(lips, cover(d_lips, 1.15))
        if not self.toon:
            shine = gaussian(v - (closed + opened + lip * 0.65), 0.35 * lip) * gaussian(s, 0.45)
            self.decal((lips * 1.25 + 0.06).clamp(0, 1), shine * 0.45)
        self.decal(self.canvas.rgb(0.30, 0.07, 0.09), cover(d_inside, 1.15) * smoothstep(0.002, 0.010, opened))
        teeth = torch.maximum(d_inside + 0.004, v - closed - opened * 0.22)
        self.decal(self.canvas.rgb(0.97, 0.95, 0.92), cover(teeth, 1.15) * smoothstep(0.006, 0.016, opened))
        line = torch.maximum((v - closed).abs() - (0.009 if self.toon else 0.006), ends)
        self.decal(lips * 0.38, cover(line, 1.15) * (1 - smoothstep(0.004, 0.014, opened)) * 0.9)

    def eye(self, side: int) -> None:
        """Socket, white, iris, pupil, highlight, lashes."""
        look, scale, cover, skin = self.look, self.scale, self.canvas.cover, self.colours["skin"]
        wide, high, radius = (
            look.scalar("eye_size", 0.010, 0.080) * scale,
            look.scalar("eye_open", 0.018, 0.053) * scale,
            look.scalar("iris_size", 0.008, 0.051) * scale,
        )
        if self.toon:
            wide, high, radius = wide * 1.22, high * 1.7, radius * 1.45
        slant = look.scalar("eye_slant", 0.14)
        x, y = self.u - side * self.eye_gap, self.v - self.eye_v
        cos, sin = torch.cos(slant), torch.sin(slant) * side
        ax, ay = x * cos + y * sin, y * cos - x * sin
        lid = 1 - (ax / wide) ** 2
        if self.toon:
            lid = torch.sqrt(lid.clamp_min(0)) * 0.9 + lid.clamp_max(0)
        steep = torch.sqrt(1 + (2 * high * ax / wide**2) ** 2)
        d_upper, d_lower = (-ay - high * lid) / steep, (ay - 0.72 * high * lid) / steep
        d_eye = torch.maximum(torch.maximum(d_upper, d_lower), ax.abs() - wide)
        if not self.toon:
            crease = gaussian(-ay - high * lid - 0.022 * scale, 0.014) * smoothstep(-0.1, 0.3, lid)
            self.decal(skin * 0.62, crease * 0.38)
            self.decal(skin * 0.55, cover(d_eye, 5.0) * 0.35)
        inside = cover(d_eye, 1.15)
        shade = 1 - (0.12 if self.toon else 0.30) * smoothstep(0.55, 1.0, -ay / (high * lid.clamp_min(0.05)))
        self.decal(self.canvas.rgb(0.96, 0.95, 0.94) * shade.unsqueeze(1), inside)
        self._iris(
            x - look.scalar("gaze_x", 0.020) * scale,
            y - look.scalar("gaze_y", 0.008) * scale + 0.10 * high,
            radius,
            inside,
        )
        lash = torch.maximum(d_upper.abs() - (0.016 if self.toon else 0.0095) * scale, ax.abs() - wide * 1.04)
        colour = self.canvas.ink if self.toon else self.colours["hair"] * 0.25 + 0.02
        self.decal(colour, cover(lash, 1.15) * 0.92 * (ay < 0.6 * high))

    def _iris(self, x: Tensor, y: Tensor, radius: Tensor, inside: Tensor) -> None:
        cover, colour = self.canvas.cover, self.colours["iris"]
        r = torch.sqrt(x * x + y * y + 1e-8)
        bright = 0.75 + 0.55 * (r / radius).clamp(0, 1) * smoothstep(-1.0, 1.0, y / radius)
        self.decal((colour * bright.unsqueeze(1)).clamp(0, 1), inside * cover(r - radius, 1.15))
        self.decal(colour * 0.35, inside * cover((r - radius * 0.94).abs() - 0.05 * radius, 1.15) * 0.8)
        self.decal(self.canvas.rgb(0.03, 0.03, 0.03), inside * cover(r - radius * 0.42, 1.15))
        spots = [(0.36, -0.42, 0.32 if self.toon else 0.27)] + ([(-0.34, 0.40, 0.16)] if self.toon else [])
        for dx, dy, size in spots:
            spot = torch.sqrt((x - radius * dx) ** 2 + (y - radius * dy) ** 2 + 1e-8) - radius * size
            self.decal(self.canvas.rgb(1.0, 1.0, 1.0), inside * cover(spot, 1.15) * 0.95)

    def brow(self, side: int) -> None:
        """An arched stroke that thins outwards."""
        look, scale = self.look, self.scale
        thick = look.scalar("brow_thickness", 0.0085, 0.0185) * scale
        height = look.scalar("brow_height", 0.022, -0.145) * scale - (0.045 * scale if self.toon else 0)
        t = (self.u * side - self.eye_gap * 1.03) / (0.108 * scale)
        centre = (
            height
            - look.scalar("brow_arch", 0.020, 0.028) * scale * (1 - t * t)
            - look.scalar("brow_angle", 0.038) * scale * t
        )
        thick = thick * (1 - 0.38 * t.clamp(-1, 1) - 0.25 * t * t).clamp_min(0.1)
        d = torch.maximum((self.v - centre).abs() - thick, (t.abs() - 1) * 0.10 * scale)
        colour = self.colours["hair"] * 0.6 + (0.0 if self.toon else 0.03)
        self.decal(colour, self.canvas.cover(d, 1.5) * 0.92)

    def glasses(self) -> None:
        """Frames, bridge, arms, and a glint on each lens; they grow out of nothing."""
        look, scale, cover, u, v = self.look, self.scale, self.canvas.cover, self.u, self.v
        there = _grown(look, "glasses")
        power = look.scalar("glasses_shape", 1.4, 2.8)
        size = look.scalar("glasses_shape", 0.010, 0.112) * scale * (1.10 if self.toon else 1.0)
        thick = 0.016 * there * scale
        colour = self.canvas.rgb(0.10, 0.09, 0.10) + 0.25 * (self.colours["trim"] - 0.3).clamp(0, 1)
        level = self.eye_v + 0.012
        for side in (-1, 1):
            x, y = u - side * self.eye_gap * 1.03, v - level
            d = superellipse(x, y, size * 1.06, size * 0.92, power)
            self.decal(self.canvas.rgb(0.85, 0.87, 0.9), cover(d) * there * 0.14)
            glint = smoothstep(0.028, 0.008, (x + y * 0.8 + 0.03).abs())
            self.decal(self.canvas.rgb(1.0, 1.0, 1.0), cover(d + 0.02) * there * glint * 0.28)
            self.decal(colour, cover(d.abs() - thick, 1.2) * there)
            arm = torch.maximum((y + 0.02).abs() - thick * 0.8, self.eye_gap * 1.03 + size * 1.06 - u * side)
            self.decal(colour, cover(arm) * there)
        bridge = torch.maximum(
            (v - level + 0.025 + 0.25 * u * u).abs() - thick,
            u.abs() - (self.eye_gap * 1.03 - size * 1.06).clamp_min(0.01),
        )
        self.decal(colour, cover(bridge) * there)


def _beard_colour(colours: dict[str, Tensor], toon: bool) -> Tensor:
    """The hair's colour, but never so near the skin's that the beard is lost on it."""
    return torch.minimum(colours["hair"] * (1.0 if toon else 0.85), colours["skin"] * 0.62)


def _chin_beard(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    """The part of a beard that stands out beyond the chin."""
    grown = 1.02 + 0.26 * look.scalar("beard_length", 0.5, 0.5) * smoothstep(0.3, 0.9, head.hy / head.ry)
    d, a, b, c = head.surface(grown)
    d = torch.maximum(d, head.ry * (0.55 + 0.3 * torch.cos(head.jx / head.rx * 2.0)) - head.hy)
    outside = (1 - canvas.cover(head.surface()[0] + 0.03)) * _grown(look, "beard")
    if canvas.toon:
        canvas.over(canvas.ink, canvas.cover(d - canvas.OUTLINE) * outside)
    beard = canvas.lit(_beard_colour(colours, canvas.toon), head.normal(a * 0.8, b * 0.8, c), 0.3)
    canvas.over(beard, canvas.cover(d, 2.0) * outside)


def _grown(look: Look, name: str) -> Tensor:
    """How much of something that a face has or hasn't is there: nearly always all of it or nothing."""
    return smoothstep(0.45, 0.55, look.scalar(name))


def _cap(look: Look) -> Tensor:
    """How much larger than the head the hair's outline is."""
    return 1.035 + 0.75 * _volume(look)


def _hair_in_front(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    """A cap of hair, cut along the hairline; the fringe moves the line from bald to the brows."""
    curl, parting, fringe = (
        look.scalar("curl"),
        look.scalar("parting", 0.42),
        look.scalar("fringe", 0.26, -0.56),
    )
    d_cap, a, b, c = head.surface(_cap(look))
    u, v, depth = head.turn(a, b, c)
    line = fringe + 0.55 * parting * u - 0.132 * torch.cos((u - 0.9 * parting) * 3.0)
    line = line + 0.78 * smoothstep(0.45, 1.02, u.abs()) + 0.035 * curl * torch.sin(18 * u)
    d_line = (v - line) * head.ry * 0.85
    d_line = torch.where(depth > 0, d_line, d_line + 0.3 * depth)
    d = torch.maximum(d_cap + _waves(head, canvas, look) * 0.7 * smoothstep(0.3, -0.4, head.hy), d_line)
    colour = colours["hair"]
    normal = head.normal(a, b, c)
    if canvas.toon:
        ring = smoothstep(0.10, 0.06, (b + 0.60 + 0.25 * a * canvas.light[0] + 0.05 * torch.sin(14 * u)).abs())
        ring, shine = ring * smoothstep(0.7, 0.5, a.abs()), 0.16
        hair = canvas.lit(colour, normal, 0.35)
    else:
        straight = 0.11 * torch.sin(16 * (u - 0.5 * parting) / (1.25 + 0.7 * v.clamp(-1, 1))) * (1 - curl)
        strands = straight + 0.12 * curl * torch.sin(14 * u) * torch.sin(14 * v)
        hair = canvas.lit(colour * (1 + strands).unsqueeze(1), normal, 0.35)
        ring = gaussian(b + 0.62 + 0.25 * a * canvas.light[0], 0.13)
        ring, shine = ring * (0.5 + 0.5 * torch.cos(16 * (u - 0.5 * parting))).clamp(0.3, 1), 0.22
        below = canvas.cover(d_line - 0.02, 8.0) * canvas.cover(head.surface()[0]) * (1 - canvas.cover(d))
        canvas.over(colours["skin"] * 0.55, below * 0.35)
    hair = (hair + (shine * ring * (0.28 + colour.mean(dim=1))).unsqueeze(1)).clamp(0, 1)
    canvas.layer(hair, d, 1.3)


def _hat(canvas: Canvas, head: Head, look: Look, colours: dict[str, Tensor]) -> None:
    """A woollen hat with a band, wider than the hair; it grows from above the head."""
    there = _grown(look, "hat")
    d_top, a, b, c = head.surface(_cap(look) + 0.05 + 0.12 * there)
    u, v, depth = head.turn(a, b, c)
    line = -1.30 + 0.76 * there + 0.10 * u * u
    d_hat = torch.maximum(d_top, torch.where(depth > -0.2, v - line, b - line) * head.ry)
    gone = (1 - smoothstep(0.02, 0.12, there)) * 0.5  # moves the shape out of sight
    normal = head.normal(a, b, c)
    canvas.layer(canvas.lit(0.82 * colours["trim"], normal, 0.35), d_hat + gone)
    band = torch.maximum(d_top - 0.018, torch.maximum(v - line - 0.015, line - 0.23 - v) * head.ry)
    canvas.layer(canvas.lit(colours["trim"], normal, 0.35), band + gone)
