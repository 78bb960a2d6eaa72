"""Generators: latent -> image. A new one is a module and a line in this table."""

from restyle_cli.registry import Registry

GENERATORS = Registry(
    "generator",
    {
        "stylegan2": "restyle_cli.generators.stylegan2:StyleGAN2",
        "stylegan1": "restyle_cli.generators.stylegan1:StyleGAN1",
    },
)
