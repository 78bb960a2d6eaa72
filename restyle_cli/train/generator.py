"""Training a StyleGAN2 to generate what the face renderer renders: each known code against its image.

The mapping network is not trained: it is set so that it maps z to w as the renderer's codes lie in W (`face_space`).
A share of each batch mixes styles: the layers of a group keep the numbers of the code that they answer for and get all
others from another face, while the target stays. So coarse, middle and fine layers learn their own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.data import face_space
from restyle_cli.data.face_photos import FacePhotos, read_photos
from restyle_cli.data.face_space import CODE_DIM, FaceSpace, layer_groups
from restyle_cli.data.faces import Faces
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.images import fit
from restyle_cli.ops.layers import GAIN, EqualLinear, pixel_norm
from restyle_cli.train.adversary import Adversary
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.losses import picture_loss
from restyle_cli.train.networks import begin_with, check_shape

CHUNK = 256  # faces that share a seed
FIRST_LAYERS = (0, 4, 8)  # of coarse, middle and fine styles
NEW_LAYER_GAIN = 0.1  # a new resolution starts as a small change of the image below it
HELD_OUT_FACES = 64


class FaceGenerator:
    """The task of the loop for the generator of faces."""

    family = "stylegan2"

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if recipe.data.folder is None:
            raise RestyleError(
                f"the recipe '{recipe.name}' blends photographs and needs their folder",
                "--data FOLDER; see 'Face Research Lab London Set', doi 10.6084/m9.figshare.5047666",
            )
        self.recipe, self.folder = recipe, folder
        config = StyleGAN2Config(z_dim=CODE_DIM, noise=False, mapping_layers=1, mapping_lr_mul=1.0, **recipe.network)
        self.fresh = recipe.start_from is None
        if recipe.start_from is None:
            network = StyleGAN2(config)
        else:
            network, _ = begin_with(recipe.start_from, folder, StyleGAN2)
            check_shape(network, config, recipe.name, recipe.start_from)
            shift_w(network, -1)
        network.mapping.requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)
        self.adversary = Adversary()

    def state(self) -> dict:
        """The discriminator's."""
        return self.adversary.state_dict()

    def load(self, state: dict) -> None:
        """Give it back."""
        self.adversary.load_state_dict(state)

    def prepare(self, note: Callable[[str], None]) -> None:
        """Render the training faces, and others that scores are measured on."""
        data = self.recipe.data
        cache = self.folder / f"photos-{data.resolution}.npz"
        if not cache.exists():
            assert data.folder is not None
            people = lambda person: person not in data.held_out  # noqa: E731
            read_photos(Path(data.folder), data.resolution, people, note=note).save(cache)
        self.faces = Faces(FacePhotos.open(cache))
        space = FaceSpace(self.faces.photos)
        self.photo_codes = space.photo_codes(self.faces.photos)
        if self.fresh:
            set_mapping(self.network, face_space.w_directions(space, self.network.config.w_dim))
        self.groups = torch.from_numpy(layer_groups())
        self.images, self.codes = self._rendered(note)
        held = [self.faces.look(rng) for rng in (np.random.default_rng([2, 0]),) for _ in range(HELD_OUT_FACES)]
        self.held_codes = torch.from_numpy(np.stack([FaceSpace.code(look, self.photo_codes) for look in held]))
        rendered = np.stack([self.faces.render(look) for look in held])
        self.held_images = torch.from_numpy(rendered).permute(0, 3, 1, 2) * 2 - 1

    def _rendered(self, note: Callable[[str], None]) -> tuple[np.ndarray, Tensor]:
        """Images [N, 3, R, R] of bytes, in a file that grows where it stopped, and their codes [N, K]."""
        data = self.recipe.data
        path = self.folder / f"faces-{data.resolution}.u8"
        bytes_each = 3 * data.resolution**2
        done = path.stat().st_size // (bytes_each * CHUNK) if path.exists() else 0
        codes = []
        with path.open("r+b" if done else "wb") as file:
            file.seek(done * bytes_each * CHUNK)
            for chunk in range(-(-data.pictures // CHUNK)):
                rng = np.random.default_rng([1, chunk])
                looks = [self.faces.look(rng) for _ in range(CHUNK)]
                codes += [FaceSpace.code(look, self.photo_codes) for look in looks]
                if chunk < done:
                    continue
                for look in looks:
                    image = (self.faces.render(look) * 255).round().astype(np.uint8)
                    file.write(np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes())
                if (chunk + 1) % 8 == 0:
                    note(f"rendered {(chunk + 1) * CHUNK} of {data.pictures} faces")
        shape = (data.pictures, 3, data.resolution, data.resolution)
        return np.memmap(path, np.uint8, "r", shape=shape), torch.from_numpy(np.stack(codes))[: data.pictures]

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Grow: what the new resolutions add starts small."""
        if before is None:
            return
        for block, to_rgb in enumerate(self.network.to_rgbs):
            if before.resolution < 2 ** (block + 2) <= stage.resolution:
                to_rgb.get_parameter("weight").data.mul_(NEW_LAYER_GAIN)

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """One batch: the gradients of the image losses, and of the discriminator where the stage has one."""
        index = np.sort(rng.choice(len(self.codes), stage.batch, replace=False))
        target = torch.from_numpy(self.images[index]).float() / 127.5 - 1
        if target.shape[-1] != stage.resolution:
            target = F.adaptive_avg_pool2d(target, stage.resolution)
        other = self.codes[rng.permutation(len(self.codes))[: stage.batch]]
        mixed = torch.from_numpy(rng.random(stage.batch) < stage.mixing)
        with self._autocast(stage):
            image = self.network(self.styles(self.codes[index], other, mixed), upto=stage.resolution)
        generated = image.detach().float().requires_grad_(True)
        loss = picture_loss(generated, target, stage.losses, stage.focus)
        (gradient,) = torch.autograd.grad(loss, generated)
        if stage.adversary:
            gradient = self.adversary.push(generated, target, gradient, stage.adversary)
        image.backward(gradient.to(image.dtype))
        return float(loss.detach())

    def styles(self, own: Tensor, other: Tensor, mixed: Tensor) -> Tensor:
        """Codes [N, K] → w [N, L, w_dim]; where `mixed` [N], each group's layers see only their part of `own`."""
        layers, found = self.network.layers, []
        bounds = (*FIRST_LAYERS, layers)
        for group, (first, end) in enumerate(pairwise(bounds)):
            code = torch.where(self.groups[group] | ~mixed[:, None], own, other)
            found.append(embed(self.network, code)[:, None].expand(-1, end - first, -1))
            other = other.roll(1, dims=0)
        return torch.cat(found, dim=1)

    def _autocast(self, stage: Stage) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16" and stage.resolution > 32)

    @torch.no_grad()
    def scores(self, network: StyleGAN2, stage: Stage) -> dict[str, float]:
        """PSNR on held-out faces, and with mixed styles."""
        target = fit(self.held_images, (stage.resolution, stage.resolution))
        never, always = (torch.full((HELD_OUT_FACES,), value) for value in (False, True))
        l2 = {}
        for name, mixed in (("psnr", never), ("psnr_mixed", always)):
            image = self._generate(network, self.styles(self.held_codes, self.held_codes.roll(7, dims=0), mixed), stage)
            l2[name] = float((image - target).square().mean())
        return {name: 10 * math.log10(4 / value) for name, value in l2.items()} | {"l2": l2["psnr"]}

    @torch.no_grad()
    def sheet(self, network: StyleGAN2, stage: Stage) -> Tensor:
        """Held-out faces above what the network generates, then faces of random z: [40, 3, R, R]."""
        target = fit(self.held_images[:16], (stage.resolution, stage.resolution))
        image = self._generate(network, network.w_plus(embed(network, self.held_codes[:16])), stage)
        z = torch.randn(8, CODE_DIM, generator=torch.Generator().manual_seed(0))
        random = self._generate(network, network.w_plus(embed(network, pixel_norm(z))), stage)
        return torch.cat([target[:8], image[:8], target[8:], image[8:], random])

    def finish(self, network: StyleGAN2) -> dict:
        """What the file says beside the configuration."""
        shift_w(network, 1)
        return {"latent_space": "face", "style": "face"}

    def _generate(self, network: nn.Module, w: Tensor, stage: Stage) -> Tensor:
        with torch.no_grad(), self._autocast(stage):
            return torch.cat([network(part, upto=stage.resolution).float() for part in w.split(16)])


def _mapping_layer(network: StyleGAN2) -> EqualLinear:
    layer = network.mapping.get_submodule("layers.0")
    assert isinstance(layer, EqualLinear)
    return layer


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
            affine = getattr(module, "affine", None)
            if isinstance(affine, EqualLinear):
                affine.bias.sub_(affine.weight @ offset * affine.scale / affine.lr_mul)


def embed(network: StyleGAN2, code: Tensor) -> Tensor:
    """Codes [N, K] → w [N, w_dim], centred: the mapping network without normalisation and rectifier."""
    layer = _mapping_layer(network)
    return GAIN * F.linear(code, layer.weight * layer.scale)
