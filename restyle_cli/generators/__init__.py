"""Networks from a code to an image; a new one is a file and a line here."""

from restyle_cli.registry import Registry

GENERATORS = Registry(
    "generator",
    {
        "stylegan2": "restyle_cli.generators.stylegan2:StyleGAN2",
        "stylegan1": "restyle_cli.generators.stylegan1:StyleGAN1",
    },
)
