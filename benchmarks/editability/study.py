"""Editing the latents that each inversion method finds: the tables of docs/editability.md.

    python benchmarks/editability/study.py [people] [--methods "a; b; c:5,d:100"] [--sheet docs/editability.png]

Held-out synthetic portraits are inverted. Then every latent is moved along the known direction of one trait in W, by
the same amount in all layers: in both directions, with two strengths. The same moves of the true latents give the
wanted result. A network that predicts traits from images measures the effect (`trait_reader.py`). `--work` keeps it and
its training images. Methods are models, files or chains, separated by semicolons if there are chains; those that are
not installed are skipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import torch
from measures import Domain, Move, gain, leak, miss, standard_error
from sheet import largest_moves, write_sheet
from torch import Tensor, nn
from trait_reader import Reader, make_reader

from restyle_cli.data.looks import COLUMNS, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.errors import RestyleError
from restyle_cli.inversion import invert, l2
from restyle_cli.metrics.identity import DlibIdentity
from restyle_cli.models import Plan, parse_chain, plan

SEED = 20
BATCH = 8
READABLE = 0.8  # the R² from which on a column is measured
STRENGTHS = (-2.0, -1.0, 1.0, 2.0)  # standard deviations
MOVED = {
    "yaw": ("yaw",),
    "face width": ("face_width",),
    "hair length": ("hair_length",),
    "smile": ("smile",),
    "mouth open": ("mouth_open",),
    "beard": ("beard",),
    "glasses": ("glasses",),
    "skin": ("skin.r", "skin.g", "skin.b"),
    "hair colour": ("hair.r", "hair.g", "hair.b"),
}
METHODS = (
    "psp-portrait; e4e-portrait; restyle-psp-portrait; restyle-e4e-portrait; hyperstyle-portrait; "
    "image2stylegan-portrait:100; hybrid-portrait:100; restyle-psp-portrait:5,pti:100"
)
TRUE = "true latents"


@dataclass(frozen=True)
class Latents:
    """The latents of one method, and its generator."""

    name: str
    generator: nn.Module
    w: Tensor  # [N, L, w_dim]
    patch: Mapping[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def render(self, move: Tensor | None = None, rows: slice = slice(None)) -> Tensor:
        """Images [n, 3, H, W] of the portraits in `rows`, the latents of all layers moved by `move` [n, w_dim]."""
        patch = {name: change[rows] for name, change in self.patch.items()}
        w = self.w[rows] if move is None else self.w[rows] + move[:, None]
        return self.generator(w, patch=patch).float()


@dataclass
class Readings:
    """Measurements of one method: [N] for each move."""

    edited: list[Tensor] = field(default_factory=list)  # L2 to the rendering of the changed look
    off_w: list[Tensor] = field(default_factory=list)  # of the moved latents
    to_true: list[Tensor] = field(default_factory=list)  # L2 to the image of the true latent after the move
    identity: list[Tensor] = field(default_factory=list)
    moved: list[Tensor] = field(default_factory=list)  # change of the moved columns, as predicted
    others: list[Tensor] = field(default_factory=list)  # change of all other measured columns, [N, columns]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=int, nargs="?", default=32)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--work", type=Path, default=Path("runs/editability"))
    parser.add_argument("--sheet", type=Path, help="write the edits of one portrait here")
    parser.add_argument("--person", type=int, default=0, help="the number of this portrait")
    options = parser.parse_args()
    values = looks(sample_z(options.people, HELD_OUT + SEED))
    x = torch.cat([draw_looks(part, 256) for part in values.split(BATCH)])
    chosen = plans(options.methods)
    every = [inverted(name, chain, x) for name, chain in chosen]
    if not every:
        raise SystemExit("no method is left")
    generator = every[0].generator
    domain = Domain.of(generator.config.w_dim)
    every = [Latents(TRUE, generator, generator.w_plus(domain.space.embed(values))), *every]
    reader = make_reader(options.work, generator, domain.space, lambda text: print(text, flush=True))
    moves = readable_moves(reader)
    measured = measure(every, values, moves, domain, reader)
    print_table(every, measured, domain, rendered_small(values, generator))
    print_parts(measured, moves)
    if options.sheet is not None:
        shown = largest_moves(moves, values[options.person], domain)
        write_sheet(options.sheet, every, values, shown, domain, options.person)


def plans(text: str) -> list[tuple[str, Plan]]:
    """The chains of --methods with their names. Missing ones are skipped with a line."""
    found = []
    for part in text.split(";" if ";" in text else ","):
        first, *others = parse_chain(part.strip())
        try:
            options = {"via": part.strip()} if others else {"steps": first.steps}
            found.append((_short(part), plan(first.name, **options)))
        except RestyleError as error:
            print(f"skipped: {error.message}", flush=True)
    return found


def _short(chain: str) -> str:
    """The chain without the folders of its files."""
    return ",".join(
        f"{Path(link.name).stem}:{link.steps}" if link.steps else Path(link.name).stem for link in parse_chain(chain)
    )


def inverted(name: str, chain: Plan, x: Tensor) -> Latents:
    """The latents of the images x [N, 3, H, W], each of its best step."""
    schedule = chain.load()
    parts = [invert(part, schedule) for part in x.split(BATCH)]
    patch = {key: torch.cat([part.patch[key] for part in parts]) for key in parts[0].patch}
    print(f"inverted by {name}" + (f", by way of {chain.perceptual}" if chain.perceptual else ""), flush=True)
    return Latents(name, schedule[-1].generator, torch.cat([part.w for part in parts]), patch)


def readable_moves(reader: Reader) -> list[Move]:
    """The moves of the traits that the reader predicts well. Others are skipped with a line."""
    moves = []
    for name, columns in MOVED.items():
        share = min(float(reader.r2[COLUMNS.index(column)]) for column in columns)
        print(f"{name:12} has an R² of {share:.2f}" + ("" if share >= READABLE else ": skipped"))
        if share >= READABLE:
            moves += [Move(name, columns, strength) for strength in STRENGTHS]
    print(f"{int((reader.r2 >= READABLE).sum())} of {len(COLUMNS)} columns have {READABLE} or more")
    return moves


def measure(
    every: Sequence[Latents], values: Tensor, moves: Sequence[Move], domain: Domain, reader: Reader
) -> dict[str, Readings]:
    """The measurements of each method; the first of `every` has the true latents."""
    identity = _identity()
    measured = {latents.name: Readings() for latents in every}
    before = {latents.name: reader(render_all(latents)) for latents in every}
    for move in moves:
        changed = domain.moved(values, move)
        way = domain.space.embed(changed) - domain.space.embed(values)
        rendering = rendered_small(changed, every[0].generator)
        wanted = render_all(every[0], way)
        others = (reader.r2 >= READABLE).index_fill(0, torch.tensor(move.places), False)
        for latents in every:
            image, readings = render_all(latents, way), measured[latents.name]
            change = reader(image) - before[latents.name]
            readings.off_w.append(domain.off_w(latents.w + way[:, None]))
            readings.edited.append(l2(rendering, image))
            readings.to_true.append(l2(wanted, image))
            readings.moved.append(change[:, move.places].mean(dim=1))
            readings.others.append(change[:, others])
            if identity is not None:
                readings.identity.append(identity.measure(rendering, image)[:, 0])
        print(f"measured {move.title}", flush=True)
    return measured


def _identity() -> DlibIdentity | None:
    try:
        return DlibIdentity()
    except RestyleError as error:
        print(f"without identity: {error.message}")
        return None


def rendered_small(values: Tensor, generator: nn.Module) -> Tensor:
    """Renderings of looks [N, LOOK_DIM] in the generator's size, without supersampling, which is fast."""
    return torch.cat([draw_looks(part, generator.size[0], finer=1) for part in values.split(BATCH)])


