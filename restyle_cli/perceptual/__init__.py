"""Networks that compare or judge images: face embeddings, LPIPS, VGG-16, discriminators.

A new one is a module and a line in the table.

Inversion by encoders needs none of them; methods that optimize, metrics and training do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from restyle_cli.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

PERCEPTUAL: Registry[type[nn.Module]] = Registry(
    "perceptual network",
    {
        "arcface": "restyle_cli.perceptual.identity:ArcFace",
        "curricularface": "restyle_cli.perceptual.identity:CurricularFace",
        "moco": "restyle_cli.perceptual.moco:MoCo",
        "resnet34": "restyle_cli.perceptual.resnet34:ImageNetResNet34",
        "lpips-alex": "restyle_cli.perceptual.lpips:LPIPS",
        "lpips-vgg": "restyle_cli.perceptual.lpips:LPIPSVGG",
        "dlib-face": "restyle_cli.perceptual.dlib_face:DlibFace",
        "vgg16": "restyle_cli.perceptual.vgg16:VGG16",
        "stylegan2-discriminator": "restyle_cli.generators.discriminators:StyleGAN2Discriminator",
        "latent-discriminator": "restyle_cli.generators.discriminators:LatentDiscriminator",
        "alae-discriminator": "restyle_cli.encoders.alae:ALAEDiscriminator",
    },
)


class Perceptual(Protocol):
    """A perceptual distance of images, in two parts so that the features of a target are computed once."""

    name: str  # as shown to users: "lpips-alex"

    def features(self, x: Tensor) -> list[Tensor]:
        """The features of images x [N, 3, H, W] in [-1, 1], [N, C, h, w] each."""

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """The features of two images -> distances [N]."""
