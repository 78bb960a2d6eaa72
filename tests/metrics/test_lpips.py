"""The bundled LPIPS against the package `lpips`."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType, SimpleNamespace

import pytest
import torch
from skimage import data
from torch import Tensor, nn

from restyle_cli.metrics import choose

EXPECTED = [
    0.56311, 0.48723, 0.51889, 0.51074, 0.51955, 0.66006, 0.4344, 0.46078, 0.43894, 0.40174,
    0.4861, 0.44076, 0.46087, 0.48062, 0.55482, 0.80918, 0.41324, 0.38976, 0.44853, 0.52553,
]  # fmt: skip
"""Of `pairs`, by the package with torchvision's AlexNet in fp32."""


def pairs() -> tuple[Tensor, Tensor]:
    """Twenty crops of photographs; each blurred and mixed with the one before."""
    crops = []
    for photo in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket()):
        height, width = photo.shape[:2]
        for i in range(5):
            top, left = (height - 256) * i // 4, (width - 256) * (4 - i) // 4
            crop = torch.from_numpy(photo[top : top + 256, left : left + 256].copy())
            crops.append(crop.permute(2, 0, 1) / 127.5 - 1)
    x = torch.stack(crops)
    return x, 0.5 * (nn.functional.avg_pool2d(x, 5, 1, 2) + x.roll(1, 0))


def alexnet(**options: object) -> SimpleNamespace:
    """AlexNet's convolutions as torchvision numbers them: the library takes them from there."""
    pool = [nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
    features = [nn.Conv2d(3, 64, 11, 4, 2), *pool, nn.Conv2d(64, 192, 5, 1, 2), *pool]
    for channels in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(*channels, 3, 1, 1), nn.ReLU(inplace=True)]
    return SimpleNamespace(features=nn.Sequential(*features))


@pytest.mark.weights
def test_the_numbers_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    (metric,) = choose(["lpips"]).metrics
    assert [entry.name for entry, _ in metric.networks] == ["lpips-alex"]
    x, y = pairs()
    ours = metric.measure(x, y)
    torch.testing.assert_close(ours, torch.tensor(EXPECTED), rtol=0, atol=1e-4)  # which fp16 weights must keep
    assert metric.measure(x, x).abs().max() == 0

    vision = ModuleType("torchvision")
    vision.models = SimpleNamespace(alexnet=alexnet)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", vision)
    lpips = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    for index, head in enumerate((theirs.lin0, theirs.lin1, theirs.lin2, theirs.lin3, theirs.lin4)):
        assert torch.equal(head.model[1].weight.flatten(), metric.network.weights[index])
    published = metric.network.convs.state_dict().values()
    theirs.net.load_state_dict(dict(zip(theirs.net.state_dict(), published, strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(ours, theirs(x, y).flatten(), rtol=1e-5, atol=1e-6)
