"""A generator changed for each picture: what a `patch` may hold, checked, and how it is drawn.

Entries are additive changes under the name of what they change, or factors:

- "convs.3", a convolution: its kernel times 1 + delta, [N, O, I, k, k] or [N, O, I, 1, 1] (HyperStyle)
- "convs.3.weight", "const", …, a parameter of the synthesis network: [N, *its shape] (pivotal tuning)
- "noise_3", a stored noise map: [N, 1, h, w] (Image2StyleGAN++, StyleGAN2's projector)

Factors and noise maps differ between the pictures of a batch at no cost. Parameters do not: a picture with parameters
of its own is drawn alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.generators.base import StyleGenerator

MAPPING = "mapping."
"""What the names of parameters begin with that make codes, and draw nothing."""
NOISE = "noise_"
"""What the names of stored noise maps begin with."""


@dataclass(frozen=True)
class SplitPatch:
    """A patch, by what it changes; each value is [N, …]."""

    factors: Mapping[str, Tensor] = field(default_factory=dict)
    noises: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


def synthesis_parameters(generator: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a patch can change, by name: all that turn a code into a picture."""
    return {name: value for name, value in generator.named_parameters() if not name.startswith(MAPPING)}


def noise_maps(generator: nn.Module) -> dict[str, Tensor]:
    """The stored noise maps that a patch can change, by name: each [1, 1, h, w]."""
    return {name: value for name, value in generator.named_buffers() if name.startswith(NOISE)}


def split_patch(
    generator: StyleGenerator,
    patch: Mapping[str, Tensor] | None,
    n: int,  # pictures
) -> SplitPatch:
    """`patch`, sorted, in the precision of the generator; RestyleError for a name that it has not, or another shape."""
    if not patch:
        return SplitPatch()
    convs, noises, parameters = generator.conv_shapes(), noise_maps(generator), synthesis_parameters(generator)
    for name, change in patch.items():
        shape = tuple(change.shape)
        if name in convs:
            fits, takes = len(shape) == 5 and shape[:3] == (n, *convs[name]), [n, *convs[name]]
            kernel = ", and the kernel's size or 1, 1"
        elif name in noises or name in parameters:
            like = noises[name][0] if name in noises else parameters[name]
            fits, takes, kernel = shape == (n, *like.shape), [n, *like.shape], ""
        else:
            known = [*convs, *noises, *parameters]
            raise RestyleError(f"this generator has no '{name}' to change", did_you_mean(name, known))
        if not fits:
            hint = f"for {n} codes this generator takes {takes}{kernel}"
            raise RestyleError(f"a change of '{name}' has shape {list(shape)}", hint)
    dtype = next(iter(parameters.values())).dtype  # in half precision, 1 + delta would lose most of delta
    full = {name: change.to(dtype) for name, change in patch.items()}
    return SplitPatch(
        {name: change for name, change in full.items() if name in convs},
        {name: change for name, change in full.items() if name in noises},
        {name: change for name, change in full.items() if name in parameters},
    )


def generate_one_by_one(
    generator: nn.Module,
    w: Tensor,  # [N, L, w_dim]
    changes: SplitPatch,
    features: dict[int, Tensor] | None = None,
    **options: Any,
) -> Tensor:  # [N, 3, H, W]
    """Draw each code with parameters of its own; `features` and `options` are the generator's."""
    own = synthesis_parameters(generator)
    others = {**changes.factors, **changes.noises}
    pictures, maps = [], []
    for index in range(len(w)):
        here = slice(index, index + 1)
        parameters = {name: own[name] + change[index] for name, change in changes.parameters.items()}
        patch = {name: change[here] for name, change in others.items()}
        seen: dict[int, Tensor] | None = None if features is None else {}
        drawing = options | {"features": seen, "patch": patch}
        pictures.append(torch.func.functional_call(generator, parameters, (w[here],), drawing))
        maps.append(seen or {})
    if features is not None:
        features |= {side: torch.cat([seen[side] for seen in maps]) for side in maps[0]}
    return torch.cat(pictures)
