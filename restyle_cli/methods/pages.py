"""What is told of each method: its paper, what a step is, what it is good and bad at, what it costs.

No code here needs torch, so that listing and describing methods is quick. Which networks there are for a method, and
under which licences, is not told here: the catalog knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Network = Literal["encoder", "hypernetwork", "generator", "perceptual"]
Space = Literal["W", "W+", "noise", "weights"]

NETWORKS: Mapping[Network, str] = {
    "encoder": "an encoder",
    "hypernetwork": "a hypernetwork, and a method before it that finds the code",
    "generator": "the generator",
    "perceptual": "a network that compares pictures (where none is installed, a measure without one stands in)",
}
SPACES: Mapping[Space, str] = {
    "W": "W, one vector for all layers of the generator",
    "W+": "W+, a vector for each layer of the generator",
    "noise": "the generator's noise maps",
    "weights": "the generator's weights; the code stays as it was found before",
}

MEASURED = "OMP_NUM_THREADS=1 python tests/bench/bench_methods.py"
"""What gave the seconds: one picture, the embedded networks (128 px), one thread of an AMD EPYC. Those of
methods whose network is not embedded are of an untrained one of its recipe."""


@dataclass(frozen=True)
class Paper:
    """Where a method is from."""

    authors: str
    title: str
    venue: str
    year: int
    link: str

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue} {self.year}"


@dataclass(frozen=True)
class Page:
    """A method's page; `line` is the one of the list of methods."""

    line: str
    paper: Paper
    step: str
    good: str
    bad: str
    space: tuple[Space, ...]
    networks: tuple[Network, ...]
    steps: int  # by default
    example: str
    seconds: float | None = None  # of a step, as MEASURED; None: there is no network that it could be measured with
    papers_steps: str | None = None  # where the paper makes more
    compares: str | None = None  # by an optimisation: which networks and pixels, and at which size


VGG_AT_256 = "LPIPS (VGG-16) of images averaged over areas down to 256 px; no pixels"
PAPER_LAYERS = "VGG-16's conv1_1, conv1_2, conv3_2 and conv4_2 of images shrunk to 256 px; pixels at full size"
FULL_SIZE = "LPIPS (AlexNet) and pixels, both at the generator's full size"

RESTYLE = Paper(
    "Alaluf, Patashnik and Cohen-Or",
    "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement",
    "ICCV",
    2021,
    "https://arxiv.org/abs/2104.02699",
)
HYPERSTYLE = Paper(
    "Alaluf, Tov, Mokady, Gal and Bermano",
    "HyperStyle: StyleGAN Inversion with HyperNetworks for Real Image Editing",
    "CVPR",
    2022,
    "https://arxiv.org/abs/2111.15666",
)

PTI = Paper(
    "Roich, Mokady, Bermano and Cohen-Or",
    "Pivotal Tuning for Latent-based Editing of Real Images",
    "ACM Transactions on Graphics",
    2022,
    "https://arxiv.org/abs/2106.05744",
)

