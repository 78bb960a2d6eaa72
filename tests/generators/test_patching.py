"""A patch gives the images of a generator whose tensors were changed in place, for each image of a batch."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.generators.patching import noise_maps, synthesis_parameters
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config

CHANNELS = {4: 8, 8: 8, 16: 6, 32: 4}


@pytest.fixture
def network() -> StyleGAN2:
    torch.manual_seed(0)
    made = StyleGAN2(StyleGAN2Config(32, CHANNELS, z_dim=16, w_dim=24, mapping_layers=2))
    with torch.no_grad():
        for conv in made.convs:
            conv.noise_strength.fill_(0.4)
    return made.eval().requires_grad_(False)


@pytest.fixture
def w() -> Tensor:
    return torch.randn(3, 8, 24, generator=torch.Generator().manual_seed(1))


def changed_in_place(network: StyleGAN2, patch: dict[str, Tensor], index: int) -> StyleGAN2:
    """A copy whose own tensors are those of image `index`."""
    copied = copy.deepcopy(network)
    tensors = copied.state_dict()  # shares memory with the copy
    for name, change in patch.items():
        if name in tensors:
            tensors[name].add_(change[index])
        else:
            tensors[f"{name}.weight"].mul_(1 + change[index])
    return copied


def random_changes(tensors: dict[str, Tensor], n: int, size: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {name: size * torch.randn(n, *like.shape, generator=generator) for name, like in tensors.items()}


def test_every_parameter_of_the_synthesis_can_change(network: StyleGAN2, w: Tensor) -> None:
    parameters = synthesis_parameters(network)
    assert "const" in parameters and "convs.3.affine.bias" in parameters and "convs.3.noise_strength" in parameters
    assert not [name for name in parameters if name.startswith("mapping")]
    patch = random_changes(parameters, 3)
    rendered = network(w, patch=patch)
    for index in range(3):
        alone = changed_in_place(network, patch, index)(w[index : index + 1])
        torch.testing.assert_close(rendered[index : index + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["const", "convs.3.weight", "convs.4.bias", "to_rgbs.1.affine.weight"])
def test_each_alone_is_seen(network: StyleGAN2, w: Tensor, name: str) -> None:
    before = network(w)
    patch = random_changes({name: synthesis_parameters(network)[name]}, 3)
    patch[name][1] = 0
    difference = (network(w, patch=patch) - before).abs().amax(dim=(1, 2, 3))
    assert difference[1] < 1e-4 < 1e-2 < min(difference[0], difference[2])


def test_noise_maps_change_for_a_batch_at_once(network: StyleGAN2, w: Tensor) -> None:
    maps = noise_maps(network)
    assert len(maps) == len(network.convs)
    patch = random_changes({name: value[0] for name, value in maps.items()}, 3)
    calls = []
    handle = network.convs[0].register_forward_hook(lambda *_: calls.append(1))
    rendered = network(w, patch=patch)
    handle.remove()
    assert len(calls) == 1
    for index in range(3):
        alone = changed_in_place(network, patch, index)(w[index : index + 1])
        torch.testing.assert_close(rendered[index : index + 1], alone, rtol=1e-4, atol=1e-4)
    assert (rendered - network(w)).abs().max() > 0.1
    assert torch.equal(network(w, noise="none", patch=patch), network(w, noise="none"))


def test_all_three_kinds_together(network: StyleGAN2, w: Tensor) -> None:
    like = {"convs.2.weight": network.convs[2].weight, "noise_4": network.noise_4[0]}
    patch = random_changes(like, 3) | {"convs.2": 0.5 * torch.randn(3, 8, 8, 1, 1)}
    rendered = network(w, patch=patch)
    for index in range(3):
        alone = changed_in_place(network, patch, index)(w[index : index + 1])
        torch.testing.assert_close(rendered[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_changed_network(network: StyleGAN2, w: Tensor) -> None:
    parameters = synthesis_parameters(network)
    noise = {name: value[0] for name, value in noise_maps(network).items()}
    patch = {name: value.requires_grad_() for name, value in random_changes({**parameters, **noise}, 2, 0.1).items()}
    target = torch.rand(2, 3, 32, 32)
    (network(w[:2], patch=patch) - target).square().sum().backward()
    for index in range(2):
        alone = changed_in_place(network, {name: value.detach() for name, value in patch.items()}, index)
        own = {**dict(alone.named_parameters()), **dict(alone.named_buffers())}
        for name in patch:
            own[name].requires_grad_()
        (alone(w[index : index + 1]) - target[index]).square().sum().backward()
        for name, change in patch.items():
            expected = own[name].grad
            assert expected.abs().max() > 0, name
            torch.testing.assert_close(change.grad[index].view_as(expected), expected, rtol=1e-3, atol=1e-3)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_feature_maps_and_lower_resolutions(network: StyleGAN2, w: Tensor) -> None:
    patch = random_changes({"convs.0.weight": network.convs[0].weight}, 3)
    maps: dict[int, Tensor] = {}
    network(w, features=maps, patch=patch)
    assert {side: len(seen) for side, seen in maps.items()} == {4: 3, 8: 3, 16: 3, 32: 3}
    alone: dict[int, Tensor] = {}
    changed_in_place(network, patch, 2)(w[2:], features=alone)
    for side in maps:
        torch.testing.assert_close(maps[side][2:], alone[side], rtol=1e-4, atol=1e-4)
    small = network(w, upto=8, patch=patch)
    assert small.shape == (3, 3, 8, 8)
    torch.testing.assert_close(small[:1], changed_in_place(network, patch, 0)(w[:1], upto=8), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["convs.2", "convs.2.weight", "noise_4"])
def test_a_change_in_half_precision_is_applied_in_full(network: StyleGAN2, w: Tensor, name: str) -> None:
    shape = (8, 8, 1, 1) if name == "convs.2" else network.state_dict()[name].shape[-4 if "convs" in name else -3 :]
    half = (0.01 * torch.randn(3, *shape)).half()
    assert torch.equal(network(w, patch={name: half}), network(w, patch={name: half.float()}))


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("convs.3.wieght", (3, 6, 6, 3, 3), "no 'convs.3.wieght'.*did you mean 'convs.3.weight'"),
        ("mapping.layers.0.weight", (3, 24, 16), "no 'mapping.layers.0.weight'"),
        ("w_avg", (3, 8, 24), "no 'w_avg'"),
        ("convs.0.bias", (2, 8), "a change of 'convs.0.bias' has shape \\[2, 8\\].*takes \\[3, 8\\]"),
        ("noise_2", (3, 1, 1, 8, 8), "takes \\[3, 1, 8, 8\\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    network: StyleGAN2, w: Tensor, name: str, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(RestyleError) as caught:
        network(w, patch={name: torch.zeros(shape)})
    assert re.search(sentence, f"{caught.value.message} {caught.value.hint}")


def test_a_generator_without_noise_has_no_maps_to_change(w: Tensor) -> None:
    silent = StyleGAN2(StyleGAN2Config(32, CHANNELS, z_dim=16, w_dim=24, mapping_layers=2, noise=False))
    with pytest.raises(RestyleError, match="no 'noise_0'"):
        silent(w, patch={"noise_0": torch.zeros(3, 1, 4, 4)})
