"""Half precision: numbers beyond 65504, as NVIDIA's StyleGAN2-ADA guards against them."""

from __future__ import annotations

import pytest
import torch

from restyle_cli.devices import compute
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.ops.modconv import CLAMP, clamped, modulated_conv, modulated_conv_plain

CPU = torch.device("cpu")


def wide() -> StyleGAN2:
    torch.manual_seed(0)
    channels = {4: 128, 8: 128, 16: 64, 32: 32}
    network = StyleGAN2(StyleGAN2Config(32, channels, z_dim=16, w_dim=16, mapping_layers=1, noise=False))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("gradients", [False, True], ids=["weights scaled", "maps scaled"])
@pytest.mark.parametrize("size", [1.0, 1e4, 1e6])
def test_large_styles_do_not_overflow(size: float, gradients: bool) -> None:
    network = wide()
    w = size * torch.randn(2, network.layers, 16, generator=torch.Generator().manual_seed(1))
    wanted = network(w)  # demodulated: only the last layers, which are not, grow with w
    with compute(CPU, torch.float16):
        found = network(w.requires_grad_(gradients))
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    if size == 1.0:
        torch.testing.assert_close(found.detach(), wanted, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("demodulate", [True, False])
def test_styles_and_weights_are_scaled_and_nothing_else_changes(demodulate: bool) -> None:
    torch.manual_seed(0)
    x, weight = 10 * torch.randn(2, 64, 8, 8), 300 * torch.randn(32, 64, 3, 3)
    styles, bias = 500 * torch.randn(2, 64), torch.randn(32)
    wanted = modulated_conv_plain(x, weight, styles, demodulate, bias=bias, gain=1.5)
    with compute(CPU, torch.float16), torch.no_grad():
        found = modulated_conv(x, weight, styles, demodulate, bias=bias, gain=1.5)
    assert float((found.float() - wanted).norm() / wanted.norm()) < 2e-3


def test_maps_are_cut_in_half_precision_alone() -> None:
    x = torch.tensor([-1e4, 3.0, 1e4])
    assert clamped(x).tolist() == [-1e4, 3.0, 1e4]
    assert clamped(x.half()).tolist() == [-CLAMP, 3.0, CLAMP] == [-256, 3, 256]
    with compute(CPU, torch.float16):
        assert clamped(x).tolist() == [-256, 3, 256]
    with compute(CPU, torch.bfloat16):
        assert clamped(x).tolist() == [-1e4, 3.0, 1e4]


def test_the_image_is_summed_in_full_precision() -> None:
    """In bf16 a sum of the resolutions' colours would have steps of 1/128, coarser than a file's."""
    network = wide()
    with compute(CPU, torch.bfloat16):
        assert network(torch.zeros(1, network.layers, 16)).dtype == torch.float32
