"""What a drawn portrait looks like, as numbers: random z → a bounded *look*, one column per trait.

A look is what the renderer reads and what the embedded generator's w is a linear image of. Its columns fall into the
three groups that StyleGAN's layers are known for: coarse (pose, outlines), middle (features), fine (colour, light).
Being bounded and continuous, looks may be averaged (truncation) and exchanged group by group (style mixing), and
every such look can be drawn.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.ops.layers import pixel_norm

COARSE, MIDDLE, FINE = range(3)

# One column each: name → how it comes from a normal number. "swing" is tanh(0.6 p) in [-1, 1]; a pair (slope,
# threshold) grows from 0 to 1 around the threshold; "share" is the normal distribution function, in [0, 1].
COARSE_TRAITS: dict[str, str | tuple[float, float]] = {
    "yaw": "swing",
    "pitch": "swing",
    "roll": "swing",
    "head_x": "swing",
    "head_y": "swing",
    "scale": "swing",
    "face_width": "swing",
    "face_height": "swing",
    "jaw": "swing",
    "chin": "swing",
    "hair_length": "share",
    "hair_width": "swing",
    "hair_volume": "swing",
    "curl": (6.0, 0.5),
    "neck_width": "swing",
    "shoulder_width": "swing",
    "shoulder_height": "swing",
    "ears": "swing",
    "hat": (16.0, 0.7),
    "beard_length": "swing",
}
MIDDLE_TRAITS: dict[str, str | tuple[float, float]] = {
    "eye_size": "swing",
    "eye_gap": "swing",
    "eye_height": "swing",
    "eye_open": "swing",
    "eye_slant": "swing",
    "gaze_x": "swing",
    "gaze_y": "swing",
    "iris_size": "swing",
    "brow_height": "swing",
    "brow_angle": "swing",
    "brow_arch": "swing",
    "brow_thickness": "swing",
    "nose_length": "swing",
    "nose_width": "swing",
    "mouth_width": "swing",
    "mouth_height": "swing",
    "smile": "swing",
    "mouth_open": (4.0, 0.35),
    "lip_fullness": "swing",
    "beard": (12.0, 0.7),
    "glasses": (16.0, 0.6),
    "glasses_shape": "swing",
    "fringe": "swing",
    "parting": "swing",
}
LIGHT_TRAITS: dict[str, str | tuple[float, float]] = {
    "light_x": "swing",
    "light_y": "swing",
    "light_warmth": "swing",
}
# Colours take three columns each; the numbers of z they are made of.
COLOUR_SOURCES = {
    "skin": ("skin_tone", "skin_warmth"),
    "hair": ("hair_tone", "hair_red"),
    "iris": ("iris_tone",),
    "lips": ("lip_red",),
    "shirt": ("shirt_a", "shirt_b", "shirt_light"),
    "trim": ("trim_a", "trim_b"),
    "background": ("background_a", "background_b", "background_light"),
    "disc": ("disc_a", "disc_b"),
}

SKIN = (
    (1.0, 0.87, 0.77),
    (0.97, 0.78, 0.64),
    (0.89, 0.66, 0.49),
    (0.74, 0.50, 0.34),
    (0.55, 0.35, 0.23),
    (0.36, 0.22, 0.15),
)
HAIR = (
    (0.07, 0.06, 0.07),
    (0.16, 0.10, 0.08),
    (0.33, 0.20, 0.12),
    (0.55, 0.36, 0.19),
    (0.83, 0.64, 0.36),
    (0.90, 0.87, 0.82),
)
IRIS = (
    (0.24, 0.13, 0.07),
    (0.36, 0.21, 0.10),
    (0.42, 0.36, 0.16),
    (0.25, 0.46, 0.30),
    (0.25, 0.47, 0.68),
    (0.40, 0.60, 0.82),
)
OPPONENT_A, OPPONENT_B = (1.0, -0.45, -0.55), (0.25, 0.45, -0.85)

TRAITS = COARSE_TRAITS | MIDDLE_TRAITS | LIGHT_TRAITS
Z_NAMES = (*TRAITS, *(source for sources in COLOUR_SOURCES.values() for source in sources))
Z_DIM = len(Z_NAMES)
COLUMNS = (*TRAITS, *(f"{name}.{channel}" for name in COLOUR_SOURCES for channel in "rgb"))
LOOK_DIM = len(COLUMNS)


def _group(column: str) -> int:
    return COARSE if column in COARSE_TRAITS else MIDDLE if column in MIDDLE_TRAITS else FINE


COLUMN_GROUPS = torch.tensor([_group(column) for column in COLUMNS])


def sample_z(n: int, seed: int) -> Tensor:
    """`n` random codes [n, Z_DIM], each of mean square 1; the same seed gives the same codes everywhere."""
    return pixel_norm(torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed)))


def looks(z: Tensor) -> Tensor:
    """The looks [N, LOOK_DIM] that codes z [N, Z_DIM] stand for (z of mean square 1)."""
    p = {name: z[:, index] for index, name in enumerate(Z_NAMES)}
    columns = [_trait(p[name], kind) for name, kind in TRAITS.items()]
    for colour in _colours(p).values():
        columns.extend(colour.unbind(dim=1))
    return torch.stack(columns, dim=1)


class Look:
    """Columns of looks [N, LOOK_DIM] by name: scalars as [N, 1, 1], colours as [N, 3, 1, 1]."""

    def __init__(self, values: Tensor) -> None:
        self._scalars = {name: values[:, i].reshape(-1, 1, 1) for i, name in enumerate(TRAITS)}
        first = len(TRAITS)
        self._colours = {
            name: values[:, first + 3 * i : first + 3 * i + 3].reshape(-1, 3, 1, 1)
            for i, name in enumerate(COLOUR_SOURCES)
        }

    def scalar(self, name: str, span: float = 1.0, middle: float = 0.0) -> Tensor:
        """middle + span * column."""
        return middle + span * self._scalars[name]

    def colour(self, name: str) -> Tensor:
        """RGB in [0, 1]."""
        return self._colours[name]


def _trait(p: Tensor, kind: str | tuple[float, float]) -> Tensor:
    if isinstance(kind, tuple):
        slope, threshold = kind
        return torch.sigmoid(slope * (p - threshold))
    return torch.tanh(0.6 * p) if kind == "swing" else _share(p)


def _share(p: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(p / math.sqrt(2)))


def _palette(stops: tuple[tuple[float, float, float], ...], share: Tensor) -> Tensor:
    """Piecewise linear through the stops: share [N] in [0, 1] → [N, 3]."""
    table = torch.tensor(stops, dtype=share.dtype, device=share.device)
    position = (share * (len(stops) - 1)).clamp(0, len(stops) - 1 - 1e-4)
    index = position.floor().long()
    fraction = (position - index).unsqueeze(1)
    return table[index] * (1 - fraction) + table[index + 1] * fraction


def _opponent(a: Tensor, b: Tensor, lightness: Tensor, strength: float) -> Tensor:
    """A colour from two opponent axes, saturating smoothly: [N, 3]."""
    radius = torch.sqrt(a * a + b * b + 0.05)
    a, b = a / radius * torch.tanh(0.8 * radius), b / radius * torch.tanh(0.8 * radius)
    first, second = (torch.tensor(axis, dtype=a.dtype, device=a.device) for axis in (OPPONENT_A, OPPONENT_B))
    colour = lightness[:, None] + strength * (a[:, None] * first + b[:, None] * second)
    return colour.clamp(0.12, 0.93)


def _colours(p: dict[str, Tensor]) -> dict[str, Tensor]:
    def tint(rgb: tuple[float, float, float], amount: Tensor) -> Tensor:
        return torch.tensor(rgb, dtype=amount.dtype, device=amount.device) * amount[:, None]

    skin = _palette(SKIN, _share(p["skin_tone"])) + tint((0.035, 0.0, -0.045), torch.tanh(0.6 * p["skin_warmth"]))
    skin = skin.clamp(0, 1)
    red = torch.relu(torch.tanh(0.6 * p["hair_red"]))
    hair = (_palette(HAIR, _share(p["hair_tone"])) + tint((0.24, -0.02, -0.06), red)).clamp(0.04, 0.95)
    lips = skin * torch.tensor((0.86, 0.56, 0.56), dtype=skin.dtype, device=skin.device)
    painted = torch.tensor((0.78, 0.16, 0.24), dtype=skin.dtype, device=skin.device)
    lips = lips + (painted - lips) * (0.75 * torch.sigmoid(3 * (p["lip_red"] - 0.6)))[:, None]
    swing = {name: torch.tanh(0.6 * p[name]) for name in ("shirt_light", "background_light")}
    flat = torch.ones_like(p["skin_tone"])
    return {
        "skin": skin,
        "hair": hair,
        "iris": _palette(IRIS, _share(p["iris_tone"])),
        "lips": lips,
        "shirt": _opponent(p["shirt_a"], p["shirt_b"], 0.47 + 0.24 * swing["shirt_light"], 0.38),
        "trim": _opponent(p["trim_a"], p["trim_b"], 0.62 * flat, 0.38),
        "background": _opponent(p["background_a"], p["background_b"], 0.62 + 0.2 * swing["background_light"], 0.28),
        "disc": _opponent(p["disc_a"], p["disc_b"], 0.74 + 0.12 * swing["background_light"], 0.25),
    }


class LookSpace:
    """The linear map from looks to W: each column standardised, then sent along a fixed random direction.

    The mean look lands at w = 0 and every w has a mean square near 1, so truncation is linear in the look, and the
    direction of a trait is known.
    """

    def __init__(self, w_dim: int, samples: int = 8192) -> None:
        values = looks(sample_z(samples, seed=0))
        self.mean, self.spread = values.mean(dim=0), values.std(dim=0)
        self.least, self.most = values.amin(dim=0), values.amax(dim=0)
        directions = torch.randn(LOOK_DIM, w_dim, generator=torch.Generator().manual_seed(0))
        self.directions = directions / math.sqrt(LOOK_DIM)

    def embed(self, values: Tensor) -> Tensor:
        """Looks [..., LOOK_DIM] → w [..., w_dim]."""
        return ((values - self.mean) / self.spread) @ self.directions

    def truncated(self, values: Tensor, psi: Tensor) -> Tensor:
        """Looks pulled towards the mean look by psi [N] (1 leaves them, 0 is the mean)."""
        return self.mean + psi[:, None] * (values - self.mean)

    def emphasised(self, change: Tensor, weights: dict[str, float]) -> Tensor:
        """A change of codes [..., w_dim] with the parts that named traits or colours make so many times as long.

        It must be made of the columns' directions only. RestyleError names a column that is not there.
        """
        gains = torch.ones(LOOK_DIM)
        for name, gain in weights.items():
            found = [index for index, column in enumerate(COLUMNS) if name in (column, column.split(".")[0])]
            if not found:
                raise RestyleError(f"no trait or colour named '{name}'", f"there are {', '.join(COLUMNS)}")
            gains[found] = gain
        return ((change @ self.coordinates) * gains) @ self.directions

    def beyond(self, w: Tensor) -> Tensor:
        """What separates codes [..., w_dim] from that of the nearest look that is drawn: zero within W.

        The look nearest in each column is taken, which is near to the nearest one.
        """
        columns = self.mean + self.spread * (w @ self.coordinates)
        return w - self.embed(torch.clamp(columns, self.least, self.most))

    @cached_property
    def coordinates(self) -> Tensor:
        """What undoes `directions`: [w_dim, LOOK_DIM]."""
        return torch.linalg.pinv(self.directions)

    def deviation(self) -> Tensor:
        """The standard deviation of each coordinate of W: [w_dim]. Columns of looks are nearly independent."""
        return self.directions.square().sum(dim=0).sqrt()
