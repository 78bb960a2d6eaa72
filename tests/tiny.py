"""Small random networks, the same in every run."""

from __future__ import annotations

from pathlib import Path

import torch

from restyle_cli.encoders.hyper import SmallHyperConfig, SmallHyperNetwork, choose_targets
from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.perceptual.lpips import LPIPS, LPIPSConfig
from restyle_cli.store.files import write_module

W_DIM = 16


def generator(seed: int = 0, resolution: int = 32) -> StyleGAN2:
    """A StyleGAN2 whose average latent is not zero."""
    torch.manual_seed(seed)
    channels = {2**k: 8 for k in range(2, resolution.bit_length())}
    config = StyleGAN2Config(resolution, channels, z_dim=8, w_dim=W_DIM, mapping_layers=1, noise=False)
    network = StyleGAN2(config)
    network.w_avg.normal_(std=0.5)
    return network.eval().requires_grad_(False)


def noisy_generator() -> StyleGAN2:
    """A StyleGAN2 with noise maps that change the image visibly; its average latent is in W."""
    torch.manual_seed(0)
    channels = {2**k: 8 for k in range(2, 6)}
    network = StyleGAN2(StyleGAN2Config(32, channels, z_dim=8, w_dim=W_DIM, mapping_layers=1, noise=True))
    network.w_avg.copy_(torch.randn(W_DIM).expand_as(network.w_avg))
    for conv in network.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.3)
    return network.eval().requires_grad_(False)


def images(network: StyleGAN2 | None = None, n: int = 2, side: int = 256) -> torch.Tensor:
    """Images of random latents, with random noise where the generator has any, in the size of photos: [n, 3, H, W]."""
    network = network or generator()
    torch.manual_seed(3)
    w = network.w_avg + torch.randn(n, network.layers, W_DIM)
    return torch.nn.functional.interpolate(network(w, noise="random"), (side, side), mode="bilinear")


def encoder(seed: int = 1, channels: int = 6, styles: int = 8) -> SmallEncoder:
    """An encoder whose latents change the image of `generator` visibly; `styles` is 8 for 32 px."""
    torch.manual_seed(seed)
    config = SmallEncoderConfig(channels, styles, W_DIM, input_size=16, widths=(8, 8), blocks=(1, 1), hidden=16)
    network = SmallEncoder(config)
    network.basis.mul_(5.0)
    return network.eval().requires_grad_(False)


def hypernetwork() -> SmallHyperNetwork:
    """A hypernetwork whose changes of `generator` are visible."""
    torch.manual_seed(0)
    shape = choose_targets(generator().conv_shapes())
    config = SmallHyperConfig(
        styles=8, w_dim=W_DIM, input_size=16, widths=(8, 8), blocks=(1, 1), hidden=16, code=4, **shape
    )
    network = SmallHyperNetwork(config)
    torch.nn.init.normal_(network.kernels.w1, std=0.1)
    return network.eval().requires_grad_(False)


def lpips() -> LPIPS:
    """LPIPS of a few random channels."""
    torch.manual_seed(3)
    return LPIPS(LPIPSConfig((4, 4, 4, 4, 4))).eval().requires_grad_(False)


def write_encoder(path: Path, method: str, of: str = "portrait", **options: int) -> None:
    """A file with an encoder for `method` ("psp") and the generator `of`."""
    channels = 6 if method.startswith("restyle") else 3
    write_module(path, encoder(channels=channels, **options), "small", {"method": method, "generator": of})


def write_store(folder: Path) -> None:
    """Files under the names of the bundled models."""
    write_module(folder / "portrait.safetensors", generator(), "stylegan2")
    write_encoder(folder / "restyle-psp-portrait.safetensors", "restyle-psp")
    write_encoder(folder / "psp-portrait.safetensors", "psp")
    write_module(folder / "lpips-alex.safetensors", lpips(), "lpips-alex")
    toons = generator()  # a second domain, fine-tuned from the first
    toons.to_rgbs[0].bias.add_(0.5)
    write_module(folder / "toon.safetensors", toons, "stylegan2", {"latent_space": "portrait"})
    write_encoder(folder / "restyle-psp-toon.safetensors", "restyle-psp", of="toon", seed=3)
