"""Aligned photographs of people, warped to one mean shape: the material that `faces` blends.

A folder holds square photographs `NAME.jpg`, aligned as FFHQ, and `points.json`: for each name `landmarks68` [68, 2]
and, for one photograph of each person, `template189` [189, 2], in units of the side. The first three letters of a name
are the person. The expected set is L. DeBruine, B. Jones, *Face Research Lab London Set* (2017), CC BY 4.0,
doi 10.6084/m9.figshare.5047666, with a smooth grey wall as background.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from restyle_cli.data.face_mesh import HAIRLINE, TEMPLATE_DEPTH, FaceMesh, apply, ring, similarity
from restyle_cli.data.matting import matte
from restyle_cli.errors import RestyleError

PHOTO_SIZE = 512  # pixels per side at which people are separated from the wall
EYES_AND_NOSE = slice(27, 48)
HAIRLINE_ROWS = slice(
    68 + list(TEMPLATE_DEPTH).index(min(HAIRLINE)), 68 + list(TEMPLATE_DEPTH).index(max(HAIRLINE)) + 1
)


@dataclass(frozen=True)
class FacePhotos:
    """N photographs at `size` pixels. Maps are bytes in the mean shape; shapes are in pixels of the photographs."""

    size: int
    names: tuple[str, ...]
    shapes: np.ndarray  # [N, K, 2]
    colours: np.ndarray  # [N, S, S, 3]: of the person, also where partly transparent
    opacity: np.ndarray  # [N, S, S]
    fringe: np.ndarray  # [N, S, S]: hair in front of the face
    skin: np.ndarray  # [N, S, S]
    hair: np.ndarray  # [N, S, S]
    clothes: np.ndarray  # [N, S, S]
    skin_colour: np.ndarray  # [N, 3] in [0, 1]
    mean_shape: np.ndarray  # [K, 2]

    @cached_property
    def mesh(self) -> FaceMesh:
        """The mesh over the mean shape."""
        return FaceMesh(self.mean_shape, self.size)

    @cached_property
    def face(self) -> np.ndarray:
        """[S, S]: 1 where the blended face is used, with a soft outline."""
        return face_mask(self.mean_shape, self.size)

    def save(self, path: Path) -> None:
        """Save the arrays, because preparing takes about a second per photograph."""
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}
        np.savez(path, **arrays)

    @classmethod
    def open(cls, path: Path) -> FacePhotos:
        """Load the arrays that `save` wrote."""
        with np.load(path, allow_pickle=False) as values:
            fields = {name: values[name] for name in cls.__dataclass_fields__}
        return cls(**fields | {"size": int(fields["size"]), "names": tuple(fields["names"].tolist())})


def read_points(folder: Path) -> dict[str, np.ndarray]:
    """The mesh's points of each photograph [K, 2] in units of the side, ring included."""
    path = folder / "points.json"
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RestyleError(f"cannot read the landmarks '{path}': {error}") from error
    landmarks = {name: np.array(record["landmarks68"]) for name, record in records.items()}
    templates = {name[:3]: (name, np.array(r["template189"])) for name, r in records.items() if "template189" in r}
    points = {}
    for name, own in landmarks.items():
        if name[:3] not in templates:
            raise RestyleError(f"'{path}' has no template189 for person {name[:3]}")
        measured, template = templates[name[:3]]
        move = similarity(landmarks[measured][EYES_AND_NOSE], own[EYES_AND_NOSE])
        points[name] = np.concatenate([own, apply(move, template[list(TEMPLATE_DEPTH)]), ring()])
    return points


