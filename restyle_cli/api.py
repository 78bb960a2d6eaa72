"""What `import restyle_cli` offers: models by name, and the loop on whatever images a person has."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli import inversion, models
from restyle_cli.devices import choose_device, choose_dtype, compute
from restyle_cli.inversion import TARGET, Chain, Inversion, Method, State, full_size
from restyle_cli.metrics.base import Metric as Metric
from restyle_cli.run.batches import Images, as_batch


class StandInWarning(UserWarning):
    """Another network stands in for the one that was asked for."""


def load(
    name: str | Path,
    device: str | torch.device = "auto",
    precision: str = "auto",
    generator: str | Path | None = None,
    seed: int = 0,
) -> Method | Chain:
    """The model called `name` in the catalog or in the file `name`, ready on `device`.

    Also the name of a method ("pti"), of a chain ("hybrid"), a chain as `--via` has it ("psp,image2stylegan:100"), or a
    generator alone, which means the projector on it. `generator`, a name or a file, takes the place of the one that the
    model belongs to. `precision`: auto (fp32), fp32, bf16 or fp16. `seed`: of methods that use random numbers.

    StandInWarning where another network stands in for what was asked. RestyleError when there is none, or it does not
    fit its generator.
    """
    where = choose_device(str(device))
    loaded, notices = models.load(str(name), where, None if generator is None else str(generator), seed)
    for notice in notices:
        warnings.warn(notice, StandInWarning, stacklevel=2)
    dtype = choose_dtype(precision, where)
    for method in [loaded] if not isinstance(loaded, Sequence) else loaded:
        method.dtype = dtype
    return loaded


def invert(
    images: Images,
    model: Method | Sequence[Method],
    steps: int | None = None,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Inversion:
    """Find the latent codes of `images`: a path, a Pillow image, an array, a tensor, or a sequence of them.

    They are taken whole, in the model's size, or another one of the same shape; no face is cut out. Tensors are
    [N, 3, H, W] from -1 to 1, arrays [H, W, 3]; 8-bit values are from 0 to 255. Methods that compare at the generator's
    full size are given images in it. `steps` are those of a single method, or of a chain's last. Other options are
    those of `inversion.invert`: `keep`, `tolerance`, `on_step`, `keep_images`, `keep_w`.

    ValueError for images of another range, type, shape or number of channels.
    """
    methods = model if isinstance(model, Sequence) else [model]
    x, extras = _prepared(images, methods)
    with compute(x.device, _dtype(methods[0])):
        return inversion.invert(x, model, steps, inputs={**extras, **(inputs or {})}, **options)


def iterate(images: Images, schedule: Iterable[Method], inputs: Mapping[str, Tensor] | None = None) -> Iterator[State]:
    """Yield the first guess for `images`, then the state after each method of the schedule, which may be endless.

    `images` are as `invert` takes them; the rest is as `inversion.iterate` has it.
    """
    if not isinstance(schedule, Sequence):
        methods = iter(schedule)
        first = list(islice(methods, 1))
        schedule = chain(first, methods)
    else:
        first = schedule
    x, extras = _prepared(images, first)
    states = inversion.iterate(x, schedule, {**extras, **(inputs or {})})
    while True:
        with compute(x.device, _dtype(first[0])):  # not around the yield: the caller's own work keeps its precision
            state = next(states, None)
        if state is None:
            return
        yield state


def _prepared(images: Images, methods: Sequence[Method]) -> tuple[Tensor, dict[str, Tensor]]:
    """The images on the device of the first method, and what its steps find beside them."""
    if not methods:
        raise ValueError("a schedule needs at least one method")
    x, full = as_batch(images, methods[0].size, full_size(methods))
    generator = methods[0].generator
    device = next((tensor.device for tensor in (*generator.parameters(), *generator.buffers())), x.device)
    return x.to(device), {} if full is None else {TARGET: full.to(device)}


def _dtype(method: Method) -> torch.dtype:
    return method.dtype
