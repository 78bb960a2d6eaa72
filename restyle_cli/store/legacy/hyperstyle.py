"""HyperStyle's hypernetworks (Alaluf et al. 2022): weight offsets for the convolutions of a StyleGAN2."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from restyle_cli.encoders.hyper import KERNEL
from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.family import Family, Rename
from restyle_cli.store.legacy.psp import input_config
from restyle_cli.store.legacy.state_dicts import StateDict

_SHARED = "shared_weight_hypernet."


class HyperNetwork(Family):
    """One head ("refinement block") for each changed layer of the generator. Several heads share their last layers."""

    title = "a hypernetwork of HyperStyle"
    role = "encoder"
    network = "hyper"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return bool(_layers(state))

    def renames_for(self, found: StateDict) -> Sequence[Rename]:
        head = {str(layer): index for index, layer in enumerate(_layers(found.tensors))}
        block = r"refinement_blocks\.(\d+)\."
        return (
            (rf"{re.escape(_SHARED)}(.+)", r"kernels.\1"),
            (rf"{block}hypernet\..+", None),  # the shared layers, listed again in each head that uses them
            (rf"{block}convs\.(\d+)\.(.+)", lambda m: f"heads.{head[m[1]]}.descent.convs.{int(m[2]) // 2}.{m[3]}"),
            (rf"{block}output\.0\.make_kernel_(.+)", lambda m: f"heads.{head[m[1]]}.make_{m[2]}"),
            (rf"{block}output\.0\.kernel_linear_(.+)", lambda m: f"heads.{head[m[1]]}.mix_{m[2]}"),
            (rf"{block}output\.1\.(.+)", lambda m: f"heads.{head[m[1]]}.linear.{m[2]}"),
            (rf"{block}(.+)", lambda m: f"heads.{head[m[1]]}.{m[2]}"),
            (r"(.+)", r"backbone.\1"),
        )

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        return tensor.flatten(1) if key.endswith("output.1.weight") else tensor

    def check(self, found: StateDict) -> None:
        if to_rgb := next((layer for layer in _layers(found.tensors) if layer % 3 == 1), None):
            message = f"this hypernetwork changes layer {to_rgb} of the generator, a toRGB"
            raise RestyleError(message, "restyle supports changes of 3x3 convolutions only")

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        layers = _layers(found.tensors)
        convs = {layer: f"convs.{layer - (layer + 1) // 3}" for layer in layers}
        widths = _widths(found.tensors, layers)
        sharing = [layer for layer in layers if f"refinement_blocks.{layer}.linear.weight" in found.tensors]
        return input_config(tensors["backbone.conv1.weight"], "resnet34", found.opts) | {
            "targets": [[convs[layer], *widths[layer]] for layer in layers],
            "sharing": [convs[layer] for layer in sharing],
            "separable": any(name.endswith(".make_in.weight") for name in tensors),
        }

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        return {"method": "hyperstyle"}


def _layers(state: Mapping[str, Tensor]) -> list[int]:
    """The layers of the generator that have a head. It counts conv1, to_rgb1, then up conv, conv and to_rgb of each
    resolution."""
    return sorted({int(found[1]) for key in state if (found := re.match(r"refinement_blocks\.(\d+)\.", key))})


def _widths(state: Mapping[str, Tensor], layers: Sequence[int]) -> dict[int, tuple[int, int]]:
    """(output, input) channels of each layer. A head that predicts factors only has their product: there a plain layer
    has as many outputs as inputs, and an up layer has the outputs of the plain layer behind it."""
    widths: dict[int, tuple[int, int]] = {}
    for layer in reversed(layers):
        head = f"refinement_blocks.{layer}."
        if f"{head}linear.weight" in state:
            code, row = state[f"{_SHARED}w1"].shape
            widths[layer] = row // KERNEL**2, state[f"{_SHARED}w2"].shape[1] // code
        elif f"{head}output.0.kernel_linear_in.weight" in state:
            outputs, inputs = (state[f"{head}output.0.kernel_linear_{end}.weight"].shape[0] for end in ("out", "in"))
            widths[layer] = outputs, inputs
        else:
            factors = state[f"{head}output.1.weight"].shape[0]
            outputs = math.isqrt(factors) if layer % 3 == 0 else widths.get(layer + 1, (0, 0))[0]
            if outputs == 0 or factors % outputs:
                raise RestyleError(f"this hypernetwork's layer {layer} has {factors} factors, for no known channels")
            widths[layer] = outputs, factors // outputs
    return widths
