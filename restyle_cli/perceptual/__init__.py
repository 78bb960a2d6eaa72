"""Networks that judge pictures and codes: they compare two, or tell made from real. A new one is a file and a line.

None of them is needed to invert a picture; metrics and trainings read them. Discriminators live beside the
generators, whose layers they share.
"""

from restyle_cli.registry import Registry

PERCEPTUAL = Registry(
    "perceptual network",
    {
        "arcface": "restyle_cli.perceptual.arcface:ArcFace",
        "curricularface": "restyle_cli.perceptual.curricularface:CurricularFace",
        "moco": "restyle_cli.perceptual.moco:MoCo",
        "resnet34": "restyle_cli.perceptual.resnet34:ImageNetResNet34",
        "lpips-alex": "restyle_cli.perceptual.lpips:LPIPS",
        "lpips-vgg": "restyle_cli.perceptual.lpips:LPIPSVGG",
        "drawn-identity": "restyle_cli.perceptual.drawn_identity:DrawnIdentity",
        "vgg16": "restyle_cli.perceptual.vgg16:VGG16",
        "stylegan2-discriminator": "restyle_cli.generators.discriminators:StyleGAN2Discriminator",
        "latent-discriminator": "restyle_cli.generators.discriminators:LatentDiscriminator",
        "alae-discriminator": "restyle_cli.encoders.alae:ALAEDiscriminator",
    },
)
