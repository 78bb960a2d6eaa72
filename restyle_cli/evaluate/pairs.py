"""Pairs of images from two folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.run import Pair
from restyle_cli.run.sources import Source


def pair_up(folder: Path, sources: Sequence[Source], against: Path, others: Sequence[Source]) -> tuple[list[Pair], int]:
    """A pair for each image of `folder`, and the number of images of `against` without a pair.

    Images pair by their path inside the folder; suffixes may differ if the match is unique. Two files always pair.
    RestyleError for the first image without a match.
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
            found = "more than one image" if candidates else "no image"
            message = f"{str(against)!r} has {found} for {str(source.path)!r}"
            raise RestyleError(message, "both folders need images with the same names; suffixes may differ")
        pairs.append(Pair(source.path, (same or candidates)[0]))
    return pairs, len(others) - len(pairs)


def _inside(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if folder.is_dir() else Path(path.name)
