"""What is written for an inverted image: the reconstruction, the strip, the pasted photo and the latent file.

The latent file is written last. Its metadata has every option that changes the result; it marks an image as done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.images import RESULT, open_original, save_image, to_image
from restyle_cli.inversion import Inversion
from restyle_cli.io import write_atomic
from restyle_cli.run.folder import Mark, Output, OutputFolder, Photo
from restyle_cli.run.latents import PATCH, half_patch
from restyle_cli.run.strip import Cell, draw_strip, shown_steps
from restyle_cli.store.files import LATENT, read_header, write_latent


class Extra(Protocol):
    """What the outputs of an image need besides its inversion."""

    def add_to(self, record: dict[str, Any]) -> None:
        """Add to the metadata of the result."""


@dataclass(frozen=True)
class Inverted:
    """An image and its inversion; `compared` is that of another chain.

    `pasted` are the faces to paste into the photo together with this one; None if another face does that.
    """

    photo: Photo
    inversion: Inversion  # of this image alone, see `Inversion.one`
    compared: Inversion | None = None
    extra: Extra | None = None
    pasted: Sequence[Inverted] | None = ()


# --- the files


def write_image(file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    """Write the reconstruction."""
    save_image(to_image(inverted.inversion.images[0]), file)


def write_strip(file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    """Write the strip."""
    save_image(strip_of(inverted), file, {RESULT: "strip"})


def strip_of(inverted: Inverted) -> Image.Image:
    """The target, the start and the steps side by side, each with its L2."""
    inversion, selected = inverted.inversion, int(inverted.inversion.kept_step)
    several = len({step.method for step in inversion.steps[1:]}) > 1
    cells = [Cell(to_image(inverted.photo.x), "target")]
    for k, image in shown_images(inversion).items():
        step = inversion.steps[k]
        if step.l2.isfinite():
            lines = [f"L2 {float(step.l2):.4f}", *([step.method] if several and k else [])]
            cells.append(Cell(to_image(image[0]), f"step {k}" if k else "start", lines, marked=k == selected))
    return draw_strip(cells)


def shown_images(inversion: Inversion) -> dict[int, Tensor]:
    """The images [1, 3, H, W] of the shown steps and the selected one, by step."""
    return dict(sorted({**inversion.image_steps, int(inversion.kept_step): inversion.images}.items()))


def write_pasted(file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    """Write the photo with the reconstructions pasted into it."""
    from restyle_cli.align.paste import paste  # imports OpenCV

    photo = inverted.photo
    original = pasted = open_original(photo.path)  # read again, as large photos would fill the memory
    if original.size != photo.size:
        raise RestyleError("the photo was changed during the run", "run the command again")
    for face in inverted.pasted or [inverted]:
        pasted = paste(pasted, to_image(face.inversion.images[0]), face.photo.aligned.quad)
    save_image(pasted, file, {RESULT: "pasted"})


def write_npy(file: Path, inverted: Inverted, record: Mapping[str, Any]) -> None:
    """Write the latent [L, 512]."""

    def write(part: Path) -> None:
        with part.open("wb") as stream:  # given a name without .npy, np.save adds it
            np.save(stream, inverted.inversion.w[0].float().numpy())

    write_atomic(file, write)


def latent_tensors(inversion: Inversion, with_steps: bool) -> dict[str, Tensor]:
    """The content of a latent file: `w`, the patch, and `with_steps` the latents of all steps."""
    tensors = {"w": inversion.w[0].float()}
    if with_steps and inversion.w_steps is not None:
        tensors["w_steps"] = inversion.w_steps[0].float()
    return tensors | {f"{PATCH}{name}": change[0] for name, change in half_patch(inversion.patch).items()}


def write_latents(file: Path, inverted: Inverted, record: dict[str, Any]) -> None:
    """Write the latent file with the record."""
    write_latent(file, latent_tensors(inverted.inversion, record["has_steps"]), record)


def read_latent_record(file: Path) -> object:
    """The record in a latent file; None for another safetensors file, RestyleError for a damaged one."""
    header = read_header(file)
    return header["extra"] if header["family"] == LATENT else None


LATENT_FILE = Mark[Inverted]("latent", ".safetensors", write_latents, read=read_latent_record)
OUTPUTS: Sequence[Output[Inverted]] = (
    Output("image", ".png", write_image),
    Output("strip", ".strip.png", write_strip, image_steps=shown_steps),
    Output("pasted", ".pasted.png", write_pasted),
    Output("npy", ".npy", write_npy),
)


# --- all of them


@dataclass(frozen=True)
class Results(OutputFolder[Inverted]):
    """The files of inversions. `kinds` may contain "steps", the latents of all steps in the latent file.

    `extra(x, inversion, generator, dtype)` returns what outputs need besides the inversion of x [3, H, W]; `generator`
    is that of the selected step. The thread that computes calls it, as methods may change a generator while files are
    written.
    With `all_finite` no step may produce NaN, not only the selected one.
    """

    outputs: Sequence[Output[Inverted]] = field(default=OUTPUTS, kw_only=True)
    mark: Mark[Inverted] = field(default=LATENT_FILE, kw_only=True)
    extra: Callable[[Tensor, Inversion, StyleGenerator, torch.dtype], Extra] | None = field(default=None, kw_only=True)
    all_finite: bool = field(default=False, kw_only=True)

    @property
    def _chosen(self) -> list[Output[Inverted]]:
        return [output for kind, output in self.every_output.items() if kind in self.kinds]

    @property
    def needs_every_w(self) -> bool:
        """Whether the latents of all steps are needed."""
        return "steps" in self.kinds or any(output.every_w for output in self._chosen)

    def image_steps(self, last: int) -> list[int]:
        """The steps among 0 … `last` whose images are needed."""
        needed = (output.image_steps(last) for output in self._chosen if output.image_steps is not None)
        return sorted({step for steps in needed for step in steps})

    def refusal(self, inverted: Inverted) -> RestyleError | None:
        """Why an inversion that Ctrl-C cut short is not written: no step was better than the existing result."""
        inversion, kept = inverted.inversion, int(inverted.inversion.kept_step)
        if not inversion.interrupted or inversion.finished:
            return None
        if kept == 0:
            return RestyleError("interrupted before a step improved the image", "run the same command to start again")
        reached, earlier = float(inversion.steps[kept].l2), self.earlier_l2(inverted.photo)
        if earlier is None or reached < earlier:
            return None
        message = f"interrupted at an L2 of {reached:.4f}; the existing result has {earlier:.4f} and is kept"
        return RestyleError(message, "run the same command to start again; --output keeps both")

    def is_finite(self, inverted: Inverted) -> bool:
        """Whether no step that matters produced NaN. The start is no result if a later step did."""
        inversion, kept = inverted.inversion, int(inverted.inversion.kept_step)
        steps = [inversion.steps[kept], *(inverted.compared.steps if inverted.compared else ())]
        if self.all_finite or kept == 0:
            steps += inversion.steps
        return all(bool(step.l2.isfinite()) for step in steps)

    def write(self, inverted: Inverted) -> dict[str, Any]:
        """Write the files of an image and return their record. RestyleError if a step produced NaN."""
        if not self.is_finite(inverted):
            raise RestyleError("the model produced NaN", "use --precision fp32")
        inversion, files = inverted.inversion, inverted.photo.files
        record = {
            **self.record_of(inverted.photo),
            "generator": self._generator_of(inversion),
            "steps": steps_of(inversion),
            "best_step": int(inversion.best_step),
            "kept_step": int(inversion.kept_step),
            "has_steps": "steps" in self.kinds,
        }
        if self.settings.get("quality"):
            record["links"] = links_of(inversion)
        if inversion.interrupted and not inversion.finished:
            record["interrupted"] = True
        if inverted.compared is not None:
            record["against"] = steps_of(inverted.compared)
        if inverted.extra is not None:
            inverted.extra.add_to(record)
        if inverted.pasted is None:
            files = {kind: file for kind, file in files.items() if kind != "pasted"}
        self.write_files(files, inverted, record)
        return record

    def _generator_of(self, inversion: Inversion) -> str | None:
        """The generator of the selected step, by its name in `notes`; the start is the first method's."""
        generators = self.notes.get("generators", {})
        kept = min(max(int(inversion.kept_step), 1), len(inversion.steps) - 1)
        return generators.get(inversion.steps[kept].method, next(iter(generators.values()), None))


# --- records


def steps_of(inversion: Inversion) -> list[dict[str, Any]]:
    """The steps of one image for JSON; the L2 of a step that produced NaN is None."""
    return [
        {
            "step": k,
            "method": step.method,
            "l2": float(step.l2) if step.l2.isfinite() else None,
            "seconds": round(step.seconds, 6),
        }
        for k, step in enumerate(inversion.steps)
    ]


def links_of(inversion: Inversion) -> list[dict[str, Any]]:
    """The methods of one image's chain for JSON, each with the lowest L2 so far and why it ended."""
    (stops,), last = inversion.stops, len(inversion.steps) - 1
    ends = {stop.step: stop.why for stop in stops if stop.step <= last}  # Ctrl-C may come before a step's record
    if last > 0:
        ends.setdefault(last, "interrupted")  # the only other reason
    links, before = [], 0
    for end, why in ends.items():
        steps = inversion.steps[before + 1 : end + 1]
        best = min(float(step.l2) for step in inversion.steps[: end + 1] if step.l2.isfinite())
        seconds = round(sum(step.seconds for step in steps), 6)
        links.append({"method": steps[0].method, "steps": len(steps), "l2": best, "seconds": seconds, "ended": why})
        before = end
    return links