PAGES: Mapping[str, Page] = {
    "restyle-psp": Page(
        line="an encoder sees photo and current estimate, and corrects the code; a few steps",
        paper=RESTYLE,
        step="The encoder is shown the photo and the current reconstruction, six channels, and its answer is added to "
        "the code. Steps begin at the average picture.",
        good="Nearest of the encoders, in tens of milliseconds. Early steps settle pose and outline, later ones "
        "details.",
        bad="After some six steps nothing gets better. Codes of the layers drift apart, so strong edits show flaws.",
        space=("W+",),
        networks=("encoder", "generator"),
        steps=5,
        seconds=0.030,
        example="restyle invert photo.jpg -m restyle-psp -n 5",
    ),
    "restyle-e4e": Page(
        line="the same, held close to one code for all layers: a little less alike, easier to edit",
        paper=RESTYLE,
        step="As restyle-psp, with an encoder that was trained to keep the layers' codes together.",
        good="Edits work well: the code stays where the generator knows faces.",
        bad="A little less alike than restyle-psp.",
        space=("W+",),
        networks=("encoder", "generator"),
        steps=5,
        seconds=0.030,
        example="restyle invert photo.jpg -m restyle-e4e -n 5",
    ),
    "psp": Page(
        line="an encoder sees the photo once and gives a code for each layer",
        paper=Paper(
            "Richardson, Alaluf, Patashnik, Nitzan, Azar, Shapiro and Cohen-Or",
            "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation",
            "CVPR",
            2021,
            "https://arxiv.org/abs/2008.00951",
        ),
        step="One look at the photo: three scales of one network give the codes of coarse, middle and fine layers, as "
        "distances from the average.",
        good="Quickest of all. The same network, trained with other pairs, draws faces of sketches, label maps and "
        "tiny pictures, or turns them to the front.",
        bad="What the one look misses stays missing: less alike than restyle-psp.",
        space=("W+",),
        networks=("encoder", "generator"),
        steps=1,
        seconds=0.029,
        example="restyle invert photo.jpg -m psp",
    ),
    "e4e": Page(
        line="an encoder sees the photo once and gives one code and small offsets: easier to edit",
        paper=Paper(
            "Tov, Alaluf, Nitzan, Patashnik and Cohen-Or",
            "Designing an Encoder for StyleGAN Image Manipulation",
            "SIGGRAPH",
            2021,
            "https://arxiv.org/abs/2102.02766",
        ),
        step="One look at the photo gives one code for all layers and for each a small offset; training keeps the "
        "offsets small and the codes where the generator's own ones are.",
        good="Codes that edit well. A usual start for hyperstyle and pti, which then bring the likeness.",
        bad="Alone the least alike of the encoders of W+: the face is one like it.",
        space=("W+",),
        networks=("encoder", "generator"),
        steps=1,
        seconds=0.027,
        example="restyle invert photo.jpg -m e4e",
    ),
    "e4e-w": Page(
        line="an encoder sees the photo once and gives one code for all layers: coarse, a start for hyperstyle",
        paper=HYPERSTYLE,
        step="One look at the photo gives one code, which is every layer's.",
        good="The code is one that the generator could have drawn by itself, so every edit of W applies.",
        bad="Only a likeness. It is meant as the first link of a chain.",
        space=("W",),
        networks=("encoder", "generator"),
        steps=1,
        seconds=0.030,
        example='restyle invert photo.jpg --via "e4e-w,hyperstyle:5"',
    ),
    "hyperstyle": Page(
        line="a network changes the generator's weights until the code found before draws the photo",
        paper=HYPERSTYLE,
        step="A hypernetwork is shown the photo and the current reconstruction, and gives a factor for the weights of "
        "the generator's convolutions. The changes of all steps add up.",
        good="Nearly as alike as optimisation and as easy to edit as the first code, some hundred times sooner than "
        "pti.",
        bad="It needs a code to begin with, and the picture needs its changed generator: latent files are larger.",
        space=("weights",),
        networks=("hypernetwork", "generator"),
        steps=5,
        seconds=0.036,
        example="restyle invert photo.jpg -m hyperstyle -n 5",
    ),
    "idinvert": Page(
        line="an encoder's code, then the gradient, held where the encoder knows pictures: near, and still editable",
        paper=Paper(
            "Zhu, Shen, Zhao and Zhou",
            "In-Domain GAN Inversion for Real Image Editing",
            "ECCV",
            2020,
            "https://arxiv.org/abs/2004.00049",
        ),
        step="The first guess is an encoder's. Each step is one of Adam down the pixels' and the perceptual difference "
        "and the distance between the code and what the encoder sees in its picture.",
        good="Nearer than the encoder alone, and the code stays meaningful.",
        bad="Slower than any encoder; less exact than free optimisation.",
        space=("W+",),
        networks=("encoder", "generator", "perceptual"),
        steps=100,
        seconds=0.073,
        compares="VGG-16's conv4_3 and pixels, both at the generator's full size; without a mask the encoder's view",
        example="restyle invert photo.jpg -m idinvert -n 100",
    ),
    "alae": Page(
        line="an autoencoder sees the photo once and gives one code in the space that it draws from: a likeness",
        paper=Paper(
            "Pidhorskyi, Adjeroh and Doretto",
            "Adversarial Latent Autoencoders",
            "CVPR",
            2020,
            "https://arxiv.org/abs/2004.04467",
        ),
        step="One look of the autoencoder's own encoder, which was trained together with its generator to find the "
        "code of what that one draws.",
        good="No inversion is needed: the code lies in the space that the generator draws from.",
        bad="A likeness in pose and style, seldom the person. Encoder and generator go with no others.",
        space=("W",),
        networks=("encoder", "generator"),
        steps=1,
        example="restyle invert photo.jpg -m alae-ffhq",
    ),
    "image2stylegan": Page(
        line="the code of each layer moves down the gradient of what is different: exact and slow",
        paper=Paper(
            "Abdal, Qin and Wonka",
            "Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?",
            "ICCV",
            2019,
            "https://arxiv.org/abs/1904.03189",
        ),
        step="One step of Adam moves all codes down the gradient of the perceptual difference and the pixels'.",
        good="As near as W+ allows; any generator will do, without an encoder.",
        bad="Minutes where encoders take a moment, and codes far from those that the generator knows edit badly.",
        space=("W+",),
        networks=("generator", "perceptual"),
        steps=1000,
        seconds=0.053,
        papers_steps="5,000",
        compares=PAPER_LAYERS,
        example="restyle invert photo.jpg -m image2stylegan -n 200",
    ),
    "image2stylegan++": Page(
        line="the same, then the noise maps; with a mask it fills in what is not known, or joins two",
        paper=Paper(
            "Abdal, Qin and Wonka",
            "Image2StyleGAN++: How to Edit the Embedded Images?",
            "CVPR",
            2020,
            "https://arxiv.org/abs/1911.11544",
        ),
        step="In the first half of the steps Adam moves the codes as in image2stylegan, in the second half the "
        "generator's noise maps, down the pixels' difference.",
        good="Hair and pores that no code draws. With --mask it fills in what is hidden; with --crossover it joins two "
        "photos.",
        bad="As slow as image2stylegan. What noise maps hold is not moved by edits.",
        space=("W+", "noise"),
        networks=("generator", "perceptual"),
        steps=1000,
        seconds=0.057,
        papers_steps="5,000 for codes and 3,000 for noise",
        compares=PAPER_LAYERS,
        example="restyle invert photo.jpg -m image2stylegan++ -n 200",
    ),
    "projector": Page(
        line="one code for all layers and the noise maps move down the gradient: coarser, easy to edit, slow",
        paper=Paper(
            "Karras, Laine, Aittala, Hellsten, Lehtinen and Aila",
            "Analyzing and Improving the Image Quality of StyleGAN",
            "CVPR",
            2020,
            "https://arxiv.org/abs/1912.04958",
        ),
        step="One step of Adam moves the one code and the noise maps; noise on the code, ever less of it, and a rate "
        "that rises and falls keep the search from the first hollow.",
        good="It tells whether the generator can draw a picture at all; the code edits as well as any.",
        bad="Slow, and only a likeness for what the generator never drew.",
        space=("W", "noise"),
        networks=("generator", "perceptual"),
        steps=1000,
        seconds=0.078,
        compares=VGG_AT_256,
        example="restyle invert photo.jpg -m projector -n 500",
    ),
    "pti-pivot": Page(
        line="the projector as PTI finds its pivots: one code for all layers, without its noise maps",
        paper=PTI,
        step="As projector, with a tenth of its rate, from the mean of 600 codes; the noise maps that are found with "
        "the code are dropped, so that the generator draws it with its own.",
        good="The start that PTI was published with; the code edits as well as any.",
        bad="Slow, and only a likeness: pti has to bring the rest.",
        space=("W",),
        networks=("generator", "perceptual"),
        steps=450,
        seconds=0.078,
        compares=VGG_AT_256,
        example='restyle invert photo.jpg --via "pti-pivot:450,pti:350"',
    ),
    "pti": Page(
        line="the code found before stays, and the generator is tuned to draw the photo there: most exact, slow",
        paper=PTI,
        step="One step of Adam moves every weight of the generator's synthesis network down the perceptual difference "
        "and the pixels', while the code stays.",
        good="Nearest of all, and edits of the first code still apply.",
        bad="Slow, and every picture brings a changed generator along: the largest latent files.",
        space=("weights",),
        networks=("generator", "perceptual"),
        steps=350,
        seconds=0.100,
        compares=FULL_SIZE,
        example='restyle invert photo.jpg --via "restyle-psp:5,pti:350"',
    ),
    "pti-local": Page(
        line="the same, while what lies around the code is held as it was drawn before: edits keep their meaning",
        paper=PTI,
        step="As pti; and at every step a random code near the first one must be drawn as the untouched generator "
        "draws it, which is the paper's locality regularisation.",
        good="The changed generator still draws other codes as before.",
        bad="Each step takes twice as long as pti's. The published code leaves it off unless asked for.",
        space=("weights",),
        networks=("generator", "perceptual"),
        steps=350,
        seconds=0.203,
        compares=FULL_SIZE,
        example='restyle invert photo.jpg --via "restyle-psp:5,pti-local:350"',
    ),
    "redraw": Page(
        line="another generator draws what was found: its name, or file, as the last link of a chain",
        paper=HYPERSTYLE,
        step="Code and changed weights stay; a generator that was fine-tuned from the one before draws them. The photo "
        "is not looked at again.",
        good="A photo's person in another domain, with what hyperstyle or pti found of them.",
        bad="It needs a generator of the same codes, and L2 to the photo says little about what it draws.",
        space=("W+",),
        networks=("generator",),
        steps=1,
        seconds=None,
        example='restyle invert photo.jpg --via "restyle-e4e:5,hyperstyle:5,toon"',
    ),
    "hybrid": Page(
        line="image2stylegan from the code that the domain's encoder finds: as exact, and sooner",
        paper=Paper(
            "Zhu, Krähenbühl, Shechtman and Efros",
            "Generative Visual Manipulation on the Natural Image Manifold",
            "ECCV",
            2016,
            "https://arxiv.org/abs/1609.03552",
        ),
        step="Not a method but a chain: the domain's encoder finds the code, and image2stylegan goes on from there.",
        good="As near as image2stylegan in fewer steps, and closer to codes that edit well.",
        bad="Still slow beside encoders.",
        space=("W+",),
        networks=("encoder", "generator", "perceptual"),
        steps=1000,
        seconds=0.053,
        compares=PAPER_LAYERS,
        example="restyle invert photo.jpg -m hybrid -n 100",
    ),
}
