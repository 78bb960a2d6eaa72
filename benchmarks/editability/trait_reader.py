"""A network that predicts the look of a synthetic portrait from its image, to measure edits.

It is trained from random weights on renderings and on generator images of known latents, and never sees an inversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from drawings import Data, Drawings, read_pictures
from torch import Tensor, nn

from restyle_cli.data.looks import COLUMNS, LOOK_DIM, LookSpace, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, held_out
from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig
from restyle_cli.images import fit
from restyle_cli.store.files import read_module, write_module

PEOPLE = 8192  # rendered, and as many others by the generator
SIDE = 64
STEPS, BATCH, RATE = 5000, 32, 1.5e-3
GENERATED_SEED = 900_000  # far from the seeds of the renderings, and not held out
CHECKED, CHECKED_SEED = 256, HELD_OUT + 21
AT_ONCE = 32
SIDES = ("yaw", "roll", "head_x", "gaze_x", "parting", "light_x")
"""Columns that a mirror negates."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Reader:
    """`network`: images -> looks in standard deviations; `r2` [LOOK_DIM]: its R² on held-out portraits."""

    network: nn.Module
    r2: Tensor

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [-1, 1] -> looks [N, LOOK_DIM], in standard deviations from the mean."""
        return self.network(images)[:, 0]


def make_reader(folder: Path, generator: nn.Module, space: LookSpace, note: Note) -> Reader:
    """The reader saved in `folder`, or a new one, which takes some minutes. Its R² is measured again."""
    path = folder / "look-reader.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_module(path, train(folder, generator, space, note), "small")
    network = read_module(path)
    return Reader(network, check(network, generator, space))


def train(folder: Path, generator: nn.Module, space: LookSpace, note: Note) -> nn.Module:
    """A new reader. The renderings are saved in `folder`; those of a training are used if they exist."""
    drawings = Drawings(folder, Data(pictures=PEOPLE), space)
    drawings.fill(note)
    rendered = torch.cat([_as_bytes(part) for part in _opened(drawings)])
    others = looks(sample_z(PEOPLE, GENERATED_SEED))
    note("images are rendered")
    generated = torch.cat([_as_bytes(_generated(generator, space, part)) for part in others.split(AT_ONCE)])
    note("generator images are ready")
    images = torch.cat([rendered, generated])
    targets = (torch.cat([drawings.looks(), others]) - space.mean) / space.spread
    torch.manual_seed(0)
    network = SmallEncoder(
        SmallEncoderConfig(
            input_channels=3,
            styles=1,
            w_dim=LOOK_DIM,
            input_size=SIDE,
            widths=(32, 48, 64, 96),
            blocks=(1, 1, 2, 2),
            hidden=256,
        )
    ).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=0.05)
    mirrored = mirror(space)
    rng, average = np.random.default_rng(0), 1.0
    for step in range(1, STEPS + 1):
        index = torch.from_numpy(rng.choice(len(images), BATCH, replace=False))
        seen, wanted = images[index].float() / 127.5 - 1, targets[index]
        if step % 2:  # twice as many portraits at no cost
            seen, wanted = seen.flip(3), mirrored(wanted)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(seen)[:, 0]
        loss = (found.float() - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average += 0.01 * (float(loss.detach()) - average)
        if step % 500 == 0:
            note(f"reader: step {step} of {STEPS}, mean square error {average:.3f}")
    return network.eval()


@torch.no_grad()
def check(network: nn.Module, generator: nn.Module, space: LookSpace) -> Tensor:
    """R2 of each column of looks, [LOOK_DIM]: on held-out renderings or on generator images, whichever is lower."""
    values, rendered = held_out(CHECKED, SIDE, "portrait", CHECKED_SEED)
    generated = torch.cat([_generated(generator, space, part) for part in values.split(AT_ONCE)])
    targets = (values - space.mean) / space.spread
    return torch.minimum(*(r2(network(images)[:, 0], targets) for images in (rendered, generated)))


def r2(found: Tensor, targets: Tensor) -> Tensor:
    """The share of each column's variance that is explained: two of [N, C] -> [C]; 1 at best, 0 for the mean."""
    return 1 - (found - targets).square().mean(dim=0) / targets.var(dim=0, correction=0)


def mirror(space: LookSpace) -> Callable[[Tensor], Tensor]:
    """A function from looks in standard deviations to those of the mirrored images."""
    sides = torch.tensor([column in SIDES for column in COLUMNS])
    middle = space.mean / space.spread
    return lambda values: torch.where(sides, -values - 2 * middle, values)


def _opened(drawings: Drawings) -> list[Tensor]:
    array = drawings.open()
    return [read_pictures(array, np.arange(i, i + AT_ONCE), SIDE) for i in range(0, PEOPLE, AT_ONCE)]


@torch.no_grad()
def _generated(generator: nn.Module, space: LookSpace, values: Tensor) -> Tensor:
    """The generator's images of the true latents of looks [N, LOOK_DIM]."""
    return generator(generator.w_plus(space.embed(values))).float()


def _as_bytes(images: Tensor) -> Tensor:
    """Images of any size in [-1, 1] -> bytes of the reader's size, which need little memory."""
    return ((fit(images, (SIDE, SIDE)) + 1) * 127.5).round().clamp(0, 255).byte()
