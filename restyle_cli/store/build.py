"""Build networks from a configuration and tensors: on the meta device, so without random numbers and a second copy.

Hence a network creates constants that are not stored (`persistent=False`) on the CPU explicitly, or in its forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from restyle_cli.encoders import ENCODERS
from restyle_cli.errors import RestyleError
from restyle_cli.generators import GENERATORS
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.registry import Registry

MAX_SETTING = 65_536
"""Greatest integer in a configuration: a hostile one would have us build without end."""
REGISTRIES: dict[str, Registry] = {"generator": GENERATORS, "encoder": ENCODERS, "perceptual": PERCEPTUAL}
"""The networks of each role. Discriminators are among the perceptual networks."""
_INITIALISERS = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
}


class Unfit(RestyleError):
    """A network that cannot be built. The message is the reason only; the caller adds the file."""


def role_of(family: str) -> str | None:
    """The role of the networks of a family ("generator", "encoder", …); None for an unknown family."""
    if family.endswith("-discriminator"):
        return "discriminator"
    return next((role for role, registry in REGISTRIES.items() if family in registry), None)


def build_module(
    family: str,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    device: str | torch.device = "cpu",
    names: Mapping[str, str] | None = None,
) -> nn.Module:
    """The network of `family` with these tensors, in fp32 on `device`, in eval mode and without gradients.

    `names` are the tensors' names in the file, for messages. Unfit when the configuration cannot be built, or when a
    tensor is missing, unexpected or of another shape.
    """
    module = build_empty(family, config)
    check_fit(module, tensors, names or {})
    fp32 = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    module.load_state_dict(fp32, assign=True)
    left = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    assert not left, f"constants left on the meta device: {left}"
    return module.to(device).eval().requires_grad_(False)


def build_empty(family: str, config: dict[str, Any]) -> nn.Module:
    """The network of `family` with meta tensors. Unfit when the configuration cannot be built."""
    registry = next((registry for registry in REGISTRIES.values() if family in registry), None)
    if registry is None:
        raise Unfit(f"it contains a '{family}', which this version does not know", "update restyle")
    network = registry.load(family)
    if (largest := max(_integers(config), default=0)) > MAX_SETTING:
        raise Unfit(f"its configuration contains the number {largest}")
    try:
        with meta_init():
            return network(network.Config.from_dict(config))
    except RestyleError as error:
        raise Unfit(error.message) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise Unfit(f"it describes a '{family}' that cannot be built") from error


def _integers(config: dict[str, Any]) -> Iterator[int]:
    waiting: list[Any] = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            yield value
        elif isinstance(value, list | tuple | dict):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Unfit, with the name of the first tensor that is missing, unexpected or of another shape."""
    expected = module.state_dict()
    for name, tensor in expected.items():
        shown = names.get(name, name)
        if name not in tensors:
            raise Unfit(f"the tensor '{shown}' is missing")
        if tensor.shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, expected {list(tensor.shape)}"
            raise Unfit(f"the tensor '{shown}' has shape {shapes}")
        if tensor.is_floating_point() != tensors[name].is_floating_point():
            raise Unfit(f"the tensor '{shown}' has dtype {tensors[name].dtype}, expected {tensor.dtype}")
    for name in tensors:
        if name not in expected:
            raise Unfit(f"the tensor '{names.get(name, name)}' is unexpected")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Unfit, with the name of the first tensor that contains NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Unfit(
                f"the tensor '{name}' contains NaN or infinite values",
                "its training diverged, or the file is damaged: use an earlier checkpoint",
            )


@contextmanager
def meta_init() -> Iterator[None]:
    """Modules created in this context have meta tensors and are not initialised; no random numbers are used.

    The meta device alone would do, but its random initialisation imports torch's compiler, which takes a second.
    """
    with torch.device("meta"), _NoInit():
        yield


class _NoInit(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function in _INITIALISERS:
            return arguments[0] if arguments else options["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **options)
