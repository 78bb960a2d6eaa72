"""The methods of inversion. A new method is a class and an entry in `methods.toml`, or an entry point of a package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from restyle_cli.methods.spec import SPECS, MethodSpec, describe
from restyle_cli.registry import Registry

if TYPE_CHECKING:
    from restyle_cli.inversion import Method

CHAINS: Mapping[str, str] = {name: spec.chain for name, spec in SPECS.items() if spec.chain is not None}
"""Chains with a name: the encoder of the domain, then this method, to which a number of steps applies."""

METHODS: Registry[type[Method]] = Registry(
    "method",
    {name: spec.location for name, spec in SPECS.items() if spec.location is not None},
    group="restyle.methods",
    base="restyle_cli.inversion:Method",
    reserved=CHAINS,
)

OF_GENERATOR = "redraw"
"""The method that a generator's name or file means as a later link of a chain."""

OF_GENERATOR_ALONE = "projector"
"""The method that a generator's name or file means as the first link."""


def spec_of(name: str) -> MethodSpec:
    """The facts about a method or a named chain. RestyleError if it is that of a broken package."""
    return SPECS.get(name) or describe(name, METHODS.load(name))


def without_encoder(name: str) -> bool:
    """Whether `name` is a method that needs a generator only.

    METHOD uses the generator of the previous link, METHOD-DOMAIN that of the domain.
    """
    return name in METHODS and name != OF_GENERATOR and not {"encoder", "hypernetwork"} & set(spec_of(name).networks)


def borrows(name: str) -> tuple[str, ...]:
    """Methods whose encoders the method `name` can use, in this order, in domains without one of its own."""
    return spec_of(name).borrows if name in METHODS else ()
