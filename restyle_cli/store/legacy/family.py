"""What a family of published networks is: how its state dict is recognised, configured and renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.state_dicts import StateDict

Rename = tuple[str, str | Callable[[re.Match[str]], str] | None]
"""A pattern for a whole key of the file, and our name (a template or a function of the match); None to drop it."""
_LABELS = re.compile(r"(?:.*\.)?(?:\w*embed\w*|label_\w+|class_\w+)(?:\..+)?")
"""Keys of layers that read a class label."""


class Family:
    """One family of published networks. Subclasses say how their state dicts map to a network of this package."""

    title: str  # for messages, with its article: "a StyleGAN2"
    role: str  # in ROLES
    network: str  # name of the network in GENERATORS, ENCODERS or PERCEPTUAL
    keys: tuple[str, ...] = ()  # a state dict with all of these is of this family
    renames: Sequence[Rename] = ()  # the first pattern that matches applies; other keys keep their names

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a state dict is of this family, by its keys (and shapes)."""
        return all(key in state for key in self.keys)

    def check(self, found: StateDict) -> None:
        """RestyleError for a variant that restyle does not support."""

    def renames_for(self, found: StateDict) -> Sequence[Rename]:
        """`renames`, where they depend on the state dict."""
        return self.renames

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        """The tensor of the file in our shape: a view wherever possible."""
        return tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        """The network's `Config` as a dict, from the renamed tensors and the options in `found`."""
        raise NotImplementedError

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        """Metadata, see `Part.extra`."""
        return {}

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        """Add the tensors that the file lacks and the network needs."""

    def load(self, found: StateDict) -> Part:
        """The network in `found`; works on meta tensors too. RestyleError when it is not supported or incomplete."""
        try:
            self.check(found)
            tensors, names = self.renamed(found)
            config = self.config_from(tensors, found)
            extra = self.extra(found, config)
            self.complete(tensors, config)
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            message = f"it looks like {self.title}, but tensors are missing or have shapes that no such network has"
            raise RestyleError(message, "download the file again") from error
        return Part(self.role, self.network, config, tensors, extra, names)

    def renamed(self, found: StateDict) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors under our names, and the names that the file has for them."""
        renames = self.renames_for(found)
        tensors, names = {}, {}
        for key, tensor in found.tensors.items():
            if (name := rename(key, renames)) is not None:
                tensors[name] = self.convert(key, name, tensor)
                names[name] = found.prefix + key
        return tensors, names


def rename(key: str, renames: Sequence[Rename]) -> str | None:
    """Our name of a key; None if it is dropped."""
    for pattern, target in renames:
        if match := re.fullmatch(pattern, key):
            if target is None:
                return None
            return match.expand(target) if isinstance(target, str) else target(match)
    return key


def one_of(names: Mapping[str, str]) -> str:
    """A pattern that matches the keys of `names`."""
    return "|".join(map(re.escape, names))


# --- what families share


def check_unconditional(title: str, keys: Mapping[str, Tensor], labels: float = 0) -> None:
    """RestyleError for a generator that needs a class label. `labels`: the number of classes, if known."""
    if labels or any(_LABELS.fullmatch(key) for key in keys):
        raise RestyleError(
            f"this {title} is class-conditional (trained with labels), which restyle does not support",
            "use an unconditional one",
        )


def check_images(title: str, constant: Tensor, to_rgb: Tensor) -> None:
    """RestyleError for a generator whose images are not square or not RGB, by its constant [.., C, 4, 4] and the
    weight [.., 3, C, 1, 1] of a toRGB layer."""
    height, width = constant.shape[-2:] if constant.dim() > 2 else (4, 4)
    if height != width:
        raise RestyleError(
            f"this {title} generates images that are not square (it starts at {height}x{width}), which restyle does "
            "not support",
            "use one of square images",
        )
    if height != 4:
        raise RestyleError(f"this {title} starts at {height}x{width} pixels; restyle supports those that start at 4x4")
    if to_rgb.dim() >= 4 and (channels := to_rgb.shape[-4]) != 3:
        raise RestyleError(
            f"this {title} generates images with {channels} channel{'s' * (channels != 1)}; restyle supports RGB only",
            "use one of RGB images",
        )


def check_filter(title: str, key: str, taps: Tensor, published: Tensor) -> None:
    """RestyleError unless the low-pass filter `taps` of the file is the published one. It is not loaded."""
    if taps.is_meta:
        return
    if taps.shape[-2:] != published.shape or not torch.allclose(taps.float(), published, atol=1e-4):
        raise RestyleError(f"the filter '{key}' is not that of {title}", "restyle supports the published filter only")


def random_noises(layers: int, first: int, device: torch.device) -> dict[str, Tensor]:
    """Noise maps for a file without, the same ones each time; map k has the size of layer k + `first`, two a size."""
    generator = torch.Generator().manual_seed(0)
    sides = [4 * 2 ** ((layer + first) // 2) for layer in range(layers)]
    return {f"noise_{k}": torch.randn(1, 1, s, s, generator=generator).to(device) for k, s in enumerate(sides)}


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many names match the whole pattern."""
    return sum(re.fullmatch(pattern, name) is not None for name in tensors)


def stages(tensors: Mapping[str, Tensor], unit: str) -> tuple[list[int], list[int]]:
    """Widths and numbers of units of a ResNet's stages. `unit` matches the first convolution of each unit."""
    found = {int(m[1]): value.shape[0] for name, value in tensors.items() if (m := re.fullmatch(unit, name))}
    widths: list[int] = []
    blocks: list[int] = []
    for index in sorted(found):
        if not widths or widths[-1] != found[index]:
            widths.append(found[index])
            blocks.append(0)
        blocks[-1] += 1
    return widths, blocks
