"""Encoders of pSp (Richardson et al. 2021), e4e (Tov et al. 2021) and ReStyle (Alaluf et al. 2021): a head for each
style, or one linear layer for all.

The published files have each head apart; here heads are stacked. The originals are released one by one, so that no
more than one stack is in memory twice. All other tensors are views.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from restyle_cli.encoders.psp import COARSE, MIDDLE
from restyle_cli.encoders.restyle import STRIDE
from restyle_cli.errors import RestyleError
from restyle_cli.store.legacy.family import Family, count, stages
from restyle_cli.store.legacy.state_dicts import StateDict, number

E4E_TYPES = ("ProgressiveBackboneEncoder", "ResNetProgressiveBackboneEncoder", "Encoder4Editing")
"""`opts.encoder_type` of encoders that return a base vector and offsets from it. Nothing else in a file tells."""
PSP_TYPES = ("BackboneEncoder", "ResNetBackboneEncoder", "GradualStyleEncoder", "ResNetGradualStyleEncoder")
TASKS = {"frontalize": "frontal", "sketch": "sketch", "seg": "labels", "super_resolution": "super-resolution"}
"""A part of `opts.dataset_type` -> the task of a pSp encoder that does not reconstruct its input."""
BACKBONES = {"ir-se50": "input_layer.0.weight", "resnet34": "conv1.weight"}
"""First convolution of each backbone."""
UNITS = {"ir-se50": r"body\.(\d+)\.res_layer\.1\.weight", "resnet34": r"body\.(\d+)\.conv1\.weight"}
"""First convolution of each unit of a backbone."""


def backbone_of(state: Mapping[str, Tensor], prefix: str = "") -> str | None:
    """The backbone among these tensors; None if there is none."""
    for name, first in BACKBONES.items():
        if prefix + first in state and any(re.fullmatch(re.escape(prefix) + UNITS[name], key) for key in state):
            return name
    return None


def is_cars(opts: Mapping[str, Any]) -> bool:
    """Whether the encoder was trained on cars, whose images are cropped to 3:4."""
    return "cars" in str(opts.get("dataset_type", ""))


def styles_of(opts: Mapping[str, Any]) -> int | None:
    """The number of styles of the generator that the encoder is for; None if the options do not say."""
    size = int(number(opts, "output_size", number(opts, "stylegan_size", 0)))
    return 2 * (size.bit_length() - 1) - 2 if size else None


def with_absolute(extra: dict[str, Any], found: StateDict) -> dict[str, Any]:
    """`extra`, and whether the encoder predicts latents rather than offsets from the average latent."""
    relative = found.opts.get("start_from_latent_avg", found.average is not None)
    return extra if relative else extra | {"absolute": True}


class StyleHeadEncoder(Family):
    """An encoder with one head a style on an IR-SE50 or ResNet-34. See `PyramidEncoder` for the other form."""

    title = "an encoder of the pSp family"
    role = "encoder"
    network = "restyle"
    pyramid = False

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        heads = any(key.startswith("styles.") for key in state)
        return heads and backbone_of(state) is not None and ("latlayer1.weight" in state) == self.pyramid

    def renamed(self, found: StateDict) -> tuple[dict[str, Tensor], dict[str, str]]:
        tensors, names = {}, {}
        for key, value in found.tensors.items():
            if not key.startswith("styles."):
                name = key if key.startswith("latlayer") else f"backbone.{key}"
                tensors[name], names[name] = value, found.prefix + key
        heads = {int(match[1]) for key in found.tensors if (match := re.match(r"styles\.(\d+)\.", key))}
        # e4e's for cars has more heads than its generator has styles.
        styles = min(1 + max(heads), styles_of(found.opts) or 1 + max(heads))
        for group, members in groups_of(styles, self.pyramid).items():
            tensors |= {f"{group}.{kind}": stack for kind, stack in stack_heads(found, members).items()}
        return tensors, names

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        backbone = backbone_of(tensors, "backbone.") or ""
        widths, blocks = stages(tensors, r"backbone\." + UNITS[backbone])
        groups = ("coarse", "middle", "fine") if self.pyramid else ("heads",)
        linear = tensors[f"{groups[0]}.linear.weight"]
        depth = count(tensors, groups[0] + r"\.convs\.\d+\.weight")
        if not 1 <= depth <= 8:
            raise ValueError(f"a head with {depth} convolutions")
        side = STRIDE * 2**depth
        return {
            "input_channels": tensors[f"backbone.{BACKBONES[backbone]}"].shape[1],
            "styles": sum(tensors[f"{group}.linear.weight"].shape[0] for group in groups),
            "w_dim": linear.shape[1],
            "codes": _codes(found.opts.get("encoder_type")),
            "backbone": backbone,
            "input_size": [side * 3 // 4 if is_cars(found.opts) else side, side],
            "widths": widths,
            "blocks": blocks,
        }

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        trained = str(found.opts.get("dataset_type", ""))
        task = next((task for word, task in TASKS.items() if word in trained), None)
        extra = {"task": task} if task else {}
        if config["input_channels"] == 6:
            return {"method": f"restyle-{config['codes']}"} | extra
        return with_absolute({"method": config["codes"]} | extra, found)


class PyramidEncoder(StyleHeadEncoder):
    """An encoder whose heads read three levels of a feature pyramid: pSp's and e4e's own."""

    network = "psp"
    pyramid = True


def groups_of(styles: int, pyramid: bool) -> dict[str, range]:
    """The heads that are stacked under each of our names."""
    if not pyramid:
        return {"heads": range(styles)}
    middle = COARSE + MIDDLE
    return {"coarse": range(COARSE), "middle": range(COARSE, middle), "fine": range(middle, styles)}


def stack_heads(found: StateDict, heads: Iterable[int]) -> dict[str, Tensor]:
    """The tensors of some heads, stacked and in fp32: {"convs.0.weight": [S, …], …}. They are taken out of `found`.

    RestyleError where heads differ in shape.
    """
    first, *_ = heads
    start = f"styles.{first}."
    stacks = {}
    for kind in [key.removeprefix(start) for key in found.tensors if key.startswith(start)]:
        # A head is a list of convolutions and activations: its convolutions are 0, 2, 4, …
        name = re.sub(r"convs\.(\d+)", lambda match: f"convs.{int(match[1]) // 2}", kind)
        like = found.tensors[start + kind]
        stack = torch.empty(len([*heads]), *like.shape, device=like.device)
        for index, head in enumerate(heads):
            key = f"styles.{head}.{kind}"
            if key not in found.tensors:
                raise RestyleError(f"the tensor '{found.prefix}{key}' is missing", "download the file again")
            if (shape := found.tensors[key].shape) != like.shape:
                shapes = f"{list(shape)}, that of '{found.prefix}{start}{kind}' is {list(like.shape)}"
                raise RestyleError(f"the tensor '{found.prefix}{key}' has shape {shapes}", "download the file again")
            stack[index].copy_(found.tensors.pop(key))
        stacks[name] = stack
    return stacks


def _codes(encoder_type: Any) -> str:
    if encoder_type in E4E_TYPES:
        return "e4e"
    if encoder_type in PSP_TYPES:
        return "psp"
    what = f"is of the type '{encoder_type}'" if encoder_type else "does not say of which type it is"
    raise RestyleError(
        f"an encoder that {what}",
        "opts.encoder_type in the file (in safetensors: encoder_type in the metadata) or the name of a published file "
        f"must tell; known types: {', '.join((*PSP_TYPES, *E4E_TYPES))}",
    )


class OneLayerEncoder(Family):
    """An encoder that predicts one w, or all styles, with one linear layer: HyperStyle's e4e-W, and two of pSp's."""

    title = "an encoder with one linear layer"
    role = "encoder"
    network = "w"
    keys = ("linear.weight",)
    renames = (
        (r"output_layer_2\.0\.(.+)", r"norm.\1"),
        (r"output_layer_2\.3\.(.+)", r"squeeze.\1"),
        (r"((?!linear\.|output_layer_2\.).+)", r"backbone.\1"),
    )

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return super().matches(state) and backbone_of(state) is not None

    def config_from(self, tensors: dict[str, Tensor], found: StateDict) -> dict[str, Any]:
        backbone = backbone_of(tensors, "backbone.") or ""
        config = input_config(tensors[f"backbone.{BACKBONES[backbone]}"], backbone, found.opts)
        single = not any(name.startswith("squeeze.") for name in tensors)
        styles = config["styles"] if single else tensors["linear.weight"].shape[0] // config["w_dim"]
        return config | {"single": single, "styles": styles}

    def extra(self, found: StateDict, config: dict[str, Any]) -> dict[str, Any]:
        psp = str(found.opts.get("encoder_type", "")).startswith("BackboneEncoder") or not config["single"]
        return with_absolute({"method": "psp" if psp else "e4e-w"}, found)


def input_config(first: Tensor, backbone: str, opts: Mapping[str, Any]) -> dict[str, Any]:
    """What an encoder with this first convolution reads, and for which generator."""
    return {
        "input_channels": first.shape[1],
        "styles": styles_of(opts) or 18,
        "backbone": backbone,
        "input_size": [192, 256] if is_cars(opts) else [256, 256],
        "w_dim": 512,
    }
