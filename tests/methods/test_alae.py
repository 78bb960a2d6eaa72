"""The latent autoencoder as a method: one look, in the generator's own size."""

from __future__ import annotations

from pathlib import Path

import torch

from restyle_cli.encoders.alae import ALAEEncoder, ALAEEncoderConfig
from restyle_cli.generators.stylegan1 import StyleGAN1, StyleGAN1Config
from restyle_cli.inversion import invert
from restyle_cli.methods.encoder import ALAE
from restyle_cli.models import load_method
from restyle_cli.store.files import write_module


def networks() -> tuple[ALAEEncoder, StyleGAN1]:
    torch.manual_seed(0)
    channels = {4: 8, 8: 8, 16: 6, 32: 4}
    generator = StyleGAN1(StyleGAN1Config(32, channels, z_dim=8, w_dim=8, mapping_layers=2, mapping_width=8))
    generator.w_avg.normal_()
    encoder = ALAEEncoder(ALAEEncoderConfig(styles=8, w_dim=8, input_size=32, widths=(4, 6, 8, 8, 8)))
    return encoder.eval().requires_grad_(False), generator.eval().requires_grad_(False)


def test_one_look_gives_the_code_itself() -> None:
    encoder, generator = networks()
    method, x = ALAE("alae", encoder, generator), torch.rand(2, 3, 32, 32) * 2 - 1
    assert method.size == (32, 32), "its encoder reads pictures as its generator draws them"
    state = method.step(x, method.start(x))
    assert torch.equal(state.w, encoder(x))
    assert torch.equal(state.w[:, 0], state.w[:, -1])
    assert torch.equal(state.image, generator(encoder(x)))
    assert len(invert(x, method).steps) == 2


def test_our_files_of_it_are_run(tmp_path: Path) -> None:
    encoder, generator = networks()
    write_module(tmp_path / "alae-generator.safetensors", generator, "stylegan1")
    told = {"method": "alae", "absolute": True, "generator": "alae-generator"}
    write_module(tmp_path / "alae.safetensors", encoder, "alae", told)
    method, x = load_method(tmp_path / "alae.safetensors"), torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.allclose(method.step(x, method.start(x)).w, encoder(x))
