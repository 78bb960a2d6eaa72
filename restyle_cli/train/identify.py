"""Training a network that knows drawn people again: pairs of one person, told from everybody else of the batch.

One picture of a pair is a drawing, the other is the frozen generator's of the same person in another pose, light,
expression and dress. So the network judges the person and not who drew it. (The loss: Chen et al. 2020, SimCLR.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.perceptual.identity import DrawnIdentity, DrawnIdentityConfig
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.drawings import Drawings, held_out, read_pictures
from restyle_cli.train.encode import spoil
from restyle_cli.train.looks import COLUMNS, LookSpace
from restyle_cli.train.networks import frozen_generator
from restyle_cli.train.portraits import draw_looks

HELD_OUT_PEOPLE = 64
TEMPERATURE = 0.1
PASSING = (
    *("yaw", "pitch", "roll", "head_x", "head_y", "scale", "hat"),
    *("eye_open", "gaze_x", "gaze_y", "brow_height", "brow_angle", "smile", "mouth_open", "glasses", "glasses_shape"),
    *("light_x", "light_y", "light_warmth", "lips", "shirt", "trim", "background", "disc", "shoulder_height"),
)
"""Traits and colours that a person has today and not tomorrow."""


def same_people(own: Tensor, other: Tensor) -> Tensor:
    """Looks [N, LOOK_DIM] of the people in `own`, with whatever passes taken from `other`."""
    passing = torch.tensor([column.split(".")[0] in PASSING for column in COLUMNS])
    return torch.where(passing, other, own)


class Identify:
    """The task of the loop for identity networks."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if recipe.generator is None:
            raise RestyleError(f"the recipe '{recipe.name}' trains an identity network, but names no generator")
        self.recipe, self.family = recipe, recipe.family
        self.network: nn.Module = DrawnIdentity(DrawnIdentityConfig.from_dict(recipe.network))
        self.network.to(memory_format=torch.channels_last)
        self.generator, self.generator_name = frozen_generator(recipe.generator, folder), Path(recipe.generator).stem
        self.space = LookSpace(self.generator.config.w_dim)
        self.drawings = Drawings(folder, recipe.data, self.space)

    def state(self) -> dict:
        """Nothing beside the network."""
        return {}

    def load(self, state: dict) -> None:
        """Nothing to give back."""

    def prepare(self, note: Callable[[str], None]) -> None:
        """Draw the training pictures, and held-out people twice."""
        self.drawings.fill(note)
        self.pictures, self.looks = self.drawings.open(), self.drawings.looks()
        looks, self.held = held_out(HELD_OUT_PEOPLE, self.recipe.data.resolution, self.recipe.data.style)
        again = same_people(looks, looks.roll(1, dims=0))
        self.held_again = draw_looks(again, self.recipe.data.resolution, self.recipe.data.style)

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Nothing changes between stages but what the stage says."""

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """One batch of pairs: each picture is to find its partner among all others."""
        index = np.sort(rng.choice(len(self.looks), stage.batch, replace=False))
        others = rng.permutation(len(self.looks))[: stage.batch]
        drawn = read_pictures(self.pictures, index, self.recipe.data.resolution)
        again = self.space.embed(same_people(self.looks[index], self.looks[others]))
        with self.autocast():
            with torch.no_grad():
                made = self.generator(self.generator.w_plus(again)).float()
            seen = torch.cat([spoil(drawn, stage.augment, rng), spoil(made, stage.augment, rng)])
            found = self.network(seen).float()
        loss = contrast(*found.chunk(2))
        loss.backward()
        return float(loss.detach())

    def autocast(self) -> torch.autocast:
        """The recipe's precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """Of held-out people drawn twice: how many are found among all, the cosine with themselves and with others."""
        cosines = network(self.held) @ network(self.held_again).T
        count = len(cosines)
        strangers = (cosines.sum() - cosines.trace()) / (count * (count - 1))
        found = (cosines.argmax(dim=1) == torch.arange(count)).float().mean()
        return {"found": float(found), "same": float(cosines.trace() / count), "strangers": float(strangers)}

    @torch.no_grad()
    def sheet(self, network: nn.Module, stage: Stage) -> Tensor:
        """People, above each the one taken for them in the second set."""
        taken = (network(self.held[:16]) @ network(self.held_again).T).argmax(dim=1)
        pairs = zip(self.held[:16].split(8), self.held_again[taken].split(8), strict=True)
        return torch.cat([row for pair in pairs for row in pair])

    def finish(self, network: nn.Module) -> dict:
        """What the file says beside the configuration."""
        return {"generator": self.generator_name}


def contrast(
    one: Tensor,  # [N, D], unit vectors
    two: Tensor,  # [N, D], of the same people
) -> Tensor:
    """Cross-entropy of finding each one's partner among all other 2 N - 1: a scalar."""
    every = torch.cat([one, two])
    logits = (every @ every.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(every), device=every.device).roll(len(one))
    return F.cross_entropy(logits, partner)
