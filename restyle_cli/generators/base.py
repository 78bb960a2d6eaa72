"""Base of the generators: the config, average latent, noise maps and crop that StyleGAN 1 and 2 share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.patching import SplitPatch, generate_one_by_one, split_patch
from restyle_cli.registry import NetworkConfig

NOISE_MODES = ("fixed", "random", "none")


def paper_channels(resolution: int, base: int = 32768, most: int = 512) -> dict[int, int]:
    """The published tables: min(base / resolution, most) channels at each resolution from 4 to `resolution`."""
    return {2**k: min(base // 2**k, most) for k in range(2, int(math.log2(resolution)) + 1)}


@dataclass(frozen=True)
class GeneratorConfig(NetworkConfig):
    """The fields that every generator has. `channels`: the width at each resolution, by default the published ones.

    `crop`: (height, width) in px of the middle of the square image that is kept (cars: 384x512). `noise` False: the
    network has no noise inputs.
    """

    resolution: int
    channels: Mapping[int, int] = field(default_factory=dict)
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_mul: float = 0.01
    noise: bool = True
    crop: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        resolution = self.resolution
        if resolution < 8 or resolution > 4096 or resolution & (resolution - 1):
            raise RestyleError(
                f"a StyleGAN2 of {resolution} pixels cannot be built", "powers of two from 8 to 4096 can"
            )
        channels = {int(k): int(v) for k, v in (self.channels or paper_channels(resolution)).items()}
        expected = [2**k for k in range(2, int(math.log2(resolution)) + 1)]
        if sorted(channels) != expected:
            raise RestyleError(
                f"the channel table names the resolutions {sorted(channels)}",
                f"a network of {resolution} px needs {expected}",
            )
        object.__setattr__(self, "channels", channels)
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))

    @property
    def layers(self) -> int:
        """The number L of styles, each with a vector of its own in W+: 2 log2(resolution) - 2."""
        return 2 * int(math.log2(self.resolution)) - 2

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return super().to_dict() | {"channels": {str(k): v for k, v in self.channels.items()}}


class StyleGenerator(nn.Module):
    """w_plus [N, L, w_dim] -> images [N, 3, H, W], nominally in [-1, 1], never clamped.

    Subclasses have the networks `mapping` (z -> w), `convs` and `to_rgbs`, and with noise a buffer `noise_k`
    [1, 1, h, w] for each of `convs`.
    """

    config: GeneratorConfig
    mapping: nn.Module
    convs: nn.ModuleList
    to_rgbs: nn.ModuleList
    w_avg: Tensor  # [L, w_dim], the average latent
    noise_mode: str = "fixed"  # one of NOISE_MODES, where a call names none; training uses "random"
    gradient_checkpointing: bool = False  # compute feature maps again on the way back, to save memory
    name: str | None = None  # in the catalog, or its file's, if it was loaded
    file: Path | None = None

    __call__: Callable[..., Tensor]

    def forward(
        self,
        w: Tensor,  # [N, L, w_dim]
        noise: str | None = None,
        upto: int | None = None,
        features: dict[int, Tensor] | None = None,
        patch: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Render w. `noise`: the stored noise maps ("fixed"), random ones or none; by default `noise_mode`.

        `upto`: stop at this resolution; `features`: a dict that receives the last map of each resolution; `patch`:
        changes of the generator per image, see `patching`. Changes of layers above `upto` and, without "fixed" noise,
        of noise maps have no effect.
        """
        noise = self.noise_mode if noise is None else noise
        if noise not in NOISE_MODES:
            raise ValueError(f"noise is one of {NOISE_MODES}, not {noise!r}")
        changes = split_patch(self, patch, len(w))
        if changes.parameters:
            return generate_one_by_one(self, w, changes, features, noise=noise, upto=upto)
        return self._render(w, noise, upto, features, changes)

    @abstractmethod
    def _render(
        self, w: Tensor, noise: str, upto: int | None, features: dict[int, Tensor] | None, changes: SplitPatch
    ) -> Tensor:
        """`forward`, with the patch split and no changed parameters."""

    @property
    def layers(self) -> int:
        """The number L of styles in w_plus."""
        return self.config.layers

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images, after the crop."""
        return self.config.crop or (self.config.resolution, self.config.resolution)

    def start(self, n: int) -> Tensor:
        """The average latent, n times: [n, L, w_dim]."""
        return self.w_avg.expand(n, -1, -1)

    def w_plus(self, w: Tensor) -> Tensor:
        """One w [N, w_dim] for all styles: [N, L, w_dim]; w_plus stays as it is."""
        return w if w.dim() == 3 else w[:, None].expand(-1, self.layers, -1)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Truncation of w [N, L, w_dim]: w_avg + psi (w - w_avg)."""
        return self.w_avg + psi * (w - self.w_avg)

    @torch.no_grad()
    def mean_w(self, samples: int = 100_000, seed: int = 0) -> Tensor:
        """The mean w of random z: [w_dim], or [L, w_dim] if the mapping network returns a w for each style."""
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros((), dtype=torch.float64)
        for left in range(samples, 0, -10_000):
            z = torch.randn(min(left, 10_000), self.config.z_dim, generator=generator)
            total = total + self.mapping(z.to(self.w_avg.device)).cpu().double().sum(dim=0)
        return (total / samples).float().to(self.w_avg)

    def conv_shapes(self) -> dict[str, tuple[int, int]]:
        """The convolutions that a patch can change by factors: name -> (output channels, input channels)."""
        kernels = {name: value for name, value in self.named_parameters() if value.dim() == 4 and name != "const"}
        return {name.removesuffix(".weight"): (value.shape[0], value.shape[1]) for name, value in kernels.items()}

    def _noise(self, index: int, x: Tensor, mode: str, changes: Mapping[str, Tensor]) -> Tensor | None:
        """The noise map of `convs[index]`, [N or 1, 1, h, w]."""
        if mode == "none" or not self.config.noise:
            return None
        stored = self.get_buffer(f"noise_{index}")
        if mode == "fixed":
            change = changes.get(f"noise_{index}")
            return stored if change is None else stored + change
        return torch.randn(x.shape[0], *stored.shape[1:], device=x.device, dtype=stored.dtype)

    def _cropped(self, image: Tensor) -> Tensor:
        if self.config.crop is None:
            return image
        height, width = self.config.crop
        top, left = (image.shape[2] - height) // 2, (image.shape[3] - width) // 2
        return image[:, :, top : top + height, left : left + width]
