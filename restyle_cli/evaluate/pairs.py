"""Which picture of one folder belongs to which of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.run import Pair
from restyle_cli.sources import Source


def pair_up(folder: Path, sources: Sequence[Source], against: Path, others: Sequence[Source]) -> tuple[list[Pair], int]:
    """A pair for each picture of `folder`, and how many of `against` are left over.

    They go by their paths inside the folders; suffixes may differ where that leaves no doubt. Two files are a pair
    whatever they are called. RestyleError naming the first picture without a partner.
    """
    if against.is_file() and folder.is_file():
        return [Pair(folder, against)], 0
    by_stem: dict[Path, list[Path]] = defaultdict(list)
    for other in others:
        by_stem[_inside(other.path, against).with_suffix("")].append(other.path)
    pairs = []
    for source in sources:
        name = _inside(source.path, folder)
        candidates = by_stem[name.with_suffix("")]
        same = [path for path in candidates if path.suffix == name.suffix]
        if len(candidates) != 1 and not same:
            trouble = "more than one picture" if candidates else "no picture"
            message = f"the folders do not pair: {str(against)!r} has {trouble} for {str(source.path)!r}"
            raise RestyleError(message, "both need pictures of the same names; suffixes may differ")
        pairs.append(Pair(source.path, (same or candidates)[0]))
    return pairs, len(others) - len(pairs)


def _inside(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if folder.is_dir() else Path(path.name)
