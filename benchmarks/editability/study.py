"""What moves in code space make of the codes that each inversion method finds: the tables of docs/editability.md.

    python benchmarks/editability/study.py [people] [--methods "a; b; c:5,d:100"] [--picture docs/editability.png]

Held-out drawn people are inverted, then every code is moved alike: along the direction in W of one trait, in every
layer, to either side, at two strengths. The same moves of the people's known codes say what should come of it. Pictures
are judged by a network that reads looks from them (`trait_reader.py`); `--work` keeps it, and the drawings that it
learns from. Methods are models, files or chains, separated by semicolons where there are chains; one that is not
installed is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import torch
from measures import Domain, Move, doubt, gain, leak, miss
from sheet import draw_sheet, telling
from torch import Tensor, nn
from trait_reader import Reader, make_reader

from restyle_cli.data.looks import COLUMNS, looks, sample_z
from restyle_cli.data.portraits import HELD_OUT, draw_looks
from restyle_cli.errors import RestyleError
from restyle_cli.inversion import invert, l2
from restyle_cli.metrics.identity import PortraitIdentity
from restyle_cli.models import Plan, parse_chain, plan

SEED = 20
BATCH = 8
READABLE = 0.8  # R2 from which on a column is measured
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
TRUE = "known codes"


@dataclass(frozen=True)
class Codes:
    """What a method made of the people, and what it draws with."""

    name: str
    generator: nn.Module
    w: Tensor  # [N, L, w_dim]
    patch: Mapping[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def draw(self, move: Tensor | None = None, rows: slice = slice(None)) -> Tensor:
        """Pictures [n, 3, H, W] of the people in `rows`, all layers' codes moved by `move` [n, w_dim]."""
        patch = {name: change[rows] for name, change in self.patch.items()}
        w = self.w[rows] if move is None else self.w[rows] + move[:, None]
        return self.generator(w, patch=patch).float()


@dataclass
class Readings:
    """What was measured of one method: of each move, in order, [N]."""

    drawing: list[Tensor] = field(default_factory=list)  # L2 to the drawing of the look as it should be now
    beyond: list[Tensor] = field(default_factory=list)  # how far the moved code is from a drawn look's
    picture: list[Tensor] = field(default_factory=list)  # L2 to the known code's picture after the move
    identity: list[Tensor] = field(default_factory=list)
    moved: list[Tensor] = field(default_factory=list)  # change of what was moved, as it is read
    others: list[Tensor] = field(default_factory=list)  # of all other columns that are read well, [N, columns]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=int, nargs="?", default=32)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--work", type=Path, default=Path("runs/editability"))
    parser.add_argument("--picture", type=Path, help="draw one person's edits here")
    parser.add_argument("--person", type=int, default=0, help="whose, by number")
    options = parser.parse_args()
    values = looks(sample_z(options.people, HELD_OUT + SEED))
    drawn = torch.cat([draw_looks(part, 256) for part in values.split(BATCH)])
    chosen = plans(options.methods)
    every = [inverted(name, chain, drawn) for name, chain in chosen]
    if not every:
        raise SystemExit("no method is left")
    generator = every[0].generator
    domain = Domain.of(generator.config.w_dim)
    every = [Codes(TRUE, generator, generator.w_plus(domain.space.embed(values))), *every]
    reader = make_reader(options.work, generator, domain.space, lambda text: print(text, flush=True))
    moves = readable_moves(reader)
    measured = measure(every, values, moves, domain, reader)
    print_table(every, measured, domain, drawn_small(values, generator))
    print_parts(measured, moves)
    if options.picture is not None:
        shown = telling(moves, values[options.person], domain)
        draw_sheet(options.picture, every, values, shown, domain, options.person)


def plans(text: str) -> list[tuple[str, Plan]]:
    """The chains of --methods with their names; one that is not there is left out, and a line says so."""
    found = []
    for part in text.split(";" if ";" in text else ","):
        first, *others = parse_chain(part.strip())
        try:
            wished = {"via": part.strip()} if others else {"steps": first.steps}
            found.append((_short(part), plan(first.name, **wished)))
        except RestyleError as error:
            print(f"left out: {error.message}", flush=True)
    return found


def _short(chain: str) -> str:
    """The chain as it was written, without the folders of its files."""
    return ",".join(
        f"{Path(link.name).stem}:{link.steps}" if link.steps else Path(link.name).stem for link in parse_chain(chain)
    )


def inverted(name: str, chain: Plan, drawn: Tensor) -> Codes:
    """The codes of the drawings [N, 3, H, W], of each picture's best step."""
    schedule = chain.load()
    parts = [invert(part, schedule) for part in drawn.split(BATCH)]
    patch = {key: torch.cat([part.patch[key] for part in parts]) for key in parts[0].patch}
    print(f"inverted by {name}" + (f", by way of {chain.perceptual}" if chain.perceptual else ""), flush=True)
    return Codes(name, schedule[-1].generator, torch.cat([part.w for part in parts]), patch)


