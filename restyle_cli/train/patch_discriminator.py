"""A discriminator of small patches, which sharpens a generator where squared errors leave a soft mean.

It sees a target and what was generated of its code, patch by patch (relativistic pairing, Jolicoeur-Martineau 2018; R1,
Mescheder et al. 2018). The generator gets the gradient of its logits and of the distance of its features (feature
matching, Wang et al. 2018, pix2pixHD), scaled to a set share of the other losses' gradient.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (3, 32, 64, 96)
R1_EVERY = 8  # steps; the penalty needs a second derivative
R1_GAMMA = 1.0
FEATURES = 10.0  # weight of feature matching relative to the logits, as in pix2pixHD


class PatchDiscriminator(nn.Module):
    """Images [N, 3, R, R] -> logits [N, 1, R/8, R/8], one for each patch of 36 px, and the features of each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(WIDTHS))
        self.output = nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [N, 3, R, R] in [-1, 1] -> logits, above 0 for real, and features."""
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
            features.append(x)
        return self.output(x), features


class PatchAdversary:
    """The discriminator with its optimizer."""

    def __init__(self, device: torch.device, lr: float = 5e-4) -> None:
        self.network = PatchDiscriminator().to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr, betas=(0.5, 0.99))
        self.steps = 0

    def gradient(self, image: Tensor, target: Tensor, gradient: Tensor, share: float) -> Tensor:
        """`gradient` plus the adversarial gradient of `image`, `share` times as long; trains the discriminator.

        All are [N, 3, R, R].
        """
        generated = image.detach().float().requires_grad_(True)
        self.network.requires_grad_(False)
        real_logits, real_features = self.network(target)
        logits, features = self.network(generated)
        loss = F.softplus(real_logits - logits).mean()
        for ours, theirs in zip(features, real_features, strict=True):
            loss = loss + FEATURES / len(features) * F.l1_loss(ours, theirs)
        (adversarial,) = torch.autograd.grad(loss, generated)
        self._step(generated.detach(), target)
        return gradient + share * adversarial * (gradient.norm() / adversarial.norm().clamp_min(1e-12))

    def _step(self, generated: Tensor, target: Tensor) -> None:
        self.network.requires_grad_(True)
        penalize = self.steps % R1_EVERY == 0
        target = target.detach().clone().requires_grad_(penalize)
        real_logits, _ = self.network(target)
        loss = F.softplus(self.network(generated)[0] - real_logits).mean()
        if penalize:
            (slope,) = torch.autograd.grad(real_logits.sum(), target, create_graph=True)
            loss = loss + R1_EVERY * R1_GAMMA / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
