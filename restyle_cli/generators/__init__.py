"""Generators: latent -> image. A new one is a module and a line in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restyle_cli.registry import Registry

if TYPE_CHECKING:
    from restyle_cli.generators.base import StyleGenerator

GENERATORS: Registry[type[StyleGenerator]] = Registry(
    "generator",
    {
        "stylegan2": "restyle_cli.generators.stylegan2:StyleGAN2",
        "stylegan1": "restyle_cli.generators.stylegan1:StyleGAN1",
    },
)
