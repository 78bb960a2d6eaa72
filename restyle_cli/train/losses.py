"""The losses of the papers by name: pSp, e4e, ReStyle, HyperStyle (Richardson, Tov, Alaluf et al. 2021, 2022).

Images are [N, 3, H, W] in [-1, 1]; every loss is a scalar, the mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError, did_you_mean
from restyle_cli.perceptual.identity import FACE_COLUMNS, FACE_ROWS, PORTRAIT

# --- of images


@dataclass(frozen=True)
class ImageLoss:
    """A loss of two images. `network`: the name of the network it needs in a recipe's `networks`."""

    compare: Callable[[nn.Module | None, Tensor, Tensor], Tensor]
    network: str | None = None


def cosine_loss(network: nn.Module | None, image: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of the network's unit embeddings: identity by a face network, similarity by MoCo."""
    assert network is not None
    with torch.no_grad():
        wanted = network(target)
    return (1 - (network(image) * wanted).sum(dim=1)).mean()


def lpips(network: nn.Module | None, image: Tensor, target: Tensor) -> Tensor:
    """LPIPS (Zhang et al. 2018)."""
    assert network is not None
    return network(image, target).mean()


def l2(network: nn.Module | None, image: Tensor, target: Tensor) -> Tensor:
    """Mean square."""
    return F.mse_loss(image, target)


def _on_face(loss: Callable[[nn.Module | None, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The loss on the inner face of images of 256 px, as pSp's frontalisation uses it."""

    def on_face(network: nn.Module | None, image: Tensor, target: Tensor) -> Tensor:
        if image.shape[-2:] != PORTRAIT:
            raise RestyleError(
                f"losses on the inner face need images of 256x256 px, not {image.shape[-1]}x{image.shape[-2]}"
            )
        return loss(network, image[..., FACE_ROWS, FACE_COLUMNS], target[..., FACE_ROWS, FACE_COLUMNS])

    return on_face


IMAGE_LOSSES = {
    "l2": ImageLoss(l2),
    "lpips": ImageLoss(lpips, "lpips"),
    "id": ImageLoss(cosine_loss, "id"),
    "moco": ImageLoss(cosine_loss, "moco"),
    "l2_face": ImageLoss(_on_face(l2)),
    "lpips_face": ImageLoss(_on_face(lpips), "lpips"),
}

# --- of latents


def w_norm(w: Tensor, w_avg: Tensor | None = None) -> Tensor:
    """Length of w_plus [N, L, D], all styles together, measured from w_avg [L, D] if given."""
    return torch.linalg.vector_norm(w if w_avg is None else w - w_avg, dim=(1, 2)).mean()


def delta_norm(w: Tensor, stage: int | None = None) -> Tensor:
    """e4e's delta loss: the lengths of the offsets of styles 1 to `stage` (None: all) from style 0, added up."""
    deltas = w[:, 1 : None if stage is None else stage + 1] - w[:, :1]
    return torch.linalg.vector_norm(deltas, dim=2).mean(dim=0).sum()


def latent(w: Tensor, known: Tensor, spread: Tensor) -> Tensor:
    """Distance to known latents [N, L, D] in units of `spread` [D], the standard deviation of W: smooth L1.

    Rows of `known` that are NaN do not count; they are not known.
    """
    rows = known.isfinite().all(dim=2).all(dim=1)
    if not rows.any():
        return w.new_zeros(())
    return F.smooth_l1_loss(w[rows] / spread, known[rows] / spread)


LATENT_LOSSES = ("w_norm", "delta_norm", "latent", "w_discriminator")
LOSSES = (*IMAGE_LOSSES, *LATENT_LOSSES)


def check_losses(weights: Mapping[str, float], known_latents: bool, discriminator: bool) -> None:
    """RestyleError for an unknown loss, or one that the recipe has no means for."""
    for name in weights:
        if name not in LOSSES:
            raise RestyleError(
                f"no loss named '{name}'", did_you_mean(name, LOSSES) or f"available: {', '.join(LOSSES)}"
            )
    if weights.get("latent") and not known_latents:
        raise RestyleError(
            "the loss 'latent' needs images whose latents are known", "use data.kind generated, or leave 'latent' out"
        )
    if weights.get("w_discriminator") and not discriminator:
        raise RestyleError("the loss 'w_discriminator' needs a table [discriminator]", "add it, or leave the loss out")


class ImageObjective:
    """The weighted sum of the image losses of `weights`; other names are ignored. `networks` by their recipe names."""

    def __init__(self, weights: Mapping[str, float], networks: Mapping[str, nn.Module]) -> None:
        self.weights = {name: weight for name, weight in weights.items() if name in IMAGE_LOSSES and weight}
        self.networks = networks

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of `image` [N, 3, H, W] against a target of the same size, and each term before weighting."""
        terms = {}
        for name in self.weights:
            loss = IMAGE_LOSSES[name]
            terms[name] = loss.compare(self.networks[loss.network] if loss.network else None, image, target)
        total = image.new_zeros(()) + sum(self.weights[name] * term for name, term in terms.items())
        return total, {name: term.detach() for name, term in terms.items()}
