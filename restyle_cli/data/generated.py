"""Images that a generator makes of random latents, which are therefore known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from restyle_cli.data.source import Batch, Note
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import fit

VALIDATION_SEED = 1_000_000_007


class Generated:
    """Samples of `generator`, resized to `size` (height, width), with w. There is no end to them.

    `truncation`: how far latents are pulled towards the average, 1 for not at all.
    """

    length: int | None = None

    def __init__(self, generator: StyleGenerator, size: tuple[int, int], truncation: float) -> None:
        self.generator, self.size, self.truncation = generator, size, truncation

    def prepare(self, note: Note) -> None:
        """Nothing to prepare."""

    def batch(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Batch:
        """One random latent and its image per random number generator."""
        z = np.stack([rng.standard_normal(self.generator.config.z_dim, dtype=np.float32) for rng in rngs])
        device = self.generator.w_avg.device
        with torch.no_grad():
            w = self.generator.w_plus(self.generator.mapping(torch.from_numpy(z).to(device)))
            w = self.generator.truncate(w, self.truncation)
            y = fit(self.generator(w).float(), self.size).clamp(-1, 1)
        return Batch(y, y, [f"sample {index}" for index in indices], w)

    def validation(self, count: int) -> Batch:
        """Latents that no batch has."""
        return self.batch(range(count), [np.random.default_rng([VALIDATION_SEED, k]) for k in range(count)])
