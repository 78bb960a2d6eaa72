"""Training an encoder or a hypernetwork on a frozen generator, as the papers do.

ReStyle (Alaluf et al. 2021) runs the inversion loop on each batch: every one of its `iterations` steps sees the current
reconstruction and has losses and a backward pass of its own; the gradients of all steps add up to one update. With one
step this is the training of pSp and e4e. The losses are those of the underlying method.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restyle_cli.align import alignment_rule
from restyle_cli.data.source import Batch, Note
from restyle_cli.images import fit
from restyle_cli.inversion import Method, State, invert, iterate
from restyle_cli.methods import METHODS
from restyle_cli.methods.encoder import SinglePass, task_of
from restyle_cli.methods.inputs import shrunk
from restyle_cli.metrics import IDENTITIES
from restyle_cli.store.files import write_module
from restyle_cli.train.augment import augment
from restyle_cli.train.build import Parts, build_parts, family_of, generator_reference
from restyle_cli.train.config import Recipe, Stage
from restyle_cli.train.latent_discriminator import LatentAdversary, progressive_stage
from restyle_cli.train.losses import ImageObjective, delta_norm, latent, w_norm
from restyle_cli.train.scores import Scores
from restyle_cli.train.task import Loss, Sheet

W_SAMPLES = 10_000
"""Random latents from which the spread of W is measured."""
SHEET_ROWS = 8
FIRST_SCALE = 1024.0
"""The gradient of the image is computed of a loss times this power of two, so that half precision keeps small ones."""


class EncoderTask:
    """The task of the loop for encoders and hypernetworks."""

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts = recipe, parts
        self.network, self.generator, self.source = parts.network, parts.generator, parts.source
        self.device = self.generator.w_avg.device
        self.adversary: LatentAdversary | None = None
        if recipe.discriminator is not None:
            self.adversary = LatentAdversary(recipe.discriminator, self.generator.config.w_dim, self.device)
        self._trained_offsets: int | None = None
        method: Any = METHODS.load(recipe.method)
        options = {"task": task_of(self.network.config.input_channels)} if recipe.method == "psp" else {}
        self._method: SinglePass = method(recipe.name, self.network, self.generator, **options)

    @classmethod
    def of_recipe(cls, recipe: Recipe, folder: Path, device: torch.device) -> EncoderTask:
        """The task with its networks on `device`; RestyleError if one is missing, or they do not fit together."""
        return cls(recipe, build_parts(recipe, folder, device))

    def prepare(self, note: Note) -> None:
        """Read or align the images; measure the spread of W where a loss needs it."""
        self.source.prepare(note)
        self.held_out = self.source.validation(self.recipe.validation.images)
        faces = alignment_rule(str(self.recipe.generator)) == "face"
        self._scores = Scores(self.held_out, self.device, IDENTITIES if faces else ())
        self._method.start(self.held_out.x[:1].to(self.device))  # the average image, without noise
        if any(stage.losses.get("latent") for stage in self.recipe.stages):
            with torch.no_grad():
                w = self._random_w(W_SAMPLES, torch.Generator().manual_seed(self.recipe.seed))
            self.spread = w.std(dim=0).clamp_min(1e-6)

    def begin(self, stage: Stage, before: Stage | None) -> None:
        """Nothing changes between stages but their settings."""

    def losses(self, network: nn.Module, batch: Batch, stage: Stage, step: int) -> Iterator[Loss]:
        """One loss per step of the inversion loop."""
        rng = np.random.default_rng([self.recipe.seed, 2, step])
        x = self._inputs(batch.x, stage, rng)
        method, offsets = self._using(network), self._offsets(step)
        self.network.stage = self._trained_offsets = offsets
        if self.adversary is not None and stage.losses.get("w_discriminator"):
            self._train_discriminator(method, x, step)
        first = self.parts.first if rng.random() < stage.bootstrap else []
        objective = ImageObjective(stage.losses, self.parts.loss_networks)
        with self._training_generator():
            for state in islice(iterate(x, [*first, *[method] * stage.iterations]), 1 + len(first), None):
                loss = self._loss(state, batch, stage, objective, offsets)
                del state
                yield loss
                del loss  # and with it the graph, before the next step makes its own

    def _inputs(self, x: Tensor, stage: Stage, rng: np.random.Generator) -> Tensor:
        data = self.recipe.data
        if data.flip_inputs:
            x = torch.where(torch.from_numpy(rng.random((len(x), 1, 1, 1)) < 0.5).to(x.device), x.flip(-1), x)
        if data.factors:
            x = shrunk(x, int(rng.choice(data.factors)))
        return augment(x, stage.augment, rng) if stage.augment else x

    @contextmanager
    def _training_generator(self) -> Iterator[None]:
        """Fresh noise in every image, as the papers train, and checkpoints at every resolution to save memory."""
        self.generator.noise_mode, self.generator.gradient_checkpointing = "random", self.recipe.checkpointing
        try:
            yield
        finally:
            self.generator.noise_mode, self.generator.gradient_checkpointing = "fixed", False

    def _loss(self, state: State, batch: Batch, stage: Stage, objective: ImageObjective, offsets: int | None) -> Loss:
        """The losses of one step.

        The gradient of the image is computed at once, which frees the graphs of the losses; what is returned to go
        backward from has that gradient and leads through the generator and the encoder only.
        """
        image = state.image.detach().requires_grad_()
        image_loss, terms = objective(fit(image, (batch.y.shape[-2], batch.y.shape[-1])), batch.y)
        latent_loss = self._latent_loss(state.w.float(), batch, stage, offsets, terms)
        value = (image_loss + latent_loss).detach()
        if objective.weights:
            (gradient,) = torch.autograd.grad(FIRST_SCALE * image_loss, image)
            latent_loss = latent_loss + (state.image * (gradient / FIRST_SCALE)).sum()
        return Loss(latent_loss, value, terms)

    def _latent_loss(
        self, w: Tensor, batch: Batch, stage: Stage, offsets: int | None, terms: dict[str, Tensor]
    ) -> Tensor:
        """The weighted losses of w [N, L, w_dim]; adds them to `terms`."""
        losses: dict[str, Tensor] = {}
        if stage.losses.get("w_norm"):
            losses["w_norm"] = w_norm(w, self.generator.w_avg)
        if stage.losses.get("delta_norm"):
            losses["delta_norm"] = delta_norm(w, offsets)
        if stage.losses.get("latent") and batch.w is not None:
            losses["latent"] = latent(w, batch.w, self.spread)
        if stage.losses.get("w_discriminator") and self.adversary is not None:
            losses["w_discriminator"] = self.adversary.loss(w, offsets)
        terms |= {name: loss.detach() for name, loss in losses.items()}
        return w.new_zeros(()) + sum(stage.losses[name] * loss for name, loss in losses.items())

    def _using(self, network: nn.Module) -> Method:
        """The method with `network` as its encoder."""
        self._method.encoder = network  # type: ignore[assignment]  # an Encoder, perhaps wrapped for several processes
        return self._method

    def _offsets(self, step: int) -> int | None:
        """How many of e4e's offsets are trained at `step`; None for all."""
        progressive = self.recipe.progressive
        if progressive is None:
            return None
        return progressive_stage(step, progressive.start, progressive.every, self.generator.layers)

    def _train_discriminator(self, method: Method, x: Tensor, step: int) -> None:
        """Real latents are the mapping network's, fake ones the first style after the encoder's first step."""
        assert self.adversary is not None
        random = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        with torch.no_grad():
            state = next(islice(iterate(x, [method]), 1, None))
            real = self._random_w(len(x), random)
        self.adversary.step(real, state.w[:, 0].float(), step, random)

    def _random_w(self, count: int, random: torch.Generator) -> Tensor:
        z = torch.randn(count, self.generator.config.z_dim, generator=random)
        return self.generator.mapping(z.to(self.device))

    # --- what is measured and written

    def scores(self, network: nn.Module, stage: Stage) -> dict[str, float]:
        """The metrics of `restyle eval` on the held-out images after the last step, and L2 after each."""
        network.stage = self._trained_offsets  # type: ignore[assignment]  # of an Encoder, or a copy of one
        return self._scores.measure(self._schedule(network))

    def sheet(self, network: nn.Module, stage: Stage) -> Sheet:
        """Held-out images: the target, the average image, and every step."""
        x, y = self.held_out.x[:SHEET_ROWS], self.held_out.y[:SHEET_ROWS]
        inversion = invert(x.to(self.device), self._schedule(network), keep="last")
        size = (y.shape[-2], y.shape[-1])
        steps = {
            f"step {k}" if k else "average": fit(image.float().cpu(), size)
            for k, image in inversion.image_steps.items()
        }
        columns = {"target": y, **steps}
        return Sheet(list(columns), [[images[row] for images in columns.values()] for row in range(len(y))])

    def _schedule(self, network: nn.Module) -> list[Method]:
        method = self._using(network)
        return [*(self.parts.first if self.recipe.method == "hyperstyle" else []), *[method] * method.default_steps]

    def save(self, network: nn.Module, path: Path, trained: dict[str, Any]) -> None:
        """Write the encoder; a generator that the catalog does not know is written next to it."""
        name = generator_reference(str(self.recipe.generator), self.parts.generator_file, self.generator, path.parent)
        extra = {"method": self.recipe.method, "generator": name, "trained": trained}
        write_module(path, network, family_of(network), extra)

    def describe(self) -> dict[str, str]:
        """For people."""
        million = sum(parameter.numel() for parameter in self.network.parameters()) / 1e6
        height, width = self.generator.size
        losses = {name: weight for stage in self.recipe.stages for name, weight in stage.losses.items()}
        used = {kind: f" ({name})" for kind, name in self.parts.loss_models.items()}
        return {
            "network": f"{family_of(self.network)}, {million:.1f} million parameters",
            "generator": f"{self.recipe.generator}, {width}x{height}, {self.generator.layers} styles",
            "losses": ", ".join(f"{name} {weight:g}{used.get(name, '')}" for name, weight in losses.items() if weight),
        }

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's state."""
        return {} if self.adversary is None else self.adversary.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        if self.adversary is not None:
            self.adversary.load_state_dict(state)
