"""The methods of inversion. A new method is a class and an entry in `methods.toml`."""

from collections.abc import Mapping, Sequence

from restyle_cli.methods.spec import SPECS
from restyle_cli.registry import Registry

METHODS = Registry("method", {name: spec.location for name, spec in SPECS.items() if spec.location is not None})

CHAINS: Mapping[str, str] = {name: spec.chain for name, spec in SPECS.items() if spec.chain is not None}
"""Chains with a name: the encoder of the domain, then this method, to which a number of steps applies."""

OF_GENERATOR = "redraw"
"""The method that a generator's name or file means as a later link of a chain."""

OF_GENERATOR_ALONE = "projector"
"""The method that a generator's name or file means as the first link."""

WITHOUT_ENCODER = frozenset(
    name for name in METHODS.names() if not {"encoder", "hypernetwork"} & set(SPECS[name].networks)
) - {OF_GENERATOR}
"""Methods that need a generator only: METHOD uses that of the previous link, METHOD-DOMAIN that of the domain."""

BORROWED: Mapping[str, Sequence[str]] = {name: spec.borrows for name, spec in SPECS.items() if spec.borrows}
"""Methods that can use the encoders of other methods, in this order, in domains without one of their own."""
