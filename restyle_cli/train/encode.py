"""Training an encoder on a frozen generator, as the papers do: each step of the loop has its own backward pass.

The drawn pictures' codes are known, so a stage may also pull the codes towards them (`latent`). A stage that asks for
nothing else sends no gradient through the generator, and a single pass does without one: faster, and fair to traits
that cover few pixels. So a generator of another style than the pictures is served too: a portrait and its toon have one
code. `spread` holds the codes of all layers close to each other, as e4e does, and `inside` each of them within W, for
which e4e has a discriminator: here it is known which looks are drawn. Coarse layers settle first in a stage with a
`pace`, whose early steps are asked for a part of the way only, the less the finer the layer; and by the loss `settle`,
for which a layer that moves again costs the more the coarser it is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.base import widen_input
from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig, to_offsets
from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.inversion import Method, invert, iterate, l2
from restyle_cli.methods import METHODS
from restyle_cli.models import parse_chain
from restyle_cli.store.files import read_header, read_module
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.drawings import Drawings, held_out, read_pictures
from restyle_cli.train.looks import LOOK_DIM, LookSpace
from restyle_cli.train.losses import picture_loss
from restyle_cli.train.networks import begin_with, check_shape, frozen_generator, network_file
from restyle_cli.train.portraits import draw_looks

HELD_OUT_PICTURES = 64
METHOD_CODES = {"e4e": "e4e", "restyle-e4e": "e4e"}
CHECKED_STEPS = 5
OF_CODES = ("latent", "spread", "inside", "settle")


class Encode:
    """The task of the loop for encoders."""

    first_share = 0.5  # of the batches, where the recipe names a first model

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if recipe.method is None or recipe.generator is None:
            raise RestyleError(
                f"the recipe '{recipe.name}' trains an encoder, but does not say of which method or generator"
            )
        self.recipe, self.family = recipe, recipe.family
        self.generator = frozen_generator(recipe.generator, folder)
        header = read_header(network_file(recipe.generator, folder))
        self.style = header["extra"].get("style", recipe.data.style)
        self.space = LookSpace(self.generator.config.w_dim)
        method = METHODS.load(recipe.method)
        self.steps = CHECKED_STEPS if method.max_steps > 1 else 1
        self.codes = METHOD_CODES.get(recipe.method, "psp")
        self.network = self._new_network(method.input_channels, folder).to(memory_format=torch.channels_last)
        construct: Callable[..., Method] = method
        self.method = lambda network: construct(recipe.name, network, self.generator)
        self.extra = {"method": recipe.method, "generator": Path(recipe.generator).stem}
        self.first = [] if recipe.first is None else begun_by(recipe.first, folder)
        self.drawings = Drawings(folder, recipe.data, self.space)

    def _new_network(self, channels: int, folder: Path) -> nn.Module:
        shape = {
            "codes": self.codes,
            "styles": self.generator.layers,
            "w_dim": self.generator.config.w_dim,
            "input_channels": channels,
            "rank": LOOK_DIM,
        }
        config = SmallEncoderConfig.from_dict(self.recipe.network | shape)
        if self.recipe.start_from is None:
            network = SmallEncoder(config)
            network.basis.copy_(self.space.directions)
            return network
        network, _ = begin_with(self.recipe.start_from, folder, SmallEncoder)
        if network.config.input_channels < channels:
            network = widen_input(network, channels)
        if self.codes == "e4e" and network.config.codes != "e4e":
            network = to_offsets(network)
        network.train().requires_grad_(True)
        check_shape(network, config, self.recipe.name, self.recipe.start_from)
        return network

    def state(self) -> dict:
        """Nothing beside the network."""
        return {}

    def load(self, state: dict) -> None:
        """Nothing to give back."""

    def prepare(self, note: Callable[[str], None]) -> None:
        """Draw the training pictures, and the held-out ones at the size that the metrics are defined for."""
        self.drawings.fill(note)
        self.pictures, self.looks = self.drawings.open(), self.drawings.looks()
        size = self.method(self.network).size[0]
        looks, self.held_pictures = held_out(HELD_OUT_PICTURES, size, self.recipe.data.style)
        self.held_targets = (
            self.held_pictures
            if self.style == self.recipe.data.style
            else draw_looks(looks, self.held_pictures.shape[-1], self.style)
        )

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Nothing changes between stages but what the stage says."""

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """One batch through the loop; the last step's loss."""
        index = np.sort(rng.choice(len(self.looks), stage.batch, replace=False))
        target = read_pictures(self.pictures, index, self.recipe.data.resolution)
        known = self.space.embed(self.looks[index])[:, None]
        seen = spoil(target, stage.augment, rng)
        weights = dict(stage.losses)
        of_codes = {name: weights.pop(name) for name in OF_CODES if name in weights}
        if not weights and self.steps == 1:
            with self.autocast():
                codes = self.network(seen)
            loss = self._code_loss(codes.float() + self.generator.w_avg, known, of_codes, stage.emphasis)
            loss.backward()
            return float(loss.detach())
        method = self.method(self.network)
        before = self.first if self.first and rng.random() < self.first_share else []
        weight = stage.step_gain ** (1 - stage.iterations)
        with self.autocast():
            states = pairwise(iterate(seen, before + [method] * stage.iterations))
            for step, (was, state) in enumerate(states, start=1 - len(before)):
                if step < 1:
                    continue
                if step <= len(stage.pace):  # a part of the way, which does not look like the picture yet
                    wanted = self._on_the_way(known, stage.pace[step - 1])
                    only = {"latent": of_codes.get("latent", 0.0)}
                    loss = self._code_loss(state.w.float(), wanted, only, stage.emphasis)
                else:
                    loss = self._code_loss(state.w.float(), known, of_codes, stage.emphasis)
                    if step > 1 and "settle" in of_codes:
                        loss = loss + of_codes["settle"] * self._moved_again(state.w.float() - was.w.detach().float())
                    if weights:
                        size = (target.shape[-2], target.shape[-1])
                        loss = loss + picture_loss(fit(state.image, size), target, weights, stage.focus)
                (weight * loss).backward()
                weight *= stage.step_gain
        return float(loss.detach())

    def _on_the_way(self, known: Tensor, part: float) -> Tensor:
        """[N, L, w_dim]: the coarsest layer's code is `known`, the finest's a `part` of the way from the average."""
        parts = torch.linspace(1, part, self.generator.layers)[:, None]
        return self.generator.w_avg + parts * (known - self.generator.w_avg)

    def _code_loss(self, codes: Tensor, known: Tensor, weights: dict[str, float], emphasis: dict[str, float]) -> Tensor:
        """Of codes [N, L, w_dim]: how far they are from the known ones, and from each other."""
        deviation = self.space.deviation()
        loss = torch.zeros(())
        if "latent" in weights:
            wrong = self.space.emphasised(codes - known, emphasis) if emphasis else codes - known
            loss = loss + weights["latent"] * (wrong / deviation).square().mean()
        if "spread" in weights:
            apart = codes - codes.mean(dim=1, keepdim=True)
            loss = loss + weights["spread"] * (apart / deviation).square().mean()
        if "inside" in weights:
            loss = loss + weights["inside"] * (self.space.beyond(codes) / deviation).square().mean()
        return loss

    def _moved_again(self, moves: Tensor) -> Tensor:
        """Of moves [N, L, w_dim] after the first step: their cost, full for the coarsest layer, none for the finest."""
        cost = torch.linspace(1, 0, self.generator.layers)[:, None]
        return (cost * moves / self.space.deviation()).square().mean()

    def autocast(self) -> torch.autocast:
        """The recipe's precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """Mean L2 after each step to held-out drawings in the generator's style, by the protocol of the metrics."""
        schedule = self._measured(network)
        sums = [0.0] * (len(schedule) + 1)
        for x, target in zip(self.held_pictures.split(16), self.held_targets.split(16), strict=True):
            with self.autocast():
                for k, state in enumerate(iterate(x, schedule)):
                    sums[k] += float(l2(target, state.image).sum())
        return {f"l2_{k}": total / len(self.held_pictures) for k, total in enumerate(sums)}

    @torch.no_grad()
    def sheet(self, network: nn.Module, stage: Stage) -> Tensor:
        """Held-out pictures above their reconstructions after the first and the last step: [N, 3, R, R]."""
        rows, schedule = [], self._measured(network)
        for part in self.held_pictures[:16].split(8):
            with self.autocast():
                images = invert(part, schedule).image_steps
            rows += [fit(part, self.generator.size), *(images[k] for k in sorted({1, len(schedule)}))]
        return torch.cat(rows)

    def _measured(self, network: nn.Module) -> list[Method]:
        """The schedule that scores are of."""
        return [self.method(network)] * self.steps

    def finish(self, network: nn.Module) -> dict:
        """What the file says beside the configuration."""
        return self.extra


