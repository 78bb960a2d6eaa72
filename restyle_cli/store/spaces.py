"""Whether two generators share a latent space, so that a latent means the same in both.

A latent space has names. Some are stated: by the catalog, in the file of a model, or with `--latent-space`. Others are
guesses from the weights: fine-tuning usually keeps the mapping network, but not always.
"""

from __future__ import annotations

from collections.abc import Iterable

GUESSED = "mapping-"
"""Prefix of names that are hashes of the mapping network."""
UNNAMED = "unnamed-"
"""Prefix of the name of an unknown latent space, before its generator's name."""


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
