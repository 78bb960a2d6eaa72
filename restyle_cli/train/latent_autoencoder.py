"""Training an adversarial latent autoencoder (Pidhorskyi et al. 2020): encoder and generator from nothing, together.

Three updates take turns, each of them one step of the loop. F maps z to w, G draws w, E finds w in a picture, and the
head D tells from w whether the picture was real:

- *judge*: E and D learn to tell drawings from samples (softplus, with R1 on the drawings),
- *draw*: F and G learn to pass for real, by the judge's verdict D(E(G(F(z)))),
- *reciprocate*: E and G learn that E(G(w)) = w, for w = F(z). No pixel is compared with another, ever.

The networks grow as the paper's do: a stage of a higher resolution than the one before adds a layer to both ends,
which fades in. Left out are style mixing, and noise, which drawings have no use for. In the third update F stays as it
is, as the paper says; the authors' code moves it too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.encoders.alae import ALAEDiscriminator, ALAEDiscriminatorConfig, ALAEEncoder, ALAEEncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan1 import StyleGAN1, StyleGAN1Config
from restyle_cli.images import fit
from restyle_cli.inversion import l2
from restyle_cli.ops.layers import GAIN, SLOPE
from restyle_cli.store.files import write_module
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.drawings import Drawings, held_out, read_pictures
from restyle_cli.train.looks import LookSpace
from restyle_cli.train.networks import Ensemble

HELD_OUT_PICTURES = 64
WEIGHTS = {"r1": 10.0, "reciprocity": 1.0}
"""Of the losses beside the verdicts, as the authors set them; a stage may set others."""
FADE = 0.4  # share of a growing stage in which the new layers fade in
R1_EVERY = 4  # rounds; the penalty needs a second derivative, hence not at every one
FIRST_COLOURS = 0.1  # how strong a generator's colours are at first; stronger ones take long to be unlearned
HEAD_RATE = 0.1  # of the head's learning rate, as StyleGAN's mappings have one


class Autoencoder(Ensemble):
    """The four networks, made for each other: the encoder is the generator's mirror."""

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        self.config = config
        self.generator = StyleGAN1(config)
        for to_rgb in self.generator.to_rgbs:
            to_rgb.weight.data.mul_(FIRST_COLOURS)
        widths = tuple(config.channels[side] for side in sorted(config.channels, reverse=True))
        self.encoder = ALAEEncoder(
            ALAEEncoderConfig(
                styles=config.layers,
                w_dim=config.w_dim,
                input_size=config.resolution,
                widths=(*widths, widths[-1]),
            )
        )
        self.head = ALAEDiscriminator(ALAEDiscriminatorConfig((config.w_dim,) * 3 + (1,)))
        smaller = sorted(config.channels)[:-1]
        self.stems = nn.ModuleDict({str(side): nn.Conv2d(3, config.channels[side], 1) for side in smaller})

    @property
    def main(self) -> nn.Module:
        """The encoder, for it is what inverts."""
        return self.encoder

    def groups(self) -> list[dict]:
        """Parameters by their share of the learning rate: that of an equalised one, which lies in the generator."""
        rates: dict[float, list[nn.Parameter]] = {1.0: list(self.generator.parameters())}
        for part, gain in ((self.encoder, 1.0), (self.stems, 1.0), (self.head, HEAD_RATE)):
            for module in part.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    scale = gain * GAIN / math.sqrt(module.weight[0].numel())
                    rates.setdefault(scale, []).append(module.weight)
                    rates.setdefault(gain, []).append(module.bias)
        return [{"params": parameters, "rate": rate} for rate, parameters in rates.items()]

    def draw(self, w: Tensor, side: int, fade: float = 1.0) -> Tensor:
        """w [N, w_dim] -> [N, 3, side, side]; `fade` below 1 lets the layers of this size in by a part only."""
        maps: dict[int, Tensor] = {}
        image = self.generator(self.generator.w_plus(w), upto=side, features=maps)
        if fade < 1:
            below = self.generator.to_rgbs[int(math.log2(side)) - 3](maps[side // 2])
            image = torch.lerp(F.interpolate(below, scale_factor=2.0), image, fade)
        return image.float()

    def encode(self, x: Tensor, fade: float = 1.0) -> Tensor:
        """x [N, 3, R, R], R one of the generator's resolutions -> w [N, w_dim]; `fade` as in `draw`."""
        side = x.shape[-1]
        first = int(math.log2(self.config.resolution // side))
        after, w = self.encoder.blocks[first](self._stem(x))
        if fade < 1:
            after, w = torch.lerp(self._stem(F.avg_pool2d(x, 2)).to(after.dtype), after, fade), fade * w
        for block in self.encoder.blocks[first + 1 :]:
            after, part = block(after)
            w = w + part
        return w.float()

    def _stem(self, x: Tensor) -> Tensor:
        """The encoder's first layer, or that of a smaller picture."""
        stem = self.encoder.from_rgb if x.shape[-1] == self.config.resolution else self.stems[str(x.shape[-1])]
        return F.leaky_relu(F.leaky_relu(stem(x), SLOPE), SLOPE)


class LatentAutoencoder:
    """The task of the loop for latent autoencoders."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.family, self.folder = recipe, recipe.family, folder
        self.network = Autoencoder(StyleGAN1Config.from_dict({"noise": False} | recipe.network))
        self.config = self.network.config
        for stage in recipe.stages:
            if stage.resolution not in self.config.channels:
                raise RestyleError(
                    f"a stage of the recipe '{recipe.name}' has pictures of {stage.resolution} px, which its network "
                    f"of {self.config.resolution} px does not draw on its way",
                    f"there are {', '.join(str(side) for side in sorted(self.config.channels))}",
                )
            if unknown := sorted(set(stage.losses) - set(WEIGHTS)):
                raise RestyleError(
                    f"the recipe '{recipe.name}' names the loss '{unknown[0]}', which a latent autoencoder has not",
                    f"there are {', '.join(WEIGHTS)}",
                )
        self.drawings = Drawings(folder, recipe.data, LookSpace(self.config.w_dim))
        self.updates = 0  # since the stage began
        self.growing = False

    def state(self) -> dict:
        """Whose turn it is, and how far new layers have faded in."""
        return {"updates": self.updates, "growing": self.growing}

    def load(self, state: dict) -> None:
        """Take that back."""
        self.updates, self.growing = state["updates"], state["growing"]

    def prepare(self, note: Callable[[str], None]) -> None:
        """Draw the training pictures, and held-out ones; choose the z that scores are of."""
        self.drawings.fill(note)
        self.pictures = self.drawings.open()
        _, self.held = held_out(HELD_OUT_PICTURES, self.recipe.data.resolution, self.recipe.data.style)
        self.held_z = torch.randn(len(self.held), self.config.z_dim, generator=torch.Generator().manual_seed(10**6))

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Grow, if the stage's pictures are larger than those before."""
        self.updates, self.growing = 0, before is not None and before.resolution < stage.resolution

    def fade(self, stage: Stage) -> float:
        """How far the layers of the stage's resolution count, from 0 to 1."""
        return min(1.0, self.updates / (FADE * stage.steps)) if self.growing else 1.0

    def backward(self, stage: Stage, rng: np.random.Generator) -> float:
        """The update whose turn it is: its loss, and the gradients of the networks that it changes."""
        update = (self.judge, self.draw, self.reciprocate)[self.updates % 3]
        with self.autocast():
            loss = update(stage, rng)
        loss.backward()
        self.updates += 1
        return float(loss.detach())

    def judge(self, stage: Stage, rng: np.random.Generator) -> Tensor:
        """What E and D lose by taking drawings for samples, samples for drawings, and by steep verdicts (R1)."""
        network, fade = self._learn("encoder", "stems", "head"), self.fade(stage)
        index = np.sort(rng.choice(len(self.pictures), stage.batch, replace=False))
        x = self._faded(read_pictures(self.pictures, index, stage.resolution), fade)
        with torch.no_grad():
            made = network.draw(network.generator.mapping(self._z(stage, rng)), stage.resolution, fade)
        weight = (WEIGHTS | stage.losses)["r1"] * R1_EVERY if self.updates // 3 % R1_EVERY == 0 else 0.0
        real = network.head(network.encode(x.requires_grad_(weight > 0), fade)).float()
        loss = F.softplus(-real).mean() + F.softplus(network.head(network.encode(made, fade)).float()).mean()
        if weight > 0:
            (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
            loss = loss + weight / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        return loss

    def draw(self, stage: Stage, rng: np.random.Generator) -> Tensor:
        """What F and G lose by samples that do not pass for drawings."""
        network, fade = self._learn("generator"), self.fade(stage)
        made = network.draw(network.generator.mapping(self._z(stage, rng)), stage.resolution, fade)
        return F.softplus(-network.head(network.encode(made, fade)).float()).mean()

    def reciprocate(self, stage: Stage, rng: np.random.Generator) -> Tensor:
        """What E and G lose by a w that is not found again in its picture."""
        network, fade = self._learn("encoder", "stems", "generator"), self.fade(stage)
        with torch.no_grad():
            w = network.generator.mapping(self._z(stage, rng)).float()
        found = network.encode(network.draw(w, stage.resolution, fade), fade)
        return (WEIGHTS | stage.losses)["reciprocity"] * F.mse_loss(found, w)

    def _learn(self, *names: str) -> Autoencoder:
        """The networks, of which those named take gradients."""
        for name, part in self.network.named_children():
            part.requires_grad_(name in names)
        return self.network

    def _z(self, stage: Stage, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((stage.batch, self.config.z_dim), dtype=np.float32))

    def _faded(self, x: Tensor, fade: float) -> Tensor:
        """Pictures as sharp as a generator can draw them that is still growing."""
        return x if fade == 1 else torch.lerp(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0), x, fade)

    def autocast(self) -> torch.autocast:
        """The recipe's precision."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16")

    @torch.no_grad()
    def scores(self, network: Autoencoder, stage: Stage) -> dict[str, float]:
        """On pictures and z that no training sees.

        `l2` between drawings and G(E(x)), and what it would be for the mean drawing; `reciprocity`, the squared error
        of E(G(w)) in shares of W's variance, 1 for codes that say nothing; mean verdicts on drawings and on samples.
        """
        side, fade = stage.resolution, self.fade(stage)
        x = fit(self.held, (side, side))
        with self.autocast():
            codes = torch.cat([network.encode(part, fade) for part in x.split(16)])
            again = torch.cat([network.draw(part, side, fade) for part in codes.split(16)])
            w = network.generator.mapping(self.held_z).float()
            found = torch.cat([network.encode(network.draw(part, side, fade), fade) for part in w.split(16)])
            real, made = network.head(codes).mean(), network.head(found).mean()
        return {
            "l2": float(l2(x, again).mean()),
            "l2_mean": float(l2(x, x.mean(dim=0, keepdim=True).expand_as(x)).mean()),
            "reciprocity": float(F.mse_loss(found, w) / w.var(dim=0, unbiased=False).mean().clamp_min(1e-12)),
            "real": float(real),
            "made": float(made),
        }

    @torch.no_grad()
    def sheet(self, network: Autoencoder, stage: Stage) -> Tensor:
        """Held-out drawings above what the autoencoder makes of them, twice; then samples: [48, 3, R, R]."""
        side, fade = stage.resolution, self.fade(stage)
        rows = []
        with self.autocast():
            for part in fit(self.held[:16], (side, side)).split(8):
                rows += [part, network.draw(network.encode(part, fade), side, fade)]
            rows.append(network.draw(network.generator.mapping(self.held_z[:16]), side, fade))
        return torch.cat(rows)

    def finish(self, network: Autoencoder) -> dict:
        """What the encoder's file says; the generator is written beside it."""
        generator = network.generator
        generator.w_avg.copy_(generator.mean_w(20_000).expand_as(generator.w_avg))
        name = f"{self.recipe.name}-generator"
        told = {"latent_space": self.recipe.name, "style": self.recipe.data.style}
        write_module(self.folder / f"{name}.safetensors", generator, "stylegan1", told, half=True)
        return {"method": "alae", "absolute": True, "generator": name}
