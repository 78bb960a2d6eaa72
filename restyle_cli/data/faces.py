"""Photographic faces of people who do not exist, with known latent codes: blends of aligned photographs.

A *look* has the weights of the blend and the parameters of the scene. Its code is K normal numbers: principal
components of the texture and shape of the face and of the hair, the colour of the hair, and the scene's parameters.
The bundled generator's W is a linear image of these codes (`face_space`), so every rendered face has a known w.

No real person's face is rendered: every face blends at least two people, none with a weight above 0.75.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from restyle_cli.data.accessories import glasses, hat
from restyle_cli.data.face_mesh import affine, apply, ring
from restyle_cli.data.face_photos import HAIRLINE_ROWS, FacePhotos, extended

LARGEST_WEIGHT = 0.75
# The scene's parameters are normal numbers; the renderer bounds them.
POSE = ("yaw", "pitch", "roll", "right", "down", "scale")
ACCESSORIES = ("glasses", "glasses_round", "glasses_thick", "glasses_tone", "hat", "hat_light", "hat_a", "hat_b")
LIGHT = ("light_x", "light_y", "exposure", "warmth", "tint", "contrast", "saturation")
HAIR_COLOUR = ("hair_light", "hair_a", "hair_b")
COLOURS = (*HAIR_COLOUR, "wall_light", "wall_a", "wall_b", "wall_x", "wall_y")
CLOTHES = ("clothes_light", "clothes_a", "clothes_b")
SCENE = (*POSE, *ACCESSORIES, *LIGHT, *COLOURS, *CLOTHES)
HAIR_COLOURS = np.array(  # Lab: black, dark brown, brown, red, blond, light blond, grey, white
    [(12, 1, 1), (20, 4, 6), (32, 9, 15), (38, 20, 27), (56, 8, 25), (70, 4, 22), (55, 0, 2), (76, 0, 3)], np.float32
)
HAIR_ODDS = (0.12, 0.16, 0.18, 0.16, 0.16, 0.12, 0.05, 0.05)
HAIR_MEAN, HAIR_SPREAD = np.array((30, 5, 9), np.float32), np.array((18, 6, 9), np.float32)


def bounded(x: float, slope: float = 0.7) -> float:
    """A normal number to (-1, 1)."""
    return float(np.tanh(slope * x))


@dataclass(frozen=True)
class Look:
    """Weights over the photographs [N] of face texture, face shape and hair, and the scene's parameters by name."""

    texture: np.ndarray
    shape: np.ndarray
    hair: np.ndarray
    scene: dict[str, float]


