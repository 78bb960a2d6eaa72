"""Training a small StyleGAN2 to draw what the renderer draws: each known code against its picture.

Half of the batch is mixed: each layer group's code keeps the look's own columns for that group and takes the others
from another picture, while the target stays. So layers learn to answer for their own group, and W+ means something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.images import fit
from restyle_cli.ops.layers import pixel_norm
from restyle_cli.train.adversary import Adversary
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.drawings import AT_ONCE, Drawings, held_out, read_pictures
from restyle_cli.train.looks import COARSE, COLUMN_GROUPS, FINE, MIDDLE, TRAITS, Z_DIM, LookSpace, looks
from restyle_cli.train.losses import picture_loss
from restyle_cli.train.networks import begin_with, check_shape
from restyle_cli.train.portraits import draw_looks

FIRST_LAYER = {COARSE: 0, MIDDLE: 3, FINE: 5}  # each group's layers reach to the next group's first
MAPPING_BATCH = 64
NEW_LAYER_GAIN = 0.1  # a new resolution starts as a small change of the picture below it
SHARE_SPAN = 1.2  # standard deviations to either side, for learned shares
PART_OF = {"beard_length": "beard", "glasses_shape": "glasses"}  # traits of what the mean look does not have


def odds(looks: Tensor, favour: dict[str, float]) -> np.ndarray:
    """How often each look [N, LOOK_DIM] is picked, of all picks: so many times as often if it has what is favoured."""
    weights = np.ones(len(looks))
    for trait, times in favour.items():
        if trait not in TRAITS:
            raise RestyleError(f"no trait named '{trait}' to favour", f"there are {', '.join(TRAITS)}")
        weights[looks[:, list(TRAITS).index(trait)].numpy() > 0.5] *= times
    return weights / weights.sum()


def layer_groups(layers: int) -> Tensor:
    """The group of each of the L layers."""
    groups = torch.full((layers,), COARSE)
    for group in (MIDDLE, FINE):
        groups[FIRST_LAYER[group] :] = group
    return groups


class Distil:
    """The task of the loop for generators."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        config = StyleGAN2Config(z_dim=Z_DIM, noise=False, **recipe.network)
        self.latent_space = recipe.name
        if recipe.start_from is None:
            network = StyleGAN2(config)
        else:
            network, said = begin_with(recipe.start_from, folder, StyleGAN2)
            check_shape(network, config, recipe.name, recipe.start_from)
            network.mapping.requires_grad_(False)  # the same codes, hence one latent space
            self.latent_space = said.get("latent_space", recipe.start_from)
        self.network = network.to(memory_format=torch.channels_last)
        self.space = LookSpace(self.network.config.w_dim)
        self.drawings = Drawings(folder, recipe.data, self.space)
        self.resolution = self.network.config.resolution
        self.family = recipe.family
        self.adversary = Adversary()

    def state(self) -> dict:
        """The adversary's."""
        return self.adversary.state_dict()

    def load(self, state: dict) -> None:
        """Give it back."""
        self.adversary.load_state_dict(state)

    def prepare(self, note: Callable[[str], None]) -> None:
        """Draw the training pictures, and the held-out ones that scores are measured on."""
        self.drawings.fill(note)
        self.pictures, self.looks = self.drawings.open(), self.drawings.looks()
        self.odds = odds(self.looks, self.recipe.data.favour)
        self.held_looks, self.held_pictures = held_out(64, self.resolution, self.recipe.data.style)
        self.share_low, self.share_high, self.share_drawn = self._share_pairs()

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Grow: what the new resolutions add starts small."""
        if before is None or self.recipe.start_from is not None:
            return
        for block, to_rgb in enumerate(self.network.to_rgbs):
            if before.resolution < 2 ** (block + 2) <= stage.resolution:
                to_rgb.get_parameter("weight").data.mul_(NEW_LAYER_GAIN)

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """One batch: gradients of the picture loss, and of the mapping network's distance to the known codes."""
        index = np.sort(rng.choice(len(self.looks), stage.batch, replace=False, p=self.odds))
        target = read_pictures(self.pictures, index, stage.resolution)
        codes = self.codes(self.looks[index], self.looks[rng.permutation(len(self.looks))[: stage.batch]], rng)
        with self.autocast():
            image = self.network(codes, upto=stage.resolution)
        made = image.detach().float().requires_grad_(True)
        loss = picture_loss(made, target, stage.losses, stage.focus)
        (gradient,) = torch.autograd.grad(loss, made)
        if stage.adversary:
            gradient = self.adversary.push(made, target, gradient, stage.adversary)
        image.backward(gradient.to(image.dtype))
        if self.recipe.start_from is None:
            z = torch.from_numpy(rng.standard_normal((MAPPING_BATCH, Z_DIM), dtype=np.float32))
            (0.1 * self._mapping_error(self.network, z)).backward()
        return float(loss.detach())

    def codes(self, own: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
        """Looks → codes [N, L, w_dim]; a share of them mixed."""
        groups = layer_groups(self.network.layers)
        mixed = torch.from_numpy(rng.random(len(own)) < self.recipe.data.mixing)
        codes = []
        for group in (COARSE, MIDDLE, FINE):
            keeps = torch.eq(COLUMN_GROUPS, group)[None, :] | ~mixed[:, None]
            w = self.space.embed(torch.where(keeps, own, other))
            codes.append(w[:, None].expand(-1, int((groups == group).sum()), -1))
            other = other.roll(1, dims=0)
        return torch.cat(codes, dim=1)

    def _mapping_error(self, network: StyleGAN2, z: Tensor) -> Tensor:
        z = pixel_norm(z)
        return (network.mapping(z) - self.space.embed(looks(z))).square().mean()

    def autocast(self) -> torch.autocast:
        """The recipe's precision for the synthesis network."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def scores(self, network: StyleGAN2, stage: Stage) -> dict[str, float]:
        """On held-out looks: PSNR (0 to 1), through mixed codes too, the mapping's error, learned shares."""
        target = fit(self.held_pictures, (stage.resolution, stage.resolution))
        w = self.space.embed(self.held_looks)
        l2 = (self._drawn(network, network.w_plus(w), stage) - target).square().mean()
        rng = np.random.default_rng(0)
        mixed = self.codes(self.held_looks, self.held_looks.roll(7, dims=0), rng)
        l2_mixed = (self._drawn(network, mixed, stage) - target).square().mean()
        mapped = self._mapping_error(network, torch.randn(1024, Z_DIM, generator=torch.Generator().manual_seed(10**6)))
        shares = self.learned_shares(network, stage)
        worst = min(shares, key=lambda name: shares[name])
        return {
            "psnr": 10 * math.log10(4 / float(l2)),
            "psnr_mixed": 10 * math.log10(4 / float(l2_mixed)),
            "l2": float(l2),
            "mapping": float(mapped),
            "share": sum(shares.values()) / len(shares),
            "worst_share": shares[worst],
        } | {f"share_{name}": value for name, value in shares.items()}

    def learned_shares(self, network: StyleGAN2, stage: Stage) -> dict[str, float]:
        """How much of each trait's drawn change the network makes: <dG, dR> / <dR, dR>, 1 when all of it."""
        size = (stage.resolution, stage.resolution)
        drawn = fit(self.share_drawn, size)
        low, high = (
            self._drawn(network, network.w_plus(self.space.embed(v)), stage) for v in (self.share_low, self.share_high)
        )
        change = high - low
        products = (change * drawn).sum(dim=(1, 2, 3)) / drawn.square().sum(dim=(1, 2, 3)).clamp_min(1e-6)
        return dict(zip(TRAITS, products.tolist(), strict=True))

    @torch.no_grad()
    def sheet(self, network: StyleGAN2, stage: Stage) -> Tensor:
        """Held-out drawings above what the network makes of their codes: [32, 3, R, R], rows of eight."""
        target = fit(self.held_pictures[:16], (stage.resolution, stage.resolution))
        made = self._drawn(network, network.w_plus(self.space.embed(self.held_looks[:16])), stage)
        return torch.cat([target[:8], made[:8], target[8:], made[8:]])

    def finish(self, network: StyleGAN2) -> dict:
        """What the file says beside the configuration; the mean code is set, unless another network's space is used."""
        if self.recipe.start_from is None:
            network.w_avg.copy_(network.mean_w(20_000).expand_as(network.w_avg))
        return {"latent_space": self.latent_space, "style": self.recipe.data.style}

    def _drawn(self, network: StyleGAN2, codes: Tensor, stage: Stage) -> Tensor:
        with torch.no_grad(), self.autocast():
            return torch.cat([network(part, upto=stage.resolution).float() for part in codes.split(16)])

    def _share_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each scalar trait: mean looks with that trait low and high, and the drawn difference."""
        count = len(TRAITS)
        spread = torch.diag(self.space.spread)[:count] * SHARE_SPAN
        known = looks(torch.randn(4096, Z_DIM, generator=torch.Generator().manual_seed(1)))
        least, most = known.min(dim=0).values, known.max(dim=0).values
        low, high = (torch.clamp(self.space.mean + sign * spread, least, most) for sign in (-1, 1))
        names = list(TRAITS)
        for trait, whole in PART_OF.items():
            for values in (low, high):
                values[names.index(trait), names.index(whole)] = 1
        parts = torch.cat([low, high]).split(AT_ONCE)
        drawn = torch.cat([draw_looks(part, self.resolution, self.recipe.data.style) for part in parts])
        return low, high, drawn[count:] - drawn[:count]
