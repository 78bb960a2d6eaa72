"""Small perceptual networks and discriminators: what holds for any weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.discriminators import StyleGAN2Discriminator, append_stddev
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.store.files import read_module, write_module

SMALL = {
    "arcface": {"widths": [16, 18, 20, 24], "blocks": [1, 2, 1, 1], "side": 48, "dimensions": 12},
    "curricularface": {"widths": [16, 18, 20, 24], "blocks": [1, 1, 1, 1], "side": 32, "dimensions": 12},
    "moco": {"width": 2, "blocks": [1, 1, 1, 2]},
    "resnet34": {"widths": [4, 6, 8, 10], "blocks": [1, 1, 1, 1]},
    "lpips-alex": {"widths": [4, 6, 8, 8, 8]},
    "lpips-vgg": {"widths": [2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6]},
    "vgg16": {"widths": [2, 2, 3, 3, 4, 4, 4, 5, 5, 5]},
    "dlib-face": {"widths": [4, 6, 6], "blocks": [2, 1, 1], "dimensions": 8},
    "alae-discriminator": {"widths": [8, 8, 16]},
    "stylegan2-discriminator": {"channels": [8, 6, 4]},
    "latent-discriminator": {"w_dim": 8, "layers": 2},
}


def small(family: str) -> nn.Module:
    torch.manual_seed(1)
    network = PERCEPTUAL.load(family)
    return network(network.Config.from_dict(SMALL[family])).eval().requires_grad_(False)


def images(n: int, side: int = 64) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_every_family_is_tried() -> None:
    assert set(SMALL) == set(PERCEPTUAL.names())


@pytest.mark.parametrize("family", SMALL)
def test_an_unknown_setting_is_refused(family: str) -> None:
    with pytest.raises(RestyleError, match="has no field 'wide'"):
        PERCEPTUAL.load(family).Config.from_dict(SMALL[family] | {"wide": 1})


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    assert type(a) is type(b)
    assert a.config == b.config
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("family", SMALL)
def test_our_files_rebuild_them(family: str, tmp_path: Path) -> None:
    network = small(family)
    write_module(tmp_path / "n.safetensors", network, family)
    assert_equal(read_module(tmp_path / "n.safetensors"), network)


@pytest.mark.parametrize("family", ["arcface", "curricularface", "moco", "latent-discriminator"])
def test_their_files_are_read_as_they_are(family: str, tmp_path: Path) -> None:
    network = small(family)
    content: dict = network.state_dict()
    if family == "moco":
        content = {f"module.encoder_q.{key}": value for key, value in content.items()}
        content |= {"module.encoder_q.fc.0.weight": torch.zeros(2, 2), "module.queue": torch.zeros(2)}
        content = {"epoch": 800, "arch": "resnet50", "state_dict": content}
    if family == "latent-discriminator":
        content = {"discriminator_state_dict": content}
    torch.save(content, tmp_path / "n.pth")
    assert_equal(read_module(tmp_path / "n.pth"), network)


@pytest.mark.parametrize("family", ["arcface", "curricularface", "moco"])
def test_features_have_unit_length_and_a_gradient(family: str) -> None:
    network, x = small(family), images(2).requires_grad_()
    features = network(x)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(network(x[1:]), features[1:])
    features[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0


def test_faces_are_the_middle_of_a_portrait() -> None:
    network, x = small("arcface"), images(1, 256)
    other = x.clone()
    other[:, :, :35], other[:, :, 223:], other[..., :32], other[..., 220:] = 1, 1, -1, -1
    torch.testing.assert_close(network(other), network(x))
    torch.testing.assert_close(network(nn.functional.interpolate(x, scale_factor=2)), network(x))


def test_lpips_is_a_distance() -> None:
    network = small("lpips-alex")
    x, y = images(3), images(3).flip(0)
    assert network(x, x).tolist() == [0, 0, 0]
    distances = network(x, y)
    assert distances[1] == 0 < min(distances[0], distances[2])
    torch.testing.assert_close(network(y, x), distances)
    torch.testing.assert_close(network(x[2:], y[2:]), distances[2:])


def test_lpips_has_a_gradient_where_all_channels_are_silent() -> None:
    network, x = small("lpips-alex"), images(1).requires_grad_()
    network.convs[0].bias.fill_(-100)
    network(x, images(1).flip(3)).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_groups_of_the_minibatch_standard_deviation() -> None:
    network, x = small("stylegan2-discriminator"), images(8, 16)
    together = network(x)
    torch.testing.assert_close(network(x[::2]), together[::2])  # images 0, 2, 4, 6 are one group
    assert not torch.allclose(network(x[:4]), together[:4])
    with pytest.raises(RestyleError, match="cannot take a batch of 6"):
        network(x[:6])


def test_equal_images_do_not_deviate() -> None:
    x = torch.randn(1, 3, 4, 4).expand(4, -1, -1, -1)
    assert append_stddev(x)[:, 3].max() <= 1e-4  # the root of what keeps the root from zero
    assert append_stddev(torch.randn(4, 3, 4, 4))[:, 3].min() > 0.1


def test_a_discriminator_takes_images_of_its_own_side() -> None:
    config = StyleGAN2Discriminator.Config.from_dict(SMALL["stylegan2-discriminator"])
    assert config.resolution == 16
    assert StyleGAN2Discriminator.Config().resolution == 256


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("arcface", {"side": 50}),
        ("arcface", {"widths": [4, 4]}),
        ("moco", {"blocks": [1]}),
        ("lpips-alex", {"widths": [4]}),
        ("stylegan2-discriminator", {"channels": [4]}),
        ("latent-discriminator", {"layers": 0}),
    ],
)
def test_what_cannot_be_built_is_refused(family: str, values: dict[str, object]) -> None:
    with pytest.raises(RestyleError):
        PERCEPTUAL.load(family).Config.from_dict(values)
