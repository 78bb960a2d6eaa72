"""What one step of an inversion is; a new method is a file, a line in the table and a page in `pages`."""

from restyle_cli.registry import Registry

METHODS = Registry(
    "method",
    {
        "restyle-psp": "restyle_cli.methods.restyle:ReStyle",
        "restyle-e4e": "restyle_cli.methods.restyle:ReStyle",
        "psp": "restyle_cli.methods.psp:PSP",
        "e4e": "restyle_cli.methods.restyle:SinglePass",
        "e4e-w": "restyle_cli.methods.restyle:SingleW",
        "hyperstyle": "restyle_cli.methods.hyperstyle:HyperStyle",
        "idinvert": "restyle_cli.methods.idinvert:IDInvert",
        "alae": "restyle_cli.methods.alae:ALAE",
        "image2stylegan": "restyle_cli.methods.image2stylegan:Image2StyleGAN",
        "image2stylegan++": "restyle_cli.methods.image2stylegan_pp:Image2StyleGANPlusPlus",
        "projector": "restyle_cli.methods.projector:Projector",
        "pti-pivot": "restyle_cli.methods.projector:PTIPivot",
        "pti": "restyle_cli.methods.pti:PTI",
        "pti-local": "restyle_cli.methods.pti:LocalPTI",
        "redraw": "restyle_cli.methods.redraw:Redraw",
    },
)

# As the classes' own `needs_encoder` says; beside the table, so that listing methods need not import torch.
WITHOUT_ENCODER = frozenset({"image2stylegan", "image2stylegan++", "projector", "pti-pivot", "pti", "pti-local"})
"""Methods that need a generator only: METHOD takes that of the link before, METHOD-DOMAIN the domain's."""

OF_GENERATOR = "redraw"
"""The method that a generator's name or file stands for, as a later link of a chain."""

OF_GENERATOR_ALONE = "projector"
"""The method that a generator's name or file stands for where no link is before it."""

BORROWED = {"idinvert": ("psp", "e4e"), "e4e-w": ("e4e",)}
"""Methods that other methods' encoders serve: METHOD-DOMAIN takes those of these, in this order, where the domain has
none of its own."""

CHAINS = {"hybrid": "image2stylegan"}
"""Names of chains: the domain's encoder, then this method, whose steps are those that are named."""
