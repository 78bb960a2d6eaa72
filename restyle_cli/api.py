"""The Python interface: what `import restyle_cli` offers; the list of names is there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restyle_cli import inversion, models
from restyle_cli.align import Aligned, AlignOptions, align_image
from restyle_cli.devices import choose_device, choose_dtype, compute, exactly
from restyle_cli.errors import RestyleError as RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.inversion import Chain, Method, State, Target, full_size
from restyle_cli.inversion import Inversion as Inversion
from restyle_cli.inversion import Step as Step
from restyle_cli.metrics import choose
from restyle_cli.metrics.base import Metric as Metric
from restyle_cli.run.batches import Batch, Images, as_batch, as_image
from restyle_cli.run.result import Result


class StandInWarning(UserWarning):
    """Another model stands in for the requested one."""


def load(
    name: str | Path,
    device: str | torch.device = "auto",
    precision: str = "auto",
    generator: str | Path | None = None,
    seed: int = 0,
) -> Method | Chain:
    """The method of a model, or a chain of methods, on `device`.

    `name` is a model of the catalog, a checkpoint file, a method ("pti"), a named chain ("hybrid"), a chain
    ("psp-portrait,image2stylegan:100"), or a generator, which means the projector on it. `generator`, a name or a file,
    replaces the models' own. `precision` is auto (fp32), fp32, bf16 or fp16. `seed` is that of methods with random
    numbers.

    A published model is downloaded if it is not installed. StandInWarning if another one stands in for it; RestyleError
    if there is no such model, or the generator does not fit.
    """
    chosen = choose_device(str(device))
    loaded, notices = models.load(str(name), chosen, None if generator is None else str(generator), seed)
    for notice in notices:
        warnings.warn(notice, StandInWarning, stacklevel=2)
    dtype = choose_dtype(precision, chosen)
    for method in [loaded] if isinstance(loaded, Method) else loaded:
        method.dtype = dtype
    return loaded


def invert(
    images: Images,
    model: Method | Sequence[Method],
    steps: int | None = None,
    *,
    mask: Tensor | None = None,
    **options: Any,
) -> Result:
    """Find the latents of images: a path, a PIL image, an array, a tensor, the result of `align`, or a list of these.

    Tensors are [N, 3, H, W] from -1 to 1, arrays [H, W, 3]; 8-bit values range from 0 to 255. Images are resized to the
    input of the model; faces are not aligned. `steps` is the number of steps of a single method, or of the last one of
    a chain. `mask` [N, 1, H, W] is 1 for known pixels and 0 for unknown ones, for methods that optimize. `options` are
    those of `inversion.invert`: `keep`, `tolerance`, `stop`, `on_step`, `keep_images`, `keep_w`.

    ValueError for images of another range, type, shape or number of channels.
    """
    methods = [model] if isinstance(model, Method) else model
    batch, target = _prepare(images, methods, mask)
    with compute(batch.x.device, methods[0].dtype):
        found = inversion.invert(batch.x, model, steps, target=target, **options)
    recorded = {"keep": options.get("keep", "best"), "tolerance": options.get("tolerance")}
    return Result.of(found, batch, methods, recorded)


def iterate(images: Images, schedule: Iterable[Method], mask: Tensor | None = None) -> Iterator[State]:
    """Yield the first guess for `images`, then the state after each method of the schedule, which may be endless.

    `images` as for `invert`. The caller sets the gradient mode.
    """
    methods = iter(schedule)
    first = list(schedule) if isinstance(schedule, Sequence) else list(islice(methods, 1))
    batch, target = _prepare(images, first, mask)
    rest = schedule if isinstance(schedule, Sequence) else chain(first, methods)
    states = inversion.iterate(batch.x, rest, target)
    while True:
        with compute(batch.x.device, first[0].dtype):  # not around the yield: it must not change the caller's precision
            state = next(states, None)
        if state is None:
            return
        yield state


def align(image: Images, mode: str = "auto", face: int = 1, size: int = 256) -> Aligned:
    """Crop a face as FFHQ does, for `invert`. `image` is a path, a PIL image, an 8-bit array, or a tensor.

    "auto" only resizes an image that is such a crop already, "always" crops in any case, "never" only resizes. Face 1
    is the largest. The result has the crop `.image` and its place in the photo. RestyleError if there is no such face.
    """
    photo, path = as_image(image)
    return align_image(photo, AlignOptions(mode, face), (size, size), path or Path("image"))[0]


@torch.no_grad()
def generate(
    model: str | Path | Method | Sequence[Method] | StyleGenerator,
    latents: Tensor | NDArray[np.floating] | None = None,
    seeds: Sequence[int] = (0,),
    truncation: float = 1.0,
    patch: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Render latents, or random ones: images [N, 3, H, W], nominally in [-1, 1].

    `model` is a generator, a method that has one, or a name or file for `load`. `latents` are [N, L, w_dim], or one w
    for all layers [N, w_dim]. Without them there is one latent per seed, moved towards the average by a `truncation`
    below 1. `patch` are weight changes as a result has them. ValueError for latents of another shape.
    """
    generator = _generator_of(model)
    device = generator.w_avg.device
    if latents is None:
        noise = [
            torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        w = generator.w_plus(generator.mapping(torch.cat(noise).to(device)))
        latents = generator.truncate(w, truncation)
    latents = torch.as_tensor(latents)
    layers, width = generator.layers, generator.config.w_dim
    if list(latents.shape[1:]) not in ([layers, width], [width]):
        raise ValueError(f"latents have the shape {list(latents.shape)}; the generator takes [N, {layers}, {width}]")
    images: Tensor = generator(generator.w_plus(latents.float().to(device)), patch=patch)
    return images.float()


def evaluate(
    targets: Images | Result, images: Images | None = None, metrics: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Compare images with targets: [N] for each number of the metrics, by its key ("l2", "lpips", …).

    `targets` is a result of `invert`, or images as `invert` takes them; then `images` are compared with them. Both are
    compared as `restyle eval` does, at 256x256. `metrics` are names of metrics; by default all installed ones. Missing,
    a RestyleError, if a named metric needs a model that is not installed.
    """
    if isinstance(targets, Result):
        x, y = targets.targets, targets.images
    elif images is None:
        raise ValueError("name the images to compare with the targets")
    else:
        x, y = as_batch(targets).x, as_batch(images).x
    if len(x) != len(y):
        raise ValueError(f"{len(x)} targets cannot be compared with {len(y)} images")
    chosen = choose(metrics, x.device, identities=())
    numbers: dict[str, Tensor] = {}
    with torch.no_grad(), exactly(x.device):
        for metric in chosen.metrics:
            values = metric.measure(x, y.to(x.device)).reshape(len(x), -1).cpu()
            numbers |= {column.key: values[:, index] for index, column in enumerate(metric.columns)}
    return numbers


def _generator_of(model: str | Path | Method | Sequence[Method] | StyleGenerator) -> StyleGenerator:
    if isinstance(model, (str, Path)):
        return models.load_generator(model, choose_device())
    if isinstance(model, StyleGenerator):
        return model
    return (model if isinstance(model, Method) else model[-1]).generator


def _prepare(images: Images, methods: Sequence[Method], mask: Tensor | None) -> tuple[Batch, Target]:
    """The images and the target on the device of the first method."""
    if not methods:
        raise ValueError("a schedule needs at least one method")
    batch = as_batch(images, methods[0].size, full_size(methods))
    device = methods[0].generator.w_avg.device
    full, mask = (None if values is None else values.to(device) for values in (batch.full, mask))
    return replace(batch, x=batch.x.to(device)), Target(full, mask)
