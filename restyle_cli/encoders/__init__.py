"""Encoders: image -> latent or weight deltas. A new one is a module and a line in this table."""

from restyle_cli.registry import Registry

ENCODERS = Registry(
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