class Faces:
    """Blends of the people of some photographs."""

    def __init__(self, photos: FacePhotos) -> None:
        self.photos, self.size, self.mesh = photos, photos.size, photos.mesh
        self.people = sorted({name[:3] for name in photos.names})
        self.face = photos.face
        self.textures = filled_textures(photos).reshape(len(photos.names), -1)

    def look(self, rng: np.random.Generator) -> Look:
        """A random person in a random scene."""
        smiling = rng.random() if rng.random() < 0.5 else float(rng.random() < 0.4)
        texture = self._weights(rng, smiling)
        shape = texture if rng.random() < 0.6 else self._weights(rng, smiling)
        hair = np.zeros(len(self.photos.names), np.float32)
        hair[self._photo(rng.choice(self.people), rng.random() < smiling, rng)] = 1
        scene = dict(zip(SCENE, rng.standard_normal(len(SCENE)).tolist(), strict=True))
        own = self.hair_lab[hair.argmax()]
        lab = own
        if rng.random() < 0.4 and self.has_hair[hair.argmax()]:
            lab = HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=HAIR_ODDS)] + rng.normal(0, (4, 2, 3))
            lab[0] = np.clip(lab[0], own[0] - 22, own[0] + 26)  # outside this range it does not look like hair
        scene |= dict(zip(HAIR_COLOUR, ((lab - HAIR_MEAN) / HAIR_SPREAD).tolist(), strict=True))
        return Look(texture, shape, hair, scene)

    def natural_hair(self, hair: np.ndarray) -> np.ndarray:
        """The scene's HAIR_COLOUR [3] of the hair of the weighted photographs [N], as photographed."""
        return (hair @ self.hair_lab - HAIR_MEAN) / HAIR_SPREAD

    def _photo(self, person: str, smiling: bool, rng: np.random.Generator) -> int:
        names = [k for k, name in enumerate(self.photos.names) if name[:3] == person]
        wanted = [k for k in names if self.photos.names[k].endswith("s") == smiling]
        return int(rng.choice(wanted or names))

    def _weights(self, rng: np.random.Generator, smiling: float) -> np.ndarray:
        """A blend of two to five people, moved away from the mean, so that faces are not all average."""
        count = rng.integers(2, 6)
        shares = rng.dirichlet(np.full(count, 1.5))
        largest, push = shares.argmax(), rng.uniform(1.0, 1.6)
        if shares[largest] > LARGEST_WEIGHT:
            shares *= (1 - LARGEST_WEIGHT) / (1 - shares[largest])
            shares[largest] = LARGEST_WEIGHT
        push = min(push, LARGEST_WEIGHT / shares[largest])
        weights = np.full(len(self.photos.names), (1 - push) / len(self.photos.names), np.float32)
        for person, share in zip(rng.choice(self.people, count, replace=False), shares, strict=True):
            weights[self._photo(person, rng.random() < smiling, rng)] += push * share
        return weights

    def render(self, look: Look) -> np.ndarray:
        """The image [S, S, 3] in [0, 1]."""
        scene = look.scene
        colour, opacity = self._person(look)
        colour = colour * self._light(scene)[..., None]
        layers = np.dstack([colour * opacity[..., None], opacity])
        warped = self.mesh.warp(extended(layers, self.size // 12), self.target(look), self.mesh.points)
        image = warped[..., :3] + (1 - warped[..., 3:]) * self._wall(scene)
        return self._tone(image, scene)

    def shape(self, look: Look) -> np.ndarray:
        """The mesh's points [K, 2] before the head turns: the blended face with the ears, hair and neck of the hair."""
        shapes = self.photos.shapes
        face = np.tensordot(look.shape, shapes[:, :68], 1)
        hair = np.tensordot(look.hair, shapes, 1)
        points = apply(affine(hair[:68], face), hair)
        points[:68] = face
        hairline = HAIRLINE_ROWS
        own = np.tensordot(look.shape, shapes[:, hairline], 1)
        points[hairline] = 0.5 * (points[hairline] + own)
        points[-len(ring()) :] = self.mesh.points[-len(ring()) :]
        return points.astype(np.float32)

    def target(self, look: Look) -> np.ndarray:
        """The points [K, 2] in the image: rotated, moved and scaled."""
        scene, size = look.scene, self.size
        points = self.mesh.turned(self.shape(look), 0.42 * bounded(scene["yaw"]), 0.22 * bounded(scene["pitch"]))
        roll, scale = 0.07 * bounded(scene["roll"]), 1 + 0.06 * bounded(scene["scale"])
        turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        centre = points[36:48].mean(0)
        shift = 0.035 * size * np.array([bounded(scene["right"]), bounded(scene["down"])])
        inner = slice(0, len(points) - len(ring()))
        points[inner] = (points[inner] - centre) @ turn.T + centre + shift
        return points.astype(np.float32)

    def _person(self, look: Look) -> tuple[np.ndarray, np.ndarray]:
        """Colour [S, S, 3] and opacity [S, S] in the mean shape, in even light."""
        photos, scene = self.photos, look.scene
        texture = np.tensordot(look.texture, self.textures, 1).reshape(self.size, self.size, 3).clip(0, 1)
        skin = look.texture @ photos.skin_colour
        chosen = np.flatnonzero(look.hair)
        mix = lambda maps: sum(look.hair[k] * maps[k].astype(np.float32) for k in chosen) / 255  # noqa: E731
        opacity, skin_mask, hair_mask, clothes = (
            mix(m) for m in (photos.opacity, photos.skin, photos.hair, photos.clothes)
        )
        fringe = mix(photos.fringe)
        shares = [look.hair[k] * photos.opacity[k].astype(np.float32) / 255 for k in chosen]
        rest = sum(
            s[..., None] * photos.colours[k].astype(np.float32) / 255 for s, k in zip(shares, chosen, strict=True)
        )
        rest = rest / np.maximum(sum(shares), 1e-3)[..., None]
        gain = (skin + 0.03) / (look.hair @ photos.skin_colour + 0.03)
        rest = rest * (1 + skin_mask[..., None] * (gain - 1))
        rest = self._recoloured(rest, hair_mask, look)
        dye = clothes_colour(scene)
        rest = rest * (1 + clothes[..., None] * (dye - 1))
        share = (self.face * (1 - fringe))[..., None]
        colour = share * texture + (1 - share) * rest.clip(0, 1)
        opacity = np.maximum(opacity, self.face)
        return self._accessories(colour, opacity, scene)

    def _recoloured(self, colour: np.ndarray, mask: np.ndarray, look: Look) -> np.ndarray:
        wanted = HAIR_MEAN + HAIR_SPREAD * [look.scene[k] for k in HAIR_COLOUR]
        own = look.hair @ self.hair_lab
        if np.abs(wanted - own).max() < 1:
            return colour
        lab = cv2.cvtColor(colour.clip(0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
        spread = np.clip((wanted[0] + 12) / (own[0] + 12), 0.6, 1.6)  # strands of light hair differ more
        light = wanted[0] + (lab[..., :1] - own[0]) * spread
        tint = wanted[1:] * np.clip(light / max(wanted[0], 1), 0.3, 1.5) + 0.5 * (lab[..., 1:] - own[1:])
        dyed = cv2.cvtColor(np.concatenate([light.clip(2, 98), tint], -1).astype(np.float32), cv2.COLOR_LAB2RGB)
        return colour + mask[..., None] * (dyed - colour)

    def _accessories(
        self, colour: np.ndarray, opacity: np.ndarray, scene: dict[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        points = self.mesh.points
        worn = np.clip((scene["hat"] - 1.75) * 8, 0, 1)
        if worn > 0:
            mask, shade, hidden = hat(points, points[HAIRLINE_ROWS], self.size)
            knit = lab_colour(
                45 + 30 * bounded(scene["hat_light"], 1), 35 * bounded(scene["hat_a"]), 35 * bounded(scene["hat_b"])
            )
            cover = (worn * mask)[..., None]
            colour = (1 - cover) * colour + cover * (knit * shade[..., None]).clip(0, 1)
            opacity = np.maximum(opacity * (1 - worn * hidden * (1 - mask)), cover[..., 0])
        worn = np.clip((scene["glasses"] - 1.15) * 8, 0, 1)
        if worn > 0:
            round_, thick = (0.5 + 0.5 * bounded(scene[k], 1) for k in ("glasses_round", "glasses_thick"))
            frames, lenses = np.moveaxis(worn * glasses(points, self.size, round_, thick), -1, 0)
            tone = 0.08 + 0.25 * max(0.0, bounded(scene["glasses_tone"], 1)) * np.array((1.2, 0.9, 0.6))
            colour = colour + 0.04 * lenses[..., None] * (1 - colour)
            shadow = cv2.GaussianBlur(np.roll(frames, round(0.015 * self.size), 0), (0, 0), 0.012 * self.size)
            colour = colour * (1 - 0.35 * shadow[..., None])
            colour = (1 - frames[..., None]) * colour + frames[..., None] * tone
            opacity = np.maximum(opacity, frames)
        return colour, opacity

    def _light(self, scene: dict[str, float]) -> np.ndarray:
        """[S, S]: the brightness of the light on each part of the head."""
        x, y = 0.6 * bounded(scene["light_x"]), 0.35 * bounded(scene["light_y"])
        slope = self.mesh.normals
        return np.exp(x * slope[..., 0] + y * slope[..., 1]).astype(np.float32)

    def _wall(self, scene: dict[str, float]) -> np.ndarray:
        """[S, S, 3]: a colour with a gradient."""
        light = 52 + 40 * bounded(scene["wall_light"], 0.9)
        base = lab_colour(light, 22 * bounded(scene["wall_a"], 0.8), 26 * bounded(scene["wall_b"], 0.8))
        y, x = np.mgrid[0 : self.size, 0 : self.size].astype(np.float32) / self.size - 0.5
        slope = 0.55 * (bounded(scene["wall_x"], 0.5) * x + bounded(scene["wall_y"], 0.5) * y)
        return base * np.exp(slope)[..., None]

    def _tone(self, image: np.ndarray, scene: dict[str, float]) -> np.ndarray:
        """The camera: exposure, white balance, contrast and saturation."""
        warmth, tint = 0.13 * bounded(scene["warmth"]), 0.07 * bounded(scene["tint"])
        image = image * np.exp(0.28 * bounded(scene["exposure"]) + np.array((warmth, -tint, -warmth)))
        image = image.clip(0, 1) ** np.exp(0.28 * bounded(scene["contrast"]))
        grey = image @ np.array((0.299, 0.587, 0.114))
        image = grey[..., None] + (image - grey[..., None]) * (1 + 0.3 * bounded(scene["saturation"]))
        return image.clip(0, 1).astype(np.float32)

    @cached_property
    def has_hair(self) -> np.ndarray:
        """[N]: whether there is enough hair, of another colour than the skin, to recolour it."""
        skin = cv2.cvtColor(self.photos.skin_colour[None], cv2.COLOR_RGB2LAB)[0]
        apart = np.abs(self.hair_lab - skin).sum(1)
        return (self.photos.hair.mean((1, 2)) / 255 > 0.05) & (apart > 22)

    @cached_property
    def hair_lab(self) -> np.ndarray:
        """[N, 3]: the mean colour of the hair."""
        found = []
        for colour, mask, opacity in zip(self.photos.colours, self.photos.hair, self.photos.opacity, strict=True):
            lab = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            weight = mask.astype(np.float32) * opacity + 1e-3
            found.append((lab * weight[..., None]).sum((0, 1)) / weight.sum())
        return np.array(found, np.float32)


def lab_colour(light: float, a: float, b: float) -> np.ndarray:
    """A colour [3] in [0, 1] from Lab."""
    return cv2.cvtColor(np.array([[[light, a, b]]], np.float32), cv2.COLOR_LAB2RGB)[0, 0].clip(0, 1)


def clothes_colour(scene: dict[str, float]) -> np.ndarray:
    """The colour [3] that white clothes are multiplied with."""
    light = 60 + 42 * bounded(scene["clothes_light"], 1.2)
    return lab_colour(min(light, 98), 30 * bounded(scene["clothes_a"]), 30 * bounded(scene["clothes_b"]))


def filled_textures(photos: FacePhotos) -> np.ndarray:
    """[N, S, S, 3] in [0, 1]: the faces, with the mean skin of the others under a fringe."""
    colours = photos.colours.astype(np.float32) / 255
    hidden = photos.fringe.astype(np.float32)[..., None] / 255
    gain = (photos.skin_colour + 0.03)[:, None, None]
    seen = 1.001 - hidden
    mean = (seen * colours / gain).sum(0) / seen.sum(0)
    for k in range(len(colours)):
        colours[k] += hidden[k] * ((mean * gain[k]).clip(0, 1) - colours[k])
    return colours
