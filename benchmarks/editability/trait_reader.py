"""A network that reads the look of a drawn portrait from its picture: what edits are measured with.

It is no part of what is measured: it begins at random, sees drawings and the generator's pictures of known codes alike,
and never an inversion. So it judges what a picture shows, whoever made it.
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

PEOPLE = 8192  # drawn, and as many others that the generator makes
SIDE = 64
STEPS, BATCH, RATE = 5000, 32, 1.5e-3
GENERATED_SEED = 900_000  # far from the seeds of the drawings, and not held out
CHECKED, CHECKED_SEED = 256, HELD_OUT + 21
AT_ONCE = 32
SIDES = ("yaw", "roll", "head_x", "gaze_x", "parting", "light_x")
"""What a mirror turns round."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Reader:
    """`network`: pictures -> looks in standard deviations; `r2`: how well it reads held-out ones, [LOOK_DIM]."""

    network: nn.Module
    r2: Tensor

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] -> looks [N, LOOK_DIM], in standard deviations from the mean."""
        return self.network(pictures)[:, 0]


def make_reader(folder: Path, generator: nn.Module, space: LookSpace, note: Note) -> Reader:
    """The reader kept in `folder`, or a new one, which takes some minutes; either way checked on held-out people."""
    path = folder / "look-reader.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_module(path, train(folder, generator, space, note), "small")
    network = read_module(path)
    return Reader(network, check(network, generator, space))


def train(folder: Path, generator: nn.Module, space: LookSpace, note: Note) -> nn.Module:
    """A new reader. Drawings are kept in `folder`, where a training's may lie already."""
    drawings = Drawings(folder, Data(pictures=PEOPLE), space)
    drawings.fill(note)
    drawn = torch.cat([_as_bytes(part) for part in _opened(drawings)])
    others = looks(sample_z(PEOPLE, GENERATED_SEED))
    note("pictures are drawn")
    made = torch.cat([_as_bytes(_generated(generator, space, part)) for part in others.split(AT_ONCE)])
    note("and made by the generator")
    pictures = torch.cat([drawn, made])
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
        index = torch.from_numpy(rng.choice(len(pictures), BATCH, replace=False))
        seen, wanted = pictures[index].float() / 127.5 - 1, targets[index]
        if step % 2:  # twice as many people for nothing
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
    """R2 of each column of looks, [LOOK_DIM]: on held-out drawings or on the generator's pictures, the lower one."""
    values, drawn = held_out(CHECKED, SIDE, "portrait", CHECKED_SEED)
    made = torch.cat([_generated(generator, space, part) for part in values.split(AT_ONCE)])
    targets = (values - space.mean) / space.spread
    return torch.minimum(*(r2(network(pictures)[:, 0], targets) for pictures in (drawn, made)))


def r2(found: Tensor, targets: Tensor) -> Tensor:
    """The share of each column's variance that is explained: two of [N, C] -> [C]; 1 at best, 0 for the mean."""
    return 1 - (found - targets).square().mean(dim=0) / targets.var(dim=0, correction=0)


def mirror(space: LookSpace) -> Callable[[Tensor], Tensor]:
    """What makes of looks in standard deviations those of the mirrored pictures."""
    sides = torch.tensor([column in SIDES for column in COLUMNS])
    middle = space.mean / space.spread
    return lambda values: torch.where(sides, -values - 2 * middle, values)


def _opened(drawings: Drawings) -> list[Tensor]:
    array = drawings.open()
    return [read_pictures(array, np.arange(i, i + AT_ONCE), SIDE) for i in range(0, PEOPLE, AT_ONCE)]


@torch.no_grad()
def _generated(generator: nn.Module, space: LookSpace, values: Tensor) -> Tensor:
    """What the generator makes of the known codes of looks [N, LOOK_DIM]."""
    return generator(generator.w_plus(space.embed(values))).float()


def _as_bytes(pictures: Tensor) -> Tensor:
    """Pictures of any size in [-1, 1] -> bytes of the reader's size, which take little memory."""
    return ((fit(pictures, (SIDE, SIDE)) + 1) * 127.5).round().clamp(0, 255).byte()
