"""From a recipe to the parts of a training: frozen generator, network to train, networks of the losses, data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restyle_cli import models
from restyle_cli.align import AlignOptions, alignment_rule
from restyle_cli.data.face_space import CODE_DIM
from restyle_cli.data.folder import Folder
from restyle_cli.data.generated import Generated
from restyle_cli.data.pairs import Pairs
from restyle_cli.data.renders import FacesAndPhotos, Renders
from restyle_cli.data.source import Source
from restyle_cli.encoders import ENCODERS
from restyle_cli.encoders.base import Encoder, widen_input
from restyle_cli.encoders.hyper import choose_targets
from restyle_cli.encoders.small import to_offsets
from restyle_cli.errors import RestyleError, UsageError, did_you_mean
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.inversion import Method, target_size
from restyle_cli.io import check_regular, reading_failed
from restyle_cli.methods import METHODS
from restyle_cli.models.build import crop_as_domain
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import describe, read_module, write_module
from restyle_cli.train.config import Recipe
from restyle_cli.train.losses import IMAGE_LOSSES

E4E_METHODS = ("e4e", "restyle-e4e")
HYPERNETWORKS = ("hyper", "small-hyper")
TRAINABLE = ("restyle-psp", "restyle-e4e", "psp", "e4e", "e4e-w", "hyperstyle")
LOSS_NETWORKS = {"lpips": ("lpips-alex",), "id": ("arcface", "dlib"), "moco": ("moco",)}
"""The catalog's networks for each loss, best first."""


@dataclass(frozen=True)
class Parts:
    """What an encoder is trained with. `loss_models`: the model of each of `loss_networks`, for people.

    `first`: methods that find the first latent.
    """

    generator: StyleGenerator
    generator_file: Path
    network: Encoder
    source: Source
    loss_networks: Mapping[str, nn.Module] = field(default_factory=dict)
    loss_models: Mapping[str, str] = field(default_factory=dict)
    first: Sequence[Method] = ()


def build_parts(recipe: Recipe, folder: Path, device: torch.device) -> Parts:
    """The parts that the recipe names, on `device`; aligned images are kept in `folder`."""
    if recipe.generator is None:
        raise UsageError(f"the recipe '{recipe.name}' names no generator", "name one with --generator")
    generator, file = read_generator(recipe.generator, device)
    network = build_network(recipe, generator)
    networks, names = loss_networks(recipe, device)
    source = build_source(recipe, generator, folder / "aligned")
    return Parts(generator, file, network, source, networks, names, first_methods(recipe, generator, file, device))


def read_generator(name: str, device: torch.device) -> tuple[StyleGenerator, Path]:
    """The generator called `name`, or in that file, frozen on `device`; RestyleError if there is none."""
    path = _file(name, "--generator takes a name of `restyle weights list`, or a file")
    generator = read_module(path, device, "generator")
    assert isinstance(generator, StyleGenerator)
    crop_as_domain(generator, name)
    return generator.eval().requires_grad_(False), path


def _file(name: str, hint: str) -> Path:
    if any(entry.name == name for entry in catalog.entries()):
        return fetch.ensure(catalog.find(name))
    path = Path(name)
    if not path.suffix and not path.exists():
        near = did_you_mean(name, [entry.name for entry in catalog.entries()])
        raise RestyleError(f"no model named '{name}'", near or hint)
    try:
        check_regular(path)
    except OSError as error:
        raise reading_failed(path, error) from error
    return path


def build_network(recipe: Recipe, generator: StyleGenerator) -> Encoder:
    """The network to train, with the weights that the recipe starts from."""
    if recipe.method not in TRAINABLE:
        raise UsageError(
            f"the method '{recipe.method}' has nothing to train",
            did_you_mean(recipe.method, TRAINABLE) or f"choose from {', '.join(TRAINABLE)}",
        )
    settings = dict(recipe.model)
    architecture = str(settings.pop("architecture", "small-hyper" if recipe.method == "hyperstyle" else "small"))
    if (architecture in HYPERNETWORKS) != (recipe.method == "hyperstyle"):
        raise RestyleError(f"the architecture '{architecture}' does not serve the method '{recipe.method}'")
    network_class: Any = ENCODERS.load(architecture)
    fields = {field.name for field in dataclasses.fields(network_class.Config)}
    facts: dict[str, Any] = {
        "styles": generator.layers,
        "w_dim": generator.config.w_dim,
        "input_channels": METHODS.load(recipe.method).input_channels,
        "codes": "e4e" if recipe.method in E4E_METHODS else "psp",
    }
    height, width = generator.size
    if "input_size" in fields and height != width:
        facts["input_size"] = target_size(generator)
    if architecture in HYPERNETWORKS:
        facts |= choose_targets(generator.conv_shapes())
    try:
        config = network_class.Config.from_dict({k: v for k, v in facts.items() if k in fields} | settings)
        network = network_class(config)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise RestyleError(f"the recipe '{recipe.name}' is wrong at 'model': {error}") from error
    return network if recipe.start_from is None else _started(network, recipe.start_from)


