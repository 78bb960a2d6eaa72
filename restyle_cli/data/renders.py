"""Rendered faces with known codes, and photographs without, as sources of training images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli.data.cartoon import cartoon
from restyle_cli.data.face_photos import FacePhotos, read_photos, read_points
from restyle_cli.data.face_space import FaceSpace
from restyle_cli.data.faces import Faces, Look
from restyle_cli.data.folder import read_image
from restyle_cli.data.source import Batch, Note
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.images import fit

CHUNK = 256  # faces that share a seed


class Renders:
    """`count` blends of the photographs in `folder`, at `resolution` px; `w` of a batch holds their codes [N, K].

    `style`: "photo", or "toon", the same people as cartoons. Nobody of `held_out` is in any blend. The faces are kept
    in a file in `cache` that grows where it stopped, so that only the first run renders.
    """

    def __init__(
        self, folder: Path, cache: Path, resolution: int, count: int, held_out: Collection[str], style: str = "photo"
    ) -> None:
        self.folder, self.cache, self.resolution = folder, cache, resolution
        self.held_out, self.style = held_out, style
        self.length: int | None = count
        self.count = count

    def prepare(self, note: Note) -> None:
        """Prepare the photographs and render the faces."""
        self.cache.mkdir(parents=True, exist_ok=True)
        photos = self.cache / f"photos-{self.resolution}.npz"
        if not photos.exists():
            read_photos(self.folder, self.resolution, self._is_seen, note=note).save(photos)
        self.faces = Faces(FacePhotos.open(photos))
        self.space = FaceSpace(self.faces.photos)
        self.photo_codes = self.space.photo_codes(self.faces.photos)
        self.images, self.codes = self._rendered(note)

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """Faces by their numbers."""
        rows = np.asarray(indices)
        y = torch.from_numpy(self.images[rows]).float() / 127.5 - 1
        return Batch(y, y, [f"face {index}" for index in indices], self.codes[rows])

    def validation(self, count: int) -> Batch:
        """Blends of the same people that are in no batch."""
        rng = np.random.default_rng([2, 0])
        looks = [self.faces.look(rng) for _ in range(count)]
        y = torch.from_numpy(np.stack([self._render(look) for look in looks])).permute(0, 3, 1, 2) * 2 - 1
        return Batch(y, y, [f"held-out face {k}" for k in range(count)], self._codes(looks))

    def _is_seen(self, person: str) -> bool:
        return person not in self.held_out

    def _codes(self, looks: Sequence[Look]) -> Tensor:
        return torch.from_numpy(np.stack([FaceSpace.code(look, self.photo_codes) for look in looks]))

    def _render(self, look: Look) -> NDArray[np.float32]:
        image = self.faces.render(look)
        return cartoon(image, self.faces.target(look)) if self.style == "toon" else image

    def _rendered(self, note: Note) -> tuple[np.ndarray, Tensor]:
        """Images [N, 3, R, R] of bytes, and their codes [N, K]."""
        path = self.cache / f"faces-{'toon-' if self.style == 'toon' else ''}{self.resolution}.u8"
        bytes_each = 3 * self.resolution**2
        done = path.stat().st_size // (bytes_each * CHUNK) if path.exists() else 0
        codes = []
        with path.open("r+b" if done else "wb") as file:
            file.seek(done * bytes_each * CHUNK)
            for chunk in range(-(-self.count // CHUNK)):
                rng = np.random.default_rng([1, chunk])
                looks = [self.faces.look(rng) for _ in range(CHUNK)]
                codes.append(self._codes(looks))
                if chunk < done:
                    continue
                for look in looks:
                    image = (self._render(look) * 255).round().astype(np.uint8)
                    file.write(np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes())
                if (chunk + 1) % 8 == 0:
                    note(f"rendered {(chunk + 1) * CHUNK} of {self.count} faces")
        shape = (self.count, 3, self.resolution, self.resolution)
        return np.memmap(path, np.uint8, "r", shape=shape), torch.cat(codes)[: self.count]


class FacesAndPhotos:
    """Rendered faces with their w in a generator of faces, and photographs of the blended people, without w.

    `photos` is the share of photographs in a batch; w of a photograph is NaN. Images are resized to `size` (height,
    width). There is no end to them. Validation is on the photographs of the people that are held out.
    """

    length: int | None = None

    def __init__(self, renders: Renders, generator: StyleGAN2, size: tuple[int, int], photos: float) -> None:
        self.renders, self.generator, self.size, self.photos = renders, generator, size, photos

    def prepare(self, note: Note) -> None:
        """Render the faces and find the photographs; RestyleError if nobody is held out."""
        self.renders.prepare(note)
        folder = self.renders.folder
        names = sorted(read_points(folder))
        held_out = [name for name in names if name[:3] in self.renders.held_out]
        if not held_out:
            raise RestyleError(f"no photograph in {str(folder)!r} is held out", "name some people in data.held_out")
        self.seen = [folder / f"{name}.jpg" for name in names if name not in held_out]
        self.held_out = [folder / f"{name}.jpg" for name in held_out]

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """For each random number generator a rendered face or a photograph."""
        images, w, names = [], [], []
        unknown = torch.full((self.generator.layers, self.generator.config.w_dim), torch.nan)
        for rng in rngs:
            if rng.random() < self.photos:
                path = self.seen[rng.integers(len(self.seen))]
                images.append(self._resized(read_image(path, flip=rng.random() < 0.5)[None]))
                w.append(unknown)
                names.append(path.name)
            else:
                face = self.renders.batch([int(rng.integers(self.renders.count))], [rng])
                assert face.w is not None
                images.append(self._resized(face.y))
                w.append(w_of_codes(self.generator, face.w)[0].cpu())
                names += face.names
        y = torch.cat(images)
        return Batch(y, y, names, torch.stack(w))

    def validation(self, count: int) -> Batch:
        """Photographs of people that are in no blend."""
        paths = self.held_out[:count]
        y = torch.cat([self._resized(read_image(path)[None]) for path in paths])
        return Batch(y, y, [path.name for path in paths])

    def _resized(self, image: Tensor) -> Tensor:
        return fit(image, self.size)


@torch.no_grad()
def w_of_codes(generator: StyleGAN2, codes: Tensor) -> Tensor:
    """Codes of rendered faces [N, K] -> their w_plus [N, L, w_dim] in a generator trained on such faces.

    Its mapping network is one linear layer; its normalisation of z is left out, for codes have a length of their own.
    """
    layer = generator.mapping.get_submodule("layers.0")
    return generator.w_plus(layer(codes.to(generator.w_avg.device)))
