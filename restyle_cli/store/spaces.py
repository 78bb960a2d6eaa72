"""Whether two generators share a latent space, so that a latent code means the same in both.

A latent space has names. Some are stated: by the catalog, by whoever trained a network, or with `--latent-space`.
Others are guesses from the weights: fine-tuning usually leaves the mapping network alone, but not always.
"""

from __future__ import annotations

from collections.abc import Iterable

GUESSED = "mapping-"
"""What the names begin with that are taken from the mapping network."""
UNNAMED = "unnamed-"
"""What the name begins with of a space of which nothing is known, before its generator's name."""


def shared(one: Iterable[str], other: Iterable[str]) -> bool | None:
    """Whether latent spaces with these names are the same; None if unknown."""
    one, other = frozenset(one), frozenset(other)
    if one & other:
        return True
    return False if _stated(one) and _stated(other) else None


def unknown_notice(first: str, other: str) -> str:
    """A line for people about two models for which `shared` returns None."""
    return (
        f"it is not known whether {first} and {other} share a latent space: {other} may generate anything; "
        "`restyle weights add FILE --latent-space NAME` states it"
    )


def _stated(names: frozenset[str]) -> bool:
    return any(not name.startswith((GUESSED, UNNAMED)) for name in names)
