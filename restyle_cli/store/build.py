"""From a network's description and tensors to the network: no random numbers, no second copy, nothing left over.

A network is built on the meta device and its tensors are put in place. Hence a network makes constants that are not
stored (`persistent=False`) on the CPU explicitly, or in its forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.encoders import ENCODERS
from restyle_cli.errors import RestyleError
from restyle_cli.generators import GENERATORS
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.registry import Registry
from restyle_cli.store.meta_init import meta_init

MAX_SETTING = 65_536
"""Greatest whole number in a network's description: a hostile one would have us build without end."""
TABLES: dict[str, Registry] = {"generator": GENERATORS, "encoder": ENCODERS, "perceptual": PERCEPTUAL}
"""Where a family is looked for, and what its networks are for."""
_DISCRIMINATOR = "discriminator"


class Unfit(RestyleError):
    """A network that cannot be built. The message is the reason alone: whoever knows the file says which it is."""


def role_of(family: str) -> str | None:
    """What networks of a family are for ("generator", "encoder", …); None for a family that is not known."""
    if family.endswith(f"-{_DISCRIMINATOR}"):
        return _DISCRIMINATOR
    return next((role for role, table in TABLES.items() if family in table), None)


def build_module(
    family: str,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    device: str | torch.device = "cpu",
    names: Mapping[str, str] | None = None,
) -> nn.Module:
    """The network of `family` with these tensors, in fp32 on `device`, ready for use (`eval`, no gradients).

    `names` are the file's own names of tensors. Unfit when the description cannot be built, or when a tensor is
    missing, left over or of another shape.
    """
    module = build_empty(family, config)
    check_fit(module, tensors, names or {})
    module.load_state_dict({name: _widened(tensor) for name, tensor in tensors.items()}, assign=True)
    left = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    assert not left, f"constants left on the meta device: {left}"
    return module.to(device).eval().requires_grad_(False)


def build_empty(family: str, config: dict[str, Any]) -> nn.Module:
    """The network of `family` with tensors of the meta device. Unfit when the description cannot be built."""
    table = next((table for table in TABLES.values() if family in table), None)
    if table is None:
        raise Unfit(f"it holds a '{family}', which this version does not know", "update restyle")
    network = table.load(family)
    if (largest := max(_whole_numbers(config), default=0)) > MAX_SETTING:
        raise Unfit(f"its description speaks of {largest}")
    try:
        with meta_init():
            return network(network.Config.from_dict(config))
    except RestyleError as error:
        raise Unfit(error.message) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise Unfit(f"it describes a '{family}' that cannot be built") from error


def _whole_numbers(config: dict[str, Any]) -> Iterator[int]:
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            yield value
        elif isinstance(value, list | tuple | dict):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Unfit naming the first tensor that is missing, left over or of another shape."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        theirs = names.get(name, name)
        if name not in tensors:
            raise Unfit(f"the tensor '{theirs}' is missing")
        if tensor.shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, its description asks for {list(tensor.shape)}"
            raise Unfit(f"the tensor '{theirs}' has shape {shapes}")
        if tensor.is_floating_point() != tensors[name].is_floating_point():
            raise Unfit(f"the tensor '{theirs}' holds {tensors[name].dtype}, where {tensor.dtype} belongs")
    for name in tensors:
        if name not in expected:
            raise Unfit(f"the tensor '{names.get(name, name)}' has no place in what the file describes")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Unfit naming the first tensor with NaN or infinity in it."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Unfit(
                f"the tensor '{name}' holds NaN or infinite values",
                "its training diverged, or the file was spoiled: take an earlier checkpoint",
            )


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
