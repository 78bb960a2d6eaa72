"""Training a StyleGAN2 to generate what the face renderer renders: each known code against its image.

The mapping network is not trained: it is set so that it maps z to w as the renderer's codes lie in W (`face_space`).
A share of each batch mixes styles: the layers of a group keep the numbers of the code that they answer for and get all
others from another face, while the target stays. So coarse, middle and fine layers learn their own part.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.data import face_space
from restyle_cli.data.face_space import CODE_DIM, layer_groups
from restyle_cli.data.renders import Renders
from restyle_cli.data.source import Batch, Note
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyledConv, StyleGAN2, StyleGAN2Config, ToRGB
from restyle_cli.images import fit
from restyle_cli.ops.layers import GAIN, EqualLinear, pixel_norm
from restyle_cli.store.files import write_module
from restyle_cli.train.build import loss_networks, read_generator
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.losses import ImageObjective, check_losses
from restyle_cli.train.patch_discriminator import PatchAdversary
from restyle_cli.train.pixel_losses import TERMS, pixel_loss
from restyle_cli.train.task import Loss, Sheet

FIRST_LAYERS = (0, 4, 8)  # of coarse, middle and fine styles
NEW_LAYER_GAIN = 0.1  # a new resolution starts as a small change of the image below it


class FaceGenerator:
    """The task of the loop for the generator of faces."""

    @classmethod
    def of_recipe(cls, recipe: Recipe, folder: Path, device: torch.device) -> FaceGenerator:
        """The task of a recipe; renders are kept in `folder`."""
        return cls(recipe, folder, device)

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device) -> None:
        """RestyleError if the recipe names no photographs, or what it starts from has another shape."""
        if recipe.data.folder is None:
            raise RestyleError(
                f"the recipe '{recipe.name}' blends photographs and needs their folder",
                "--data FOLDER; see 'Face Research Lab London Set', doi 10.6084/m9.figshare.5047666",
            )
        self.recipe, self.device = recipe, device
        config = StyleGAN2Config(z_dim=CODE_DIM, noise=False, mapping_layers=1, mapping_lr_mul=1.0, **recipe.model)
        self.network = StyleGAN2(config)
        if recipe.start_from is not None:
            before, _ = read_generator(recipe.start_from, torch.device("cpu"))
            if before.config != config:
                raise RestyleError(f"'{recipe.start_from}' has another shape than the recipe asks for")
            self.network.load_state_dict(before.state_dict())
            shift_w(self.network, -1)
        self.network.mapping.requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        data = recipe.data
        self.source = Renders(Path(recipe.data.folder), folder, data.resolution, data.count, data.held_out, data.style)
        self.adversary = PatchAdversary(device)
        for stage in recipe.stages:
            check_losses(perceptual_terms(stage), known_latents=False, discriminator=False)
        self.loss_networks, self.loss_models = loss_networks(recipe, device)
        self.groups = torch.from_numpy(layer_groups()).to(device)

    def prepare(self, note: Note) -> None:
        """Render the faces."""
        self.source.prepare(note)
        if self.recipe.start_from is None:
            set_mapping(self.network, face_space.w_directions(self.source.space, self.network.config.w_dim))
        self.held_out = self.source.validation(self.recipe.validation.images)

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Grow: what the new resolutions add starts small."""
        if before is None:
            return
        for block, to_rgb in enumerate(self.network.to_rgbs):
            if _resolution(before, self.recipe) < 2 ** (block + 2) <= _resolution(stage, self.recipe):
                to_rgb.get_parameter("weight").data.mul_(NEW_LAYER_GAIN)

    def losses(self, network: nn.Module, batch: Batch, stage: Stage, step: int) -> Iterator[Loss]:
        """The losses of the images; where the stage has a discriminator, with its gradient."""
        assert batch.w is not None
        rng = np.random.default_rng([self.recipe.seed, 2, step])
        resolution = _resolution(stage, self.recipe)
        target = F.adaptive_avg_pool2d(batch.y, resolution)
        other = self.source.codes[rng.integers(len(self.source.codes), size=len(target))].to(target.device)
        mixed = torch.from_numpy(rng.random(len(target)) < stage.mixing).to(target.device)
        image = network(self.styles(batch.w, other, mixed), upto=resolution)
        generated = image.detach().float().requires_grad_(True)
        loss = pixel_loss(generated, target, pixel_terms(stage), stage.focus)
        perceptual, terms = ImageObjective(perceptual_terms(stage), self.loss_networks)(generated, target)
        loss = loss + perceptual
        (gradient,) = torch.autograd.grad(loss, generated)
        if stage.adversary:
            gradient = self.adversary.gradient(generated, target, gradient, stage.adversary)
        yield Loss((image * gradient).sum(), loss.detach(), terms)

    def styles(self, own: Tensor, other: Tensor, mixed: Tensor) -> Tensor:
        """Codes [N, K] → w [N, L, w_dim]; where `mixed` [N], each group's layers see only their part of `own`."""
        layers, found = self.network.layers, []
        bounds = (*(min(first, layers) for first in FIRST_LAYERS), layers)  # small generators have no fine layers
        for group, (first, end) in enumerate(pairwise(bounds)):
            code = torch.where(self.groups[group] | ~mixed[:, None], own, other)
            found.append(embed(self.network, code)[:, None].expand(-1, end - first, -1))
            other = other.roll(1, dims=0)
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """PSNR in dB on held-out faces, with and without mixed styles, and L2."""
        codes, target = self._held_out(stage)
        l2 = {}
        for name, mixed in (("psnr", False), ("psnr_mixed", True)):
            w = self.styles(codes, codes.roll(7, dims=0), torch.full((len(codes),), mixed, device=codes.device))
            l2[name] = float((self._generate(network, w, stage) - target).square().mean())
        return {name: 10 * math.log10(4 / value) for name, value in l2.items()} | {"l2": l2["psnr"]}

    @torch.no_grad()
    def sheet(self, network: nn.Module, stage: Stage) -> Sheet:
        """Held-out faces, what the network generates of their codes, and faces of random z."""
        codes, target = self._held_out(stage)
        z = torch.randn(8, CODE_DIM, generator=torch.Generator().manual_seed(0)).to(self.device)
        random = torch.cat([embed(self.network, codes[:8]), embed(self.network, pixel_norm(z))])
        image = self._generate(network, self.network.w_plus(random), stage)
        rows = zip(target[:8], image[:8], image[8:], strict=True)
        return Sheet(["rendered", "generated", "random"], [[one.cpu() for one in row] for row in rows])

    def save(self, network: nn.Module, path: Path, trained: dict[str, Any]) -> None:
        """Write the generator in half precision, with W where other generators have it."""
        network = copy.deepcopy(network)  # training continues on the original
        assert isinstance(network, StyleGAN2)
        shift_w(network, 1)
        extra = {"latent_space": "face", "style": self.recipe.data.style, "trained": trained}
        write_module(path, network, "stylegan2", extra, half=True)

    def describe(self) -> dict[str, str]:
        """For people."""
        million = sum(parameter.numel() for parameter in self.network.parameters()) / 1e6
        network = f"StyleGAN2 of {self.network.config.resolution} px, {million:.1f} million parameters"
        return {"network": network} | {f"loss {kind}": name for kind, name in self.loss_models.items()}

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's."""
        return self.adversary.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.adversary.load_state_dict(state)

    def _held_out(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """Codes and images of the held-out faces at the stage's resolution."""
        resolution = _resolution(stage, self.recipe)
        assert self.held_out.w is not None
        return self.held_out.w.to(self.device), fit(self.held_out.y, (resolution, resolution)).to(self.device)

    def _generate(self, network: nn.Module, w: Tensor, stage: Stage) -> Tensor:
        with torch.no_grad():
            upto = _resolution(stage, self.recipe)
            return torch.cat([network(part, upto=upto).float() for part in w.split(16)])


def pixel_terms(stage: Stage) -> dict[str, float]:
    """The losses of a stage that compare pixels, with the weight of the features of the face."""
    return {name: weight for name, weight in stage.losses.items() if name in TERMS}


def perceptual_terms(stage: Stage) -> dict[str, float]:
    """The other losses of a stage: LPIPS, identity."""
    return {name: weight for name, weight in stage.losses.items() if name not in TERMS}


def _resolution(stage: Stage, recipe: Recipe) -> int:
    return stage.resolution or recipe.data.resolution


def set_mapping(network: StyleGAN2, directions: np.ndarray) -> None:
    """Let the mapping network compute w = sqrt(2) M z: centred, as training wants it."""
    layer = _mapping_layer(network)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(directions) / layer.scale)
        layer.bias.zero_()
        network.w_avg.zero_()


def shift_w(network: StyleGAN2, sign: int) -> None:
    """Move W by the bias that keeps the mapping network's rectifier linear; images stay the same.

    Written files need it (`sign` 1). Training does not (-1): beside a large mean, the affine layers would hardly learn
    what differs between latents.
    """
    layer = _mapping_layer(network)
    with torch.no_grad():
        layer.bias.add_(sign * face_space.BIAS / layer.lr_mul)
        offset = torch.full_like(network.w_avg[0], sign * GAIN * face_space.BIAS)
        network.w_avg.add_(offset)
        for module in network.modules():
            if isinstance(module, StyledConv | ToRGB):
                affine = module.affine
                affine.bias.sub_(affine.weight @ offset * affine.scale / affine.lr_mul)


def _mapping_layer(network: StyleGAN2) -> EqualLinear:
    layer = network.mapping.get_submodule("layers.0")
    assert isinstance(layer, EqualLinear)
    return layer


def embed(network: StyleGAN2, code: Tensor) -> Tensor:
    """Codes [N, K] → w [N, w_dim], centred: the mapping network without normalisation and rectifier."""
    layer = _mapping_layer(network)
    return GAIN * F.linear(code, layer.weight * layer.scale)