@torch.no_grad()
def _started(network: Any, name: str) -> Encoder:
    """`network` with the weights of the encoder `name`, or of a backbone ("arcface", "resnet34") in its own."""
    before: Any = read_module(_file(name, "start_from takes a name of `restyle weights list`, or a file"))
    if hasattr(network, "backbone") and not hasattr(before, "heads") and not hasattr(before, "backbone"):
        return _with_backbone(network, before, name)
    if type(before) is not type(network):
        raise RestyleError(
            f"'{name}' is a {type(before).__name__}, the recipe trains a {type(network).__name__}",
            "set model.architecture to that of start_from",
        )
    if before.config.input_channels < network.config.input_channels:
        before = widen_input(before, network.config.input_channels)
    if before.config.codes != network.config.codes and network.config.codes == "e4e":
        before = to_offsets(before)
    if before.config != network.config:
        own, theirs = network.config.to_dict(), before.config.to_dict()
        differing = ", ".join(f"{key} {theirs[key]} instead of {own[key]}" for key in own if own[key] != theirs[key])
        raise RestyleError(f"'{name}' has another shape than the recipe asks for: {differing}")
    network.load_state_dict(before.state_dict())
    return network


def _with_backbone(network: Any, before: nn.Module, name: str) -> Encoder:
    """Copy a backbone's weights. Of the first convolution's input channels the first three are copied; the others
    keep weights from N(0, 1), as published.
    """
    own, copied = network.backbone.state_dict(), 0
    for key, value in before.state_dict().items():
        if key not in own:
            continue
        if own[key].shape == value.shape:
            own[key].copy_(value)
        elif own[key].dim() == 4 and own[key].shape[0] == value.shape[0] and own[key].shape[2:] == value.shape[2:]:
            nn.init.normal_(own[key])
            own[key][:, : value.shape[1]] = value
        else:
            raise RestyleError(f"the backbone '{name}' has another shape at '{key}'", "set model.backbone to its kind")
        copied += 1
    if copied < len(own):
        raise RestyleError(f"'{name}' is not a backbone for this encoder", "set model.backbone to its kind")
    return network


def loss_networks(recipe: Recipe, device: torch.device) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The frozen networks of the recipe's losses by "lpips", "id" or "moco", and the name of the model of each.

    RestyleError if one is not installed: a loss is never computed by another network than the recipe names.
    """
    needed = {
        loss.network
        for stage in recipe.stages
        for name, loss in IMAGE_LOSSES.items()
        if stage.losses.get(name) and loss.network
    }
    networks, names = {}, {}
    for kind in sorted(needed):
        wanted = (recipe.networks[kind],) if kind in recipe.networks else LOSS_NETWORKS[kind]
        entries = [catalog.find(name) for name in wanted]
        ready = next((entry for entry in entries if fetch.installed(entry)), None)
        if ready is None:
            raise RestyleError(
                f"the loss '{kind}' needs {' or '.join(wanted)}, which is not installed",
                f"run `restyle weights get {wanted[0]}`, or set losses.{kind} to 0",
            )
        networks[kind] = read_module(fetch.path_of(ready), device, "perceptual").requires_grad_(False)
        names[kind] = ready.name
    return networks, names


def build_source(recipe: Recipe, generator: StyleGenerator, cache: Path) -> Source:
    """The recipe's data, of the generator's aspect ratio; RestyleError if a folder is missing."""
    data = recipe.data
    height, width = generator.size
    side = min(data.resolution, max(height, width))
    size = (round(height * side / max(height, width)), round(width * side / max(height, width)))
    if data.kind == "generated":
        return Generated(generator, size, data.truncation)
    if data.kind == "faces" and data.folder is not None:
        if not isinstance(generator, StyleGAN2) or generator.config.z_dim != CODE_DIM:
            raise RestyleError(f"'{recipe.generator}' is not a generator of rendered faces", "use the generator 'face'")
        renders = Renders(Path(data.folder), cache, data.resolution, data.count, data.held_out, data.style)
        return FacesAndPhotos(renders, generator, size, data.photos)
    if data.folder is None or (data.kind == "pairs" and data.inputs is None):
        raise UsageError("the recipe has no data", "name a folder: --data FOLDER, or data.folder in the recipe")
    if data.kind == "pairs":
        labels = int(recipe.model.get("input_channels", 3)) > 3  # one channel per class
        return Pairs(Path(str(data.inputs)), Path(data.folder), size, data.flip, data.validation, labels)
    options = AlignOptions(data.align, rule=alignment_rule(str(recipe.generator)))
    return Folder(Path(data.folder), size, cache, options, data.flip, data.validation)


def first_methods(recipe: Recipe, generator: StyleGenerator, file: Path, device: torch.device) -> list[Method]:
    """The methods of the recipe's chain `first`; those on the recipe's own generator share it."""
    if recipe.first is None:
        return []
    plan = models.plan(recipe.first, via=recipe.first)
    methods = plan.load(device).methods
    files = [model.generator.path for model, count in zip(plan.models, plan.steps, strict=True) for _ in range(count)]
    for method, path in zip(methods, files, strict=True):
        if path.resolve() == file.resolve():
            method.generator = generator
    return methods


def family_of(network: nn.Module) -> str:
    """The name of the network's class among the encoders."""
    return next(name for name in ENCODERS.names() if ENCODERS.load(name) is type(network))


def generator_reference(name: str, file: Path, generator: StyleGenerator, folder: Path) -> str:
    """How an encoder's file in `folder` names its generator: by its name in the catalog, or as a file next to it.

    A generator that the catalog does not know is written to the folder, once.
    """
    if any(entry.name == name for entry in catalog.entries()):
        return name
    own = folder / "generator.safetensors"
    if not own.exists():
        part = next(part for part in describe(file, "generator") if part.role == "generator")
        write_module(own, generator, part.family, part.extra)
    return own.stem
