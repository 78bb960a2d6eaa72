"""The face recognition network of dlib (King 2017) as a torch module: differentiable, in batches, on any device.

Two images of one person have embeddings less than 0.6 apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.images import fit
from restyle_cli.registry import NetworkConfig

SIDE = 150
"""Height and width of a face chip, px."""
PADDING = 0.25
"""The border of a chip around the face, as a share of the face's width."""
MEAN = (122.782, 117.001, 104.298)
TEMPLATE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""The five landmarks of dlib's predictor in the unit square of a face: corners of the eyes, and below the nose."""
HALF_LEVEL = 0.5 / 127.5
"""dlib rounds the values of a chip down."""
PORTRAIT = 256
FFHQ = ((171.9, 121.8), (146.3, 122.4), (83.5, 121.6), (108.8, 122.3), (127.6, 166.5))
"""The same landmarks in a 256 px image that is aligned as in FFHQ, on average."""


@dataclass(frozen=True)
class DlibFaceConfig(NetworkConfig):
    """`widths` and `blocks`: channels and residual units of each stage; each but the first halves the size."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    blocks: tuple[int, ...] = (3, 4, 3, 3, 1)
    dimensions: int = 128

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.blocks or list(self.widths) != sorted(self.widths):
            raise RestyleError("a face network needs a width, at least the one before, and a number of units per stage")


class DlibFace(nn.Module):
    """Images of faces -> embeddings. Affine layers are part of the convolutions before them."""

    Config = DlibFaceConfig

    def __init__(self, config: DlibFaceConfig) -> None:
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList([nn.Conv2d(3, config.widths[0], 7, stride=2)])
        self.down: list[bool] = []  # for each unit
        channels = config.widths[0]
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for unit in range(count):
                down = stage > 0 and unit == 0
                self.down.append(down)
                first = nn.Conv2d(channels, width, 3, stride=2) if down else nn.Conv2d(channels, width, 3, padding=1)
                self.convs.extend([first, nn.Conv2d(width, width, 3, padding=1)])
                channels = width
        self.linear = nn.Linear(channels, config.dimensions, bias=False)

    def forward(self, portraits: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [-1, 1], aligned as in FFHQ -> unit embeddings [N, dimensions]; see `chips`."""
        return F.normalize(self.embed(chips(portraits)), dim=1)

    def embed(self, faces: Tensor) -> Tensor:
        """Face chips [N, 3, 150, 150] in [-1, 1] -> embeddings [N, dimensions] whose distances tell people apart."""
        mean = torch.tensor(MEAN, dtype=faces.dtype, device=faces.device)[:, None, None]
        first, *convs = self.convs
        x = F.max_pool2d(torch.relu(first(((faces + 1) * 127.5 - mean) / 256)), 3, stride=2)
        for down, one, two in zip(self.down, convs[::2], convs[1::2], strict=True):
            y = two(torch.relu(one(x)))
            x = torch.relu(_add(y, F.avg_pool2d(x, 2) if down else x))
        return self.linear(x.mean(dim=(2, 3)))


def chips(
    images: Tensor,  # [N, 3, H, W] in [-1, 1]
    landmarks: Tensor | None = None,  # [N, 5, 2], x and y in pixels
) -> Tensor:
    """The faces as dlib cuts them out, [N, 3, 150, 150], differentiable in the images.

    `landmarks`: those of dlib's predictor of five points. Without them the images are aligned as in FFHQ, and the face
    is taken from where it then is on average: no landmarks are searched, which only work on the CPU and can jump from
    one step of an optimisation to the next. Large images are shrunk to 256 px first.
    """
    height, width = images.shape[-2:]
    if landmarks is None:
        images = fit(images, (PORTRAIT, PORTRAIT)) if (height, width) != (PORTRAIT, PORTRAIT) else images
        height, width = PORTRAIT, PORTRAIT
        landmarks = torch.tensor(FFHQ).expand(len(images), -1, -1)
    landmarks = landmarks.detach().cpu().double()  # Apple's GPUs have no float64
    template = (torch.tensor(TEMPLATE).to(landmarks) + PADDING) / (2 * PADDING + 1) * SIDE
    # The least-squares similarity from the chip to the image, in complex numbers.
    source, target = torch.view_as_complex(template.contiguous()), torch.view_as_complex(landmarks.contiguous())
    spread, goal = source - source.mean(), target - target.mean(dim=1, keepdim=True)
    scale = (goal * spread.conj()).sum(dim=1) / (spread * spread.conj()).sum().real
    centre = target.mean(dim=1) + scale * (complex(SIDE / 2, SIDE / 2) - source.mean())
    length = scale.abs()
    step = scale / length * (SIDE * length - 1) / (SIDE - 1)  # dlib counts from the first pixel to the last
    offsets = torch.arange(SIDE, dtype=landmarks.dtype) - (SIDE - 1) / 2
    grid = torch.complex(offsets.expand(SIDE, -1), offsets[:, None].expand(-1, SIDE))
    places = torch.view_as_real(centre[:, None, None] + step[:, None, None] * grid)
    size = torch.tensor([width, height]).to(places)
    sampling = ((2 * places + 1) / size - 1).to(images)
    return F.grid_sample(images + 1, sampling, align_corners=False) - 1 - HALF_LEVEL


def _add(x: Tensor, y: Tensor) -> Tensor:
    """The sum of two maps of different sizes and numbers of channels: what is missing counts as 0, as in dlib."""
    c, h, w = (max(sizes) for sizes in zip(x.shape[1:], y.shape[1:], strict=True))
    x, y = (F.pad(z, (0, w - z.shape[3], 0, h - z.shape[2], 0, c - z.shape[1])) for z in (x, y))
    return x + y
