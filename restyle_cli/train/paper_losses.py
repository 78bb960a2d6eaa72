"""What the papers' encoders are trained to minimise: pSp, e4e and ReStyle (Richardson, Tov, Alaluf et al. 2021).

Pictures are [N, 3, H, W] in [-1, 1]; features are unit vectors [N, D]; every loss is a scalar, the batch's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.inversion import State

# --- of pictures


def unlikeness(
    y_hat: Tensor,  # [N, D], unit features of what was made
    y: Tensor,  # [N, D], of what was to be made
) -> Tensor:
    """1 - cosine: the identity loss on a face network's embeddings, the similarity loss on MoCo's features."""
    return (1 - (y_hat * y).sum(dim=1)).mean()


def improvement(y_hat: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """By how much the cosine to the target exceeds the one that the input had from the start. No loss: for logs."""
    return ((y_hat * y).sum(dim=1) - (y * x).sum(dim=1)).mean()


# --- of codes


def w_norm(w: Tensor, w_avg: Tensor | None = None) -> Tensor:
    """Length of codes [N, L, D], all styles together, from the average code [L, D] where it is given."""
    return torch.linalg.vector_norm(w if w_avg is None else w - w_avg, dim=(1, 2)).mean()


def delta_norm(w: Tensor, stage: int | None = None) -> Tensor:
    """e4e's: the offsets of the styles 1 to `stage` (None: all) from style 0, their lengths added up."""
    deltas = w[:, 1 : None if stage is None else stage + 1] - w[:, :1]
    return torch.linalg.vector_norm(deltas, dim=2).mean(dim=0).sum()


def fooling(discriminator: nn.Module, w: Tensor, stage: int | None = None) -> Tensor:
    """e4e's adversarial loss of the encoder: each of the styles 0 to `stage` (None: all) should pass for a real w."""
    styles = w[:, : None if stage is None else stage + 1].flatten(0, 1)
    return F.softplus(-discriminator(styles)).mean()


# --- of the latent discriminator


def telling_apart(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss on codes [N, D] of the mapping network and on an encoder's, which are detached."""
    return F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()


def r1(discriminator: nn.Module, real: Tensor) -> Tensor:
    """Squared gradient of the logits at real codes [N, D], without its factor (Mescheder et al. 2018)."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


# --- together


@dataclass(frozen=True)
class Seen:
    """What one step's terms look at."""

    image: Tensor  # [N, 3, H, W], what was made, at the size of the target
    target: Tensor  # [N, 3, H, W]
    w: Tensor  # [N, L, D]
    w_avg: Tensor  # [L, D]
    stage: int | None


class Objective:
    """The weighted sum of named terms for one step of a method.

    `networks` holds frozen ones for the terms that ask one: "lpips", "id" (a face network), "moco" and
    "w_discriminator". RestyleError for a term that is not known or whose network is missing.
    """

    def __init__(self, weights: Mapping[str, float], networks: Mapping[str, nn.Module] | None = None) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.networks = dict(networks or {})
        for name in self.weights:
            if name not in _TERMS and name not in _JUDGED:
                raise RestyleError(f"no loss named '{name}'", f"there are {', '.join(sorted([*_TERMS, *_JUDGED]))}")
            if name in _JUDGED and name not in self.networks:
                raise RestyleError(f"the loss '{name}' needs a network that is not here", f"or leave '{name}' out")

    def __call__(
        self, target: Tensor, state: State, w_avg: Tensor, stage: int | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to go back from, and its terms before weighting, detached. `stage`: e4e's progressive one."""
        seen = Seen(fit(state.image, (target.shape[-2], target.shape[-1])), target, state.w, w_avg, stage)
        terms = {
            name: _JUDGED[name](self.networks[name], seen) if name in _JUDGED else _TERMS[name](seen)
            for name in self.weights
        }
        total = sum(
            (self.weights[name] * term for name, term in terms.items()), start=torch.zeros((), device=target.device)
        )
        return total, {name: term.detach() for name, term in terms.items()}


def _unlike(network: nn.Module, seen: Seen) -> Tensor:
    with torch.no_grad():
        wanted = network(seen.target)
    return unlikeness(network(seen.image), wanted)


_TERMS: dict[str, Callable[[Seen], Tensor]] = {
    "l2": lambda seen: F.mse_loss(seen.image, seen.target),
    "w_norm": lambda seen: w_norm(seen.w, seen.w_avg),
    "delta_norm": lambda seen: delta_norm(seen.w, seen.stage),
}
_JUDGED: dict[str, Callable[[nn.Module, Seen], Tensor]] = {
    "lpips": lambda network, seen: network(seen.image, seen.target).mean(),
    "id": _unlike,
    "moco": _unlike,
    "w_discriminator": lambda network, seen: fooling(network, seen.w, seen.stage),
}
