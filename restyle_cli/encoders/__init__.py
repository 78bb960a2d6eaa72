"""Encoders: image -> latent or weight deltas. A new one is a module and a line in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restyle_cli.registry import Registry

if TYPE_CHECKING:
    from restyle_cli.encoders.base import Encoder

ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder",
    {
        "small": "restyle_cli.encoders.small:SmallEncoder",
        "restyle": "restyle_cli.encoders.restyle:ReStyleEncoder",
        "psp": "restyle_cli.encoders.psp:PSPEncoder",
        "w": "restyle_cli.encoders.restyle:WEncoder",
        "idinvert": "restyle_cli.encoders.idinvert:IDInvertEncoder",
        "alae": "restyle_cli.encoders.alae:ALAEEncoder",
        "hyper": "restyle_cli.encoders.hyper:HyperNetwork",
        "small-hyper": "restyle_cli.encoders.hyper:SmallHyperNetwork",
    },
)
