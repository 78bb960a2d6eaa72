"""A judge of small patches that sharpens a distilled generator: where squared errors leave a soft mean, it tells.

The judge sees a drawing and what was made of its code, patch beside patch (relativistic pairing, Jolicoeur-Martineau
2018; R1, Mescheder et al. 2018). The generator learns from its verdict and from its layers' differences (feature
matching, Wang et al. 2018, pix2pixHD), as strongly as a set share of what the picture loss asks for.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (3, 32, 64, 96)
R1_EVERY = 8  # the penalty needs a second derivative, hence not at every step
R1_GAMMA = 1.0
FEATURES = 10.0  # how much the layers' differences count beside the verdict, as in pix2pixHD


class PatchJudge(nn.Module):
    """Pictures [N, 3, R, R] → verdicts [N, 1, R/8, R/8], one for each patch of 36 pixels, and the layers before."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(WIDTHS))
        self.verdict = nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The verdicts, above 0 for drawn, and each layer's features."""
        layers = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
            layers.append(x)
        return self.verdict(x), layers


class Adversary:
    """The judge with its optimiser. Its state belongs into the training's checkpoint."""

    def __init__(self, lr: float = 5e-4) -> None:
        self.judge = PatchJudge()
        self.optimiser = torch.optim.Adam(self.judge.parameters(), lr, betas=(0.5, 0.99))
        self.steps = 0

    def push(self, image: Tensor, drawn: Tensor, gradient: Tensor, share: float) -> Tensor:
        """The gradient that the generator's pictures get: the picture loss's `gradient`, and `share` times its length
        the judge's way. The judge learns from the same pictures. All [N, 3, R, R].
        """
        made = image.detach().float().requires_grad_(True)
        self.judge.requires_grad_(False)
        real, real_layers = self.judge(drawn)
        verdict, layers = self.judge(made)
        wish = F.softplus(real - verdict).mean()
        for ours, theirs in zip(layers, real_layers, strict=True):
            wish = wish + FEATURES / len(layers) * F.l1_loss(ours, theirs)
        (asked,) = torch.autograd.grad(wish, made)
        self._learn(made.detach(), drawn)
        return gradient + share * asked * (gradient.norm() / asked.norm().clamp_min(1e-12))

    def _learn(self, made: Tensor, drawn: Tensor) -> None:
        self.judge.requires_grad_(True)
        penalise = self.steps % R1_EVERY == 0
        drawn = drawn.detach().clone().requires_grad_(penalise)
        real, _ = self.judge(drawn)
        loss = F.softplus(self.judge(made)[0] - real).mean()
        if penalise:
            (slope,) = torch.autograd.grad(real.sum(), drawn, create_graph=True)
            loss = loss + R1_EVERY * R1_GAMMA / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.steps += 1

    def state_dict(self) -> dict:
        """For the checkpoint."""
        return {"judge": self.judge.state_dict(), "optimiser": self.optimiser.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        """From it."""
        self.judge.load_state_dict(state["judge"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