def readable_moves(reader: Reader) -> list[Move]:
    """The moves of what the reader reads well; what it does not is left out, and a line says so."""
    moves = []
    for name, columns in MOVED.items():
        share = min(float(reader.r2[COLUMNS.index(column)]) for column in columns)
        print(f"{name:12} is read with an R2 of {share:.2f}" + ("" if share >= READABLE else ": left out"))
        if share >= READABLE:
            moves += [Move(name, columns, strength) for strength in STRENGTHS]
    print(f"{int((reader.r2 >= READABLE).sum())} of {len(COLUMNS)} columns are read with {READABLE} or more")
    return moves


def measure(
    every: Sequence[Codes], values: Tensor, moves: Sequence[Move], domain: Domain, reader: Reader
) -> dict[str, Readings]:
    """The readings of each method; the first of `every` has the known codes."""
    identity = _identity()
    measured = {codes.name: Readings() for codes in every}
    before = {codes.name: reader(draw_all(codes)) for codes in every}
    for move in moves:
        changed = domain.moved(values, move)
        way = domain.space.embed(changed) - domain.space.embed(values)
        drawing = drawn_small(changed, every[0].generator)
        wanted = draw_all(every[0], way)
        others = (reader.r2 >= READABLE).index_fill(0, torch.tensor(move.places), False)
        for codes in every:
            picture, held = draw_all(codes, way), measured[codes.name]
            change = reader(picture) - before[codes.name]
            held.beyond.append(domain.beyond(codes.w + way[:, None]))
            held.drawing.append(l2(drawing, picture))
            held.picture.append(l2(wanted, picture))
            held.moved.append(change[:, move.places].mean(dim=1))
            held.others.append(change[:, others])
            if identity is not None:
                held.identity.append(identity.measure(drawing, picture))
        print(f"measured {move.title}", flush=True)
    return measured


def _identity() -> PortraitIdentity | None:
    try:
        return PortraitIdentity()
    except RestyleError as error:
        print(f"without identity: {error.message}")
        return None


def drawn_small(values: Tensor, generator: nn.Module) -> Tensor:
    """Looks [N, LOOK_DIM] as they are drawn in the generator's size; one pixel soft edges are enough, and quick."""
    return torch.cat([draw_looks(part, generator.size[0], finer=1) for part in values.split(BATCH)])


def draw_all(codes: Codes, way: Tensor | None = None) -> Tensor:
    """What `codes` draw, moved by `way` [N, w_dim] if there is one: [N, 3, H, W]."""
    rows = [slice(i, i + BATCH) for i in range(0, len(codes.w), BATCH)]
    return torch.cat([codes.draw(None if way is None else way[part], part) for part in rows])


def print_table(every: Sequence[Codes], measured: Mapping[str, Readings], domain: Domain, drawn: Tensor) -> None:
    """A row for each method, over all moves; `drawn` [N, 3, H, W] are the people, of the generator's size."""
    titles = ("apart", "beyond", "moved", "from known", "L2", "L2 edited", "to known", "ID")
    shares = (gain, miss, leak)
    print("\n" + _row("codes of", titles) + "".join(f"{share.__name__:>16}" for share in shares))
    known = measured[every[0].name]
    for codes in every:
        held = measured[codes.name]
        numbers = [domain.apart(codes.w), domain.beyond(codes.w), torch.cat(held.beyond)]
        numbers += [domain.between(codes.w, every[0].w), l2(drawn, draw_all(codes))]
        numbers += [torch.cat(held.drawing), torch.cat(held.picture)]
        cells = [f"{float(number.mean()):.4f}" for number in numbers]
        cells.append(f"{float(torch.cat(held.identity).mean()):.3f}" if held.identity else "—")
        pairs = [(held.moved, known.moved)] * 2 + [(held.others, known.others)]
        sure = [f"{share(*pair):.3f} ± {doubt(share, *pair):.3f}" for share, pair in zip(shares, pairs, strict=True)]
        print(_row(codes.name, cells) + "".join(f"{cell:>16}" for cell in sure))
    still = [torch.zeros_like(change) for change in known.others]
    print(f"where the known codes are moved, other traits change by {leak(known.others, still):.3f} as they are read")


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:40}" + "".join(f"{cell:>12}" for cell in cells)


def print_parts(measured: Mapping[str, Readings], moves: Sequence[Move]) -> None:
    """The gain and the miss for each trait, and for each strength."""
    parts = {name: [move.name == name for move in moves] for name in dict.fromkeys(move.name for move in moves)}
    parts |= {f"{strength:+g}": [move.strength == strength for move in moves] for strength in STRENGTHS}
    (_, known), *others = measured.items()
    for title, measure in (("gain", gain), ("miss", miss)):
        print("\n" + _row(title, list(parts)))
        for name, held in others:
            pairs = [[list(compress(one.moved, here)) for one in (held, known)] for here in parts.values()]
            print(_row(name, [f"{measure(*pair):.3f}" for pair in pairs]))


if __name__ == "__main__":
    main()