def begun_by(chain: str, folder: Path) -> list[Method]:
    """The methods of the steps of a chain of our encoders, each by name or file; one step where none are named."""
    schedule: list[Method] = []
    for link in parse_chain(chain):
        path = network_file(link.name, folder)
        extra = read_header(path)["extra"]
        construct: Callable[..., Method] = METHODS.load(extra["method"])
        method = construct(link.name, read_module(path), frozen_generator(extra["generator"], folder))
        schedule += [method] * (link.steps or 1)
    return schedule


def spoil(pictures: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Make a share of the pictures [N, 3, H, W] a little like photographs: other tones, blur, stains, grain.

    The encoder then learns to find the face behind them; the losses still compare with the clean drawing.
    """
    n, _, height, width = pictures.shape
    chosen = torch.from_numpy(rng.random(n) < share)[:, None, None, None]
    if not chosen.any():
        return pictures

    def between(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (n, *shape)).astype(np.float32))

    def field(channels: int, *cells: int) -> Tensor:
        coarse = between(-1, 1, channels, *cells)
        return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)

    # Outlines that no drawing has: hair to one side, a crooked smile.
    still = F.affine_grid(torch.eye(2, 3).expand(n, -1, -1), [n, 3, height, width], align_corners=False)
    moved = (between(0, 0.06, 1, 1, 1) * field(2, 5, 5)).permute(0, 2, 3, 1)
    warped = F.grid_sample(pictures, still + moved, padding_mode="reflection", align_corners=False)
    unit = warped.add(1).div(2).clamp(0, 1)
    toned = unit ** between(0.7, 1.5, 1, 1, 1) * between(0.8, 1.2, 1, 1, 1) * between(0.87, 1.13, 3, 1, 1)
    grey = toned.mean(dim=1, keepdim=True)
    toned = grey + between(0.5, 1.3, 1, 1, 1) * (toned - grey)
    blurred = F.interpolate(F.avg_pool2d(toned, 4), size=(height, width), mode="bilinear", align_corners=False)
    toned = torch.lerp(toned, blurred, between(0, 1, 1, 1, 1))
    # A lamp; and hair that is twice as light on top, or of another tone, or has locks, is still hair and no hat.
    stained = toned * (between(0, 0.9, 1, 1, 1) * field(1, 3, 3)).exp()
    crown = torch.sigmoid(6 * (_crown(height, width) + 0.5 * field(1, 6, 6)))
    stained = stained * (crown * (between(-0.8, 0.8, 1, 1, 1) + between(-0.2, 0.2, 3, 1, 1))).exp()
    for cells in ((16, 48), (48, 16), (24, 24), (56, 56)):
        locks = between(0, 0.5, 1, 1, 1) * field(1, *cells) * between(0, 1, 1, 1, 1).round()
        stained = stained * (_beside_the_face(height, width) * locks).exp()
    for cells in ((3, 3), (7, 7), (15, 15), (10, 36), (36, 10)):  # stains and strands that no drawing has
        stain = field(3, *cells)
        stain = torch.lerp(stain, stain.mean(dim=1, keepdim=True), 0.7)  # rather light than colour
        stained = stained + 0.18 * between(0, 1, 1, 1, 1) * stain
    # What is around the head: scraps of another picture, upside down.
    scraps = stained.roll(1, dims=0).flip(2)
    stained = torch.lerp(stained, scraps, _around(height, width) * between(-1, 1, 1, 1, 1).clamp_min(0))
    grain = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32))
    spoiled = stained + 0.06 * between(0, 1, 1, 1, 1) * grain
    return torch.where(chosen, spoiled.clamp(0, 1) * 2 - 1, pictures)


def _crown(height: int, width: int) -> Tensor:
    """[H, W]: above zero where the hair on top of an aligned head is, below elsewhere."""
    x, y = (torch.linspace(-1, 1, side) for side in (width, height))
    return 1 - torch.sqrt((x / 0.75) ** 2 + ((y[:, None] + 0.75) / 0.6) ** 2)


def _beside_the_face(height: int, width: int) -> Tensor:
    """[H, W]: 0 where an aligned face is, 1 where its hair and the background are."""
    x, y = (torch.linspace(-1, 1, side) for side in (width, height))
    return (5 * (torch.sqrt((x / 0.5) ** 2 + ((y[:, None] - 0.2) / 0.62) ** 2) - 0.9)).clamp(0, 1)


def _around(height: int, width: int) -> Tensor:
    """[H, W]: 0 where an aligned head is, 1 in the corners."""
    x, y = (torch.linspace(-1, 1, side) for side in (width, height))
    return (2.5 * (torch.sqrt(x**2 + (0.85 * (y[:, None] - 0.1)) ** 2) - 0.75)).clamp(0, 1)
