"""The result of an inversion in Python: shown in a notebook, and saved as `restyle invert` saves it."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256 as checksum
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from restyle_cli import __version__
from restyle_cli.align import Aligned, Size, matrix_of
from restyle_cli.devices import PRECISIONS
from restyle_cli.errors import RestyleError
from restyle_cli.images import to_image
from restyle_cli.inversion import Inversion, Method
from restyle_cli.run.batches import Batch
from restyle_cli.run.folder import Photo
from restyle_cli.run.outputs import Inverted, Results, strip_of
from restyle_cli.run.pipeline import as_written
from restyle_cli.run.sources import Source
from restyle_cli.run.strip import shown_steps
from restyle_cli.store.files import sha256

KINDS = ("image", "strip", "steps", "npy", "latent")
SHOWN = 8
"""Largest number of strips in a notebook."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Result(Inversion):
    """An inversion with its targets and methods."""

    targets: Tensor  # [N, 3, H, W] in [-1, 1]
    paths: tuple[Path | None, ...]  # N: the files of the images, if there are any
    sizes: tuple[Size, ...]  # N: (height, width) of the images before resizing
    methods: tuple[Method, ...]  # each once, in order
    options: Mapping[str, Any]  # other arguments of `invert` that change the result

    @classmethod
    def of(cls, inversion: Inversion, batch: Batch, methods: Sequence[Method], options: Mapping[str, Any]) -> Result:
        """The inversion of a batch by these methods."""
        values = {field.name: getattr(inversion, field.name) for field in fields(Inversion)}
        unique = tuple(dict.fromkeys(methods))
        return cls(**values, targets=batch.x, paths=batch.paths, sizes=batch.sizes, methods=unique, options=options)

    @property
    def chain(self) -> str:
        """The methods with their steps: "restyle-psp-portrait:5"."""
        return ",".join(f"{name}:{len(list(steps))}" for name, steps in groupby(s.method for s in self.steps[1:]))

    def one(self, index: int) -> Result:
        """The image at `index` alone, on the CPU."""
        here = slice(index, index + 1)
        one = super().one(index)
        assert isinstance(one, Result)  # `replace` keeps the class
        return replace(one, targets=self.targets[here].cpu(), paths=self.paths[here], sizes=self.sizes[here])

    def save(self, folder: str | Path, kinds: Collection[str] = ("image", "strip")) -> list[dict[str, Path]]:
        """Write the files of `restyle invert` and return them by kind, for each image.

        `kinds`: "image", "strip", "npy", and "steps" for the latents of all steps; the latent file is always written.
        Files are named after the images' files, or image-1, image-2, …; existing ones are replaced. ValueError for an
        unknown kind; RestyleError if a file cannot be written, or the model produced NaN.
        """
        if unknown := set(kinds) - set(KINDS):
            raise ValueError(f"unknown kinds {sorted(unknown)}; choose from {', '.join(KINDS)}")
        if "steps" in kinds and self.w_steps is None:
            raise ValueError("the latents of all steps were not kept; invert with keep_w=True")
        results = Results(Path(folder), frozenset({*kinds, "latent"}), self._settings(), self._notes())
        written = []
        for index, (source, files) in enumerate(results.names(self._sources())):
            if isinstance(files, RestyleError):
                raise files
            results.write(self._inverted(index, source.path, files))
            written.append(files)
        return written

    def __repr__(self) -> str:
        l2 = sum(float(self.steps[int(k)].l2[i]) for i, k in enumerate(self.kept_step)) / len(self.w)
        images = f"{len(self.w)} image" + ("s" if len(self.w) > 1 else "")
        return f"Result({images}, {self.chain}, L2 {l2:.4f}, w {list(self.w.shape)})"

    def _repr_html_(self) -> str:
        """The strips for a notebook."""
        images = []
        for index in range(min(len(self.w), SHOWN)):
            file = BytesIO()
            strip_of(self._inverted(index)).save(file, "PNG")
            images.append(f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">')
        left = len(self.w) - len(images)
        return "<br>".join(images) + (f"<p>and {left} more</p>" if left else "")

    # --- files

    def _sources(self) -> list[Source]:
        """The images, with distinct names for their files."""
        sources: dict[str, Source] = {}
        for index, path in enumerate(self.paths, start=1):
            name = f"image-{index}" if path is None else path.stem
            name = next(n for n in (name, *(f"{name}-{k}" for k in range(2, index + 1))) if n not in sources)
            sources[name] = Source(path or Path(name), Path(name))
        return list(sources.values())

    def _inverted(self, index: int, path: Path = Path("image"), files: Mapping[str, Path] | None = None) -> Inverted:
        """One image, as the writers of files take it."""
        one, _ = as_written(self.one(index), self.methods, self.methods[0].dtype)
        image = to_image(self.targets[index] + 1 / 255)  # half a level up: `to_image` truncates
        height, width = self.sizes[index]
        quad = ((-0.5, -0.5), (-0.5, height - 0.5), (width - 0.5, height - 0.5), (width - 0.5, -0.5))
        aligned = Aligned(image, quad, matrix_of(quad, (image.height, image.width)), 0, "unaligned")
        digest = sha256(path) if self.paths[index] else checksum(image.tobytes()).hexdigest()
        shown = {k: images for k, images in one.image_steps.items() if k in shown_steps(len(one.steps) - 1)}
        return Inverted(Photo(path, files or {}, digest, (width, height), aligned), replace(one, image_steps=shown))

    def _settings(self) -> dict[str, Any]:
        """What the result depends on, with the keys of `restyle invert`."""
        networks = {name: path for method in self.methods for name, path in method.networks.items()}
        generators = [method.generator for method in self.methods]
        networks |= {one.name: one.file for one in generators if one.name is not None and one.file is not None}
        return {
            "model": self.methods[-1].name,
            "chain": self.chain,
            "networks": {name: sha256(path) for name, path in networks.items()},
            "precision": next(name for name, dtype in PRECISIONS.items() if dtype == self.methods[0].dtype),
            "align": "never",
            "seed": next((method.seed for method in self.methods if method.is_random and method.seed), None),
            **self.options,
        }

    def _notes(self) -> dict[str, Any]:
        device = str(self.methods[0].generator.w_avg.device)
        generators = {method.name: method.generator.name for method in self.methods if method.generator.name}
        return {"version": __version__, "device": device, "generators": generators}