def read_photos(
    folder: Path,
    size: int,
    people: Callable[[str], bool] = lambda person: True,
    shape_of: Collection[str] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> FacePhotos:
    """Prepare the photographs of the chosen people; `shape_of` names the photographs whose mean shape is used."""
    points = read_points(folder)
    names = tuple(sorted((n for n in points if people(n[:3])), key=lambda n: (n[3:], n)))
    if not names:
        raise RestyleError(f"'{folder}' has no photograph of the requested people")
    mean = np.mean([points[n] for n in (shape_of or names)], 0)
    mesh = FaceMesh(mean * size, size)
    face = face_mask(mesh.points, size)
    maps = []
    for count, name in enumerate(names):
        photo = cv2.imread(str(folder / f"{name}.jpg"))
        if photo is None:
            raise RestyleError(f"cannot read the photograph '{folder / name}.jpg'")
        photo = cv2.resize(photo, (PHOTO_SIZE, PHOTO_SIZE), interpolation=cv2.INTER_AREA)[:, :, ::-1]
        outline = points[name][np.r_[0:68, HAIRLINE_ROWS]] * PHOTO_SIZE
        opacity, colour = matte(photo.astype(np.float32) / 255, outline)
        layers = np.dstack([colour * opacity[..., None], opacity])
        layers = cv2.resize(layers, (size, size), interpolation=cv2.INTER_AREA)
        warped = mesh.warp(extended(layers, size // 8), mesh.points, points[name] * size)
        solid = warped[..., :3] / np.maximum(warped[..., 3:], 1e-3)
        maps.append(_parts(solid, warped[..., 3], mesh.points, face))
        if (count + 1) % 20 == 0 or count + 1 == len(names):
            note(f"prepared {count + 1} of {len(names)} photographs")
    stacked = {key: np.stack([m[key] for m in maps]) for key in maps[0]}
    skin_colour = stacked.pop("skin_colour").astype(np.float32)
    as_bytes = {key: (value * 255).round().clip(0, 255).astype(np.uint8) for key, value in stacked.items()}
    shapes = np.stack([points[n] for n in names]).astype(np.float32) * size
    return FacePhotos(
        size, names, shapes, **as_bytes, skin_colour=skin_colour, mean_shape=(mean * size).astype(np.float32)
    )


def face_mask(points: np.ndarray, size: int) -> np.ndarray:
    """[size, size]: the face inside the hairline, 1 with soft edges, for points [K, 2] in pixels."""
    hairline = points[HAIRLINE_ROWS]
    forehead = hairline + 0.12 * (points[17:27].mean(0) - hairline)
    outline = np.concatenate([points[:17], forehead[::-1]])
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1.0, shift=4)
    return cv2.GaussianBlur(cv2.erode(mask, _disc(0.035 * size)), (0, 0), 0.02 * size)


def extended(layers: np.ndarray, margin: int) -> np.ndarray:
    """Layers [S, S, C] with a margin on all sides; the last channel is the opacity, the others are multiplied by it.

    Hair and clothes that touch the border are mirrored into the margin; elsewhere it is transparent.
    """
    reach = cv2.copyMakeBorder(layers[..., -1], margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    reach[margin:-margin, margin:-margin] = 1
    return cv2.copyMakeBorder(layers, margin, margin, margin, margin, cv2.BORDER_REFLECT_101) * reach[..., None]


def _disc(diameter: float) -> np.ndarray:
    side = max(3, round(diameter) | 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _parts(colour: np.ndarray, opacity: np.ndarray, points: np.ndarray, face: np.ndarray) -> dict[str, np.ndarray]:
    """The maps of skin, hair, clothes and fringe of a photograph in the mean shape, and its skin colour."""
    size = len(face)
    lab = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)
    cheeks = np.zeros((size, size), np.uint8)
    for a, b in ((2, 31), (14, 35), (29, 29), (4, 48), (12, 54)):
        cv2.circle(cheeks, np.round((points[a] + points[b]) / 2).astype(int).tolist(), round(0.035 * size), 1, -1)
    skin_lab = np.median(lab[cheeks > 0], 0)
    soften = lambda mask: cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.008 * size)  # noqa: E731

    darker = (np.clip((skin_lab[0] - lab[..., 0] - 14) / 10, 0, 1) * (face > 0.02) > 0.5).astype(np.uint8)
    darker[round(points[17:27, 1].mean()) + 2 :] = 0  # never below the brows
    darker = cv2.morphologyEx(darker, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(darker)
    top = points[HAIRLINE_ROWS][2:-2, 1].mean() + 0.075 * size
    hanging = (stats[:, cv2.CC_STAT_TOP] < top) & (stats[:, cv2.CC_STAT_AREA] > 0.001 * size**2)
    hanging[0] = False
    fringe = soften(cv2.dilate(hanging[labels].astype(np.uint8), _disc(0.02 * size)))

    y = np.mgrid[0:size, 0:size][0]
    chin = points[8, 1]
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    clothes = (y > chin + 0.03 * size) & (lab[..., 0] > 80) & (chroma < 9) & (opacity > 0.3)
    apart = np.hypot((lab[..., 0] - skin_lab[0]) * 0.5, np.hypot(*(lab[..., 1:] - skin_lab[1:]).transpose(2, 0, 1)))
    skin = np.clip((26 - apart) / 10, 0, 1) * ~clothes
    # Above the hairline even fair hair differs from skin; a bald head does not.
    scalp = np.zeros((size, size), np.uint8)
    above = np.concatenate([points[HAIRLINE_ROWS], [(2.0 * size, points[HAIRLINE_ROWS][-1, 1]), (2.0 * size, -size)]])
    above = np.concatenate([above, [(-size, -size), (-size, points[HAIRLINE_ROWS][0, 1])]])
    cv2.fillPoly(scalp, [np.round(above * 16).astype(np.int32)], 1, shift=4)
    hair = np.clip((apart - np.where(scalp > 0, 8, 20)) / 10, 0, 1) * ~clothes * (opacity > 0.02)
    hair *= np.maximum(1 - np.clip(face * 4, 0, 1), fringe)  # not eyes and mouth
    return {
        "colours": colour,
        "opacity": opacity,
        "fringe": fringe,
        "skin": soften(skin),
        "hair": soften(hair),
        "clothes": soften(clothes),
        "skin_colour": np.median(colour[cheeks > 0], 0),
    }