def render_all(latents: Latents, way: Tensor | None = None) -> Tensor:
    """The images [N, 3, H, W] of the latents, moved by `way` [N, w_dim] if given."""
    rows = [slice(i, i + BATCH) for i in range(0, len(latents.w), BATCH)]
    return torch.cat([latents.render(None if way is None else way[part], part) for part in rows])


def print_table(every: Sequence[Latents], measured: Mapping[str, Readings], domain: Domain, rendered: Tensor) -> None:
    """A row for each method, over all moves; `rendered` [N, 3, H, W] has the generator's size."""
    titles = ("spread", "off W", "moved", "from known", "L2", "L2 edited", "to known", "ID")
    shares = (gain, miss, leak)
    print("\n" + _row("latents of", titles) + "".join(f"{share.__name__:>16}" for share in shares))
    known = measured[every[0].name]
    for latents in every:
        readings = measured[latents.name]
        numbers = [domain.spread(latents.w), domain.off_w(latents.w), torch.cat(readings.off_w)]
        numbers += [domain.between(latents.w, every[0].w), l2(rendered, render_all(latents))]
        numbers += [torch.cat(readings.edited), torch.cat(readings.to_true)]
        cells = [f"{float(number.mean()):.4f}" for number in numbers]
        cells.append(f"{float(torch.cat(readings.identity).mean()):.3f}" if readings.identity else "—")
        pairs = [(readings.moved, known.moved)] * 2 + [(readings.others, known.others)]
        sure = [
            f"{share(*pair):.3f} ± {standard_error(share, *pair):.3f}"
            for share, pair in zip(shares, pairs, strict=True)
        ]
        print(_row(latents.name, cells) + "".join(f"{cell:>16}" for cell in sure))
    still = [torch.zeros_like(change) for change in known.others]
    print(f"if the true latents are moved, other traits change by {leak(known.others, still):.3f}")


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:40}" + "".join(f"{cell:>12}" for cell in cells)


def print_parts(measured: Mapping[str, Readings], moves: Sequence[Move]) -> None:
    """The gain and the miss for each trait, and for each strength."""
    parts = {name: [move.name == name for move in moves] for name in dict.fromkeys(move.name for move in moves)}
    parts |= {f"{strength:+g}": [move.strength == strength for move in moves] for strength in STRENGTHS}
    (_, known), *others = measured.items()
    for title, measure in (("gain", gain), ("miss", miss)):
        print("\n" + _row(title, list(parts)))
        for name, readings in others:
            pairs = [[list(compress(one.moved, here)) for one in (readings, known)] for here in parts.values()]
            print(_row(name, [f"{measure(*pair):.3f}" for pair in pairs]))


if __name__ == "__main__":
    main()
