"""e4e's latent discriminator (Tov et al. 2021, section 4.2): it keeps the latents of an encoder close to W."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.generators.discriminators import LatentDiscriminator, LatentDiscriminatorConfig
from restyle_cli.train.config import Discriminator


class LatentPool:
    """Up to `size` latents of earlier steps (Shrivastava et al. 2017): a discriminator that sees them forgets less."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.latents: list[Tensor] = []

    def query(self, w: Tensor, random: torch.Generator) -> Tensor:
        """w [N, D], of which about half are swapped for latents of the pool once it is full."""
        if self.size == 0:
            return w
        chosen = []
        for latent in w.detach():
            if len(self.latents) < self.size:
                self.latents.append(latent)
                chosen.append(latent)
            elif torch.rand((), generator=random) < 0.5:
                place = int(torch.randint(self.size, (), generator=random))
                chosen.append(self.latents[place])
                self.latents[place] = latent
            else:
                chosen.append(latent)
        return torch.stack(chosen)


class LatentAdversary:
    """The discriminator with its optimizer and pools. `w_dim`: length of a w."""

    def __init__(self, settings: Discriminator, w_dim: int, device: torch.device) -> None:
        self.settings = settings
        self.network = LatentDiscriminator(LatentDiscriminatorConfig(w_dim=w_dim)).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.lr)
        self.real, self.fake = LatentPool(settings.pool), LatentPool(settings.pool)

    def loss(self, w: Tensor, stage: int | None) -> Tensor:
        """The encoder's loss: each of the styles 0 to `stage` (None: all) of w [N, L, D] should look like a real w."""
        self.network.requires_grad_(False)  # the encoder's loss does not train it
        return adversarial_loss(self.network, w, stage)

    def step(self, real: Tensor, fake: Tensor, step: int, random: torch.Generator) -> None:
        """Train on real w [N, D] of the mapping network and an encoder's [N, D], with R1 at every `r1_every` step."""
        self.network.requires_grad_(True)
        real, fake = self.real.query(real, random), self.fake.query(fake, random)
        self._update(discriminator_loss(self.network, real, fake))
        if step % self.settings.r1_every == 0:  # rarely, and for that so much stronger
            self._update(self.settings.r1 / 2 * self.settings.r1_every * r1(self.network, real))

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if torch.distributed.is_initialized():
            for parameter in self.network.parameters():
                assert parameter.grad is not None
                torch.distributed.all_reduce(parameter.grad, torch.distributed.ReduceOp.SUM)
                parameter.grad.div_(torch.distributed.get_world_size())
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        pools = {"real": self.real.latents, "fake": self.fake.latents}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "pools": pools}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = next(self.network.parameters()).device
        self.real.latents, self.fake.latents = (
            [latent.to(device) for latent in state["pools"][name]] for name in ("real", "fake")
        )


def adversarial_loss(discriminator: nn.Module, w: Tensor, stage: int | None = None) -> Tensor:
    """Loss of the encoder: each of the styles 0 to `stage` (None: all) of w [N, L, D] should look like a real w."""
    return F.softplus(-discriminator(w[:, : None if stage is None else stage + 1].flatten(0, 1))).mean()


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of the discriminator on real and fake w [N, D]; no gradient reaches what made the fake ones."""
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()


def r1(discriminator: nn.Module, real: Tensor) -> Tensor:
    """Squared gradient of the logits at real latents [N, D], without its factor (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def progressive_stage(step: int, start: int, every: int, styles: int) -> int:
    """How many offsets e4e trains at `step`: none before `start`, then one more every `every` steps."""
    return 0 if step < start else min(1 + (step - start) // every, styles - 1)
