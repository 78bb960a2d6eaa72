"""Patches: changes of a generator per image.

A patch maps names to changes:

- "convs.3", a convolution: factors of its kernel, 1 + delta, [N, O, I, k, k] or [N, O, I, 1, 1] (HyperStyle)
- "convs.3.weight", "const", …, a parameter of the synthesis network: added, [N, *shape] (pivotal tuning)
- "noise_3", a stored noise map: added, [N, 1, h, w] (Image2StyleGAN++, StyleGAN2's projector)

Factors and noise maps can differ within a batch at no cost. Changed parameters cannot: their images are generated one
by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError, did_you_mean

if TYPE_CHECKING:
    from restyle_cli.generators.base import StyleGenerator

MAPPING = "mapping."
"""Prefix of the parameters of the mapping network, which a patch cannot change."""
NOISE = "noise_"
"""Prefix of the stored noise maps."""


@dataclass(frozen=True)
class SplitPatch:
    """A patch, split by what it changes; all values are [N, …]."""

    factors: Mapping[str, Tensor] = field(default_factory=dict)
    noises: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)


def synthesis_parameters(generator: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a patch can change, by name: all but those of the mapping network."""
    return {name: value for name, value in generator.named_parameters() if not name.startswith(MAPPING)}


def noise_maps(generator: nn.Module) -> dict[str, Tensor]:
    """The stored noise maps that a patch can change, by name, each [1, 1, h, w]."""
    return {name: value for name, value in generator.named_buffers() if name.startswith(NOISE)}


def split_patch(
    generator: StyleGenerator,
    patch: Mapping[str, Tensor] | None,
    n: int,  # images
) -> SplitPatch:
    """Split `patch` and convert it to the dtype of the generator; RestyleError for an unknown name or a wrong shape."""
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
            hint = f"for {n} latents this generator takes {takes}{kernel}"
            raise RestyleError(f"a change of '{name}' has shape {list(shape)}", hint)
    dtype = next(iter(parameters.values())).dtype  # 1 + delta in half precision would lose most of delta
    cast = {name: change.to(dtype) for name, change in patch.items()}
    return SplitPatch(
        {name: change for name, change in cast.items() if name in convs},
        {name: change for name, change in cast.items() if name in noises},
        {name: change for name, change in cast.items() if name in parameters},
    )


def generate_one_by_one(
    generator: nn.Module,
    w: Tensor,  # [N, L, w_dim]
    changes: SplitPatch,
    features: dict[int, Tensor] | None = None,
    **options: Any,
) -> Tensor:  # [N, 3, H, W]
    """Render each latent with its own parameters; `features` and `options` are those of the generator's `forward`."""
    base = synthesis_parameters(generator)
    others = {**changes.factors, **changes.noises}
    images, maps = [], []
    for index in range(len(w)):
        row = slice(index, index + 1)
        parameters = {name: base[name] + change[index] for name, change in changes.parameters.items()}
        patch = {name: change[row] for name, change in others.items()}
        own_features: dict[int, Tensor] | None = None if features is None else {}
        arguments = options | {"features": own_features, "patch": patch}
        images.append(torch.func.functional_call(generator, parameters, (w[row],), arguments))
        maps.append(own_features or {})
    if features is not None:
        features |= {side: torch.cat([own[side] for own in maps]) for side in maps[0]}
    return torch.cat(images)
