"""What one step of an inversion is; a new method is a file, a line in the table and a line of description."""

from restyle_cli.registry import Registry

METHODS = Registry(
    "method",
    {
        "restyle-psp": "restyle_cli.methods.restyle:ReStyle",
        "restyle-e4e": "restyle_cli.methods.restyle:ReStyle",
        "psp": "restyle_cli.methods.psp:PSP",
        "e4e": "restyle_cli.methods.restyle:SinglePass",
        "e4e-w": "restyle_cli.methods.restyle:SinglePass",
        "hyperstyle": "restyle_cli.methods.hyperstyle:HyperStyle",
        "idinvert": "restyle_cli.methods.idinvert:IDInvert",
        "alae": "restyle_cli.methods.alae:ALAE",
        "image2stylegan": "restyle_cli.methods.image2stylegan:Image2StyleGAN",
        "image2stylegan++": "restyle_cli.methods.image2stylegan_pp:Image2StyleGANPlusPlus",
        "projector": "restyle_cli.methods.projector:Projector",
        "pti": "restyle_cli.methods.pti:PTI",
    },
)

# As the classes' own `needs_encoder` says; beside the table, so that listing methods need not import torch.
WITHOUT_ENCODER = frozenset({"image2stylegan", "image2stylegan++", "projector", "pti"})
"""Methods that need a generator only: METHOD takes that of the link before, METHOD-DOMAIN the domain's."""

BORROWED = {"idinvert": ("psp", "e4e")}
"""Methods that any encoder serves which sees the photo alone: METHOD-DOMAIN takes those of these, in this order, where
the domain has none of its own."""

CHAINS = {"hybrid": "image2stylegan"}
"""Names of chains: the domain's encoder, then this method, whose steps are those that are named."""

# Beside the table and not in the classes, so that `restyle methods` need not import torch.
DESCRIPTIONS = {
    "restyle-psp": "an encoder sees photo and current estimate, and corrects the code; a few steps",
    "restyle-e4e": "the same, held close to one code for all layers: a little less alike, easier to edit",
    "psp": "an encoder sees the photo once and gives a code for each layer",
    "e4e": "an encoder sees the photo once and gives one code and small offsets: easier to edit",
    "e4e-w": "an encoder sees the photo once and gives one code for all layers: coarse, a start for hyperstyle",
    "hyperstyle": "a network changes the generator's weights until the code found before draws the photo",
    "idinvert": "an encoder's code, then the gradient, held where the encoder knows pictures: near, and still editable",
    "alae": "an autoencoder sees the photo once and gives one code in the space that it draws from: a likeness",
    "image2stylegan": "the code of each layer moves down the gradient of what is different: exact and slow",
    "image2stylegan++": "the same, then the noise maps; with a mask it fills in what is not known, or joins two",
    "projector": "one code for all layers and the noise maps move down the gradient: coarser, easy to edit, slow",
    "pti": "the code found before stays, and the generator is tuned to draw the photo there: most exact, slow",
    "hybrid": "image2stylegan from the code that the domain's encoder finds: as exact, and sooner",
}
