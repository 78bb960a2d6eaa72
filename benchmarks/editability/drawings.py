"""A growing file of drawn pictures: what a training reads instead of drawing each picture again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restyle_cli.data.looks import LookSpace, looks, sample_z
from restyle_cli.data.portraits import draw_looks
from restyle_cli.errors import RestyleError

CHUNK = 256  # pictures that share a seed
AT_ONCE = 32  # drawn together


@dataclass(frozen=True)
class Data:
    """How many images of which style, and the share of them pulled towards the mean look."""

    pictures: int
    style: str = "portrait"
    resolution: int = 128
    truncated: float = 0.18


@dataclass(frozen=True)
class Drawings:
    """Pictures of one style in a raw file [count, 3, R, R] of bytes; their looks follow from the seeds.

    `data.truncated` is the share of pictures pulled towards the mean look by a random psi.
    """

    folder: Path
    data: Data
    space: LookSpace

    @property
    def path(self) -> Path:
        """The file; its name says what else must agree for a file to be of use."""
        return self.folder / f"{self.data.style}-{self.data.resolution}px-{self.data.truncated:g}.u8"

    def looks(self) -> Tensor:
        """[count, LOOK_DIM], in the file's order."""
        chunks = (self._chunk(seed) for seed in range(-(-self.data.pictures // CHUNK)))
        return torch.cat(list(chunks))[: self.data.pictures]

    def fill(self, note: Callable[[str], None] = lambda text: None) -> None:
        """Draw what the file lacks; a file cut short by an interruption goes on where it stopped.

        RestyleError where it cannot be written.
        """
        try:
            self._fill(note)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = "free some space, or train into another folder with -o; the next run continues from here"
            raise RestyleError(f"cannot write {str(self.path)!r}: {reason}", hint) from error

    def _fill(self, note: Callable[[str], None]) -> None:
        resolution, style, count = self.data.resolution, self.data.style, self.data.pictures
        bytes_each = 3 * resolution**2
        done = self.path.stat().st_size // (bytes_each * CHUNK) * CHUNK if self.path.exists() else 0
        draw = torch.compile(draw_looks, dynamic=False)
        with self.path.open("r+b" if done else "wb") as file:
            file.seek(done * bytes_each)
            while done < count:
                for part in self._chunk(done // CHUNK).split(AT_ONCE):
                    # Edges are one pixel soft already: drawing finer costs six times as much and moves L2 by .0002.
                    try:
                        pictures = draw(part, resolution, style, finer=1)
                    except RuntimeError:  # no C++ compiler here, which torch.compile needs
                        draw = draw_looks
                        pictures = draw(part, resolution, style, finer=1)
                    file.write(((pictures + 1) * 127.5).round().clamp(0, 255).byte().numpy().tobytes())
                done += CHUNK
                if done % (16 * CHUNK) == 0 or done >= count:
                    note(f"drawn {min(done, count)} of {count}")

    def open(self) -> np.memmap:
        """The bytes as an array [count, 3, R, R]."""
        return np.memmap(
            self.path, np.uint8, "r", shape=(self.data.pictures, 3, self.data.resolution, self.data.resolution)
        )

    def _chunk(self, seed: int) -> Tensor:
        values = looks(sample_z(CHUNK, seed + 1))
        generator = torch.Generator().manual_seed(seed + 1)
        psi = torch.rand(CHUNK, generator=generator)
        keep = torch.rand(CHUNK, generator=generator) >= self.data.truncated
        return self.space.truncated(values, torch.where(keep, torch.ones(()), psi))


def read_pictures(array: np.ndarray, index: np.ndarray, resolution: int) -> Tensor:
    """Rows `index` of an opened file as [N, 3, resolution, resolution] in [-1, 1], pooled when that is smaller."""
    batch = torch.from_numpy(array[index]).float() / 127.5 - 1
    return batch if batch.shape[-1] == resolution else F.adaptive_avg_pool2d(batch, resolution)
