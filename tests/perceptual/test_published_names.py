"""What published files of these networks are recognised by, and what becomes of their tensors."""

from __future__ import annotations

import gzip
import json

import parity
import pytest
import torch
from torch import Tensor

from restyle_cli.encoders.backbones import ResNet34
from restyle_cli.errors import RestyleError
from restyle_cli.generators.discriminators import StyleGAN2Discriminator
from restyle_cli.perceptual import PERCEPTUAL
from restyle_cli.perceptual.resnet34 import ImageNetResNet34
from restyle_cli.store.legacy.checkpoint_part import ROLES
from restyle_cli.store.legacy.detect import family_of

ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def shapes(manifest: str) -> dict[str, Tensor]:
    """A published file's tensors without their values, as those of the meta device."""
    content = json.loads(gzip.decompress((parity.GOLDEN / "manifests" / f"{manifest}.json.gz").read_bytes()))
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in content["keys"].items()}


def alexnet() -> dict[str, Tensor]:
    """Torchvision's file: the classifier is inside, LPIPS' weights are not."""
    tensors = {f"features.{i}.weight": torch.zeros(o, c, k, k) for i, (o, c, k) in ALEXNET.items()}
    tensors |= {f"features.{i}.bias": torch.zeros(o) for i, (o, _, _) in ALEXNET.items()}
    return tensors | {"classifier.6.weight": torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("manifest", "family"),
    [
        ("ir_se50", "arcface"),
        ("curricularface_ir101", "curricularface"),
        ("moco_v2_resnet50", "moco"),
        ("resnet34_imagenet", "resnet34"),
        ("lpips_alex", "lpips-alex"),
        ("stylegan2_d_256", "stylegan2-discriminator"),
        ("latent_discriminator", "latent-discriminator"),
    ],
)
def test_published_files_fit_the_network_they_are_taken_for(manifest: str, family: str) -> None:
    theirs = shapes(manifest)
    part = parity.recognised(theirs)
    assert part is not None
    assert (part.family, part.role in ROLES) == (family, True)
    network = PERCEPTUAL.load(family)
    config = network.Config.from_dict(part.config)
    assert network.Config.from_dict(config.to_dict()) == config == network.Config()
    with torch.device("meta"):
        made = network(config)
    made.load_state_dict(part.tensors, strict=True, assign=True)


@pytest.mark.parametrize("manifest", ["restyle_psp_ffhq_256", "stylegan2_g_256", "hyperstyle_ffhq_256"])
def test_other_files_are_none_of_these(manifest: str) -> None:
    theirs = shapes(manifest)
    bare = {key.removeprefix("encoder."): value for key, value in theirs.items()}
    for state in (theirs, bare):
        family = family_of(state)
        assert family is None or family.role in ("generator", "encoder")


def test_nothing_is_copied() -> None:
    theirs = parity.weights("latent_discriminator")
    part = parity.recognised(theirs)
    assert part is not None
    assert all(part.tensors[key].data_ptr() == value.data_ptr() for key, value in theirs.items())


def test_files_from_before_norms_counted() -> None:
    theirs = {key: value for key, value in shapes("resnet34_imagenet").items() if "num_batches" not in key}
    part = parity.recognised(theirs)
    assert part is not None
    with torch.device("meta"):
        made = ImageNetResNet34(ImageNetResNet34.Config())
    made.load_state_dict(part.tensors, strict=True, assign=True)
    assert made.bn1.num_batches_tracked == 0


def test_resnet34_begins_an_encoders_backbone() -> None:
    part = parity.recognised(shapes("resnet34_imagenet"))
    assert part is not None
    with torch.device("meta"):
        backbone = ResNet34(3)
    left = backbone.load_state_dict(part.tensors, strict=False, assign=True)
    assert (left.missing_keys, left.unexpected_keys) == (["relu.weight"], [])


def test_the_public_moco_file_holds_more() -> None:
    more = shapes("moco_v2_resnet50")
    more |= {key.replace("encoder_q", "encoder_k"): value for key, value in more.items()}
    part = parity.recognised(more | {"module.queue": torch.zeros(2, 2)})
    assert part is not None
    assert part.family == "moco"
    assert len(part.tensors) == 318  # of 322: the head's two layers are left out


def test_an_alexnet_alone_gets_the_weights_of_the_package() -> None:
    part = parity.recognised(alexnet())
    assert part is not None
    assert part.family == "lpips-alex"
    assert not [key for key in part.tensors if "classifier" in key]
    heads = [part.tensors[f"weights.{index}"] for index in range(5)]
    assert [head.shape[0] for head in heads] == [64, 192, 384, 256, 256]
    assert all(head.min() >= 0 and 0.01 < head.max() < 100 for head in heads)


def test_discriminators_of_other_widths() -> None:
    network = StyleGAN2Discriminator(StyleGAN2Discriminator.Config(channels=(16, 12, 8)))
    ours = network.state_dict()
    rooms = {
        "from_rgb": ("convs.0.0", "convs.0.1"),
        "final_conv": ("final_conv.0", "final_conv.1"),
        "final_linear": ("final_linear.0", "final_linear.0"),
        "output": ("final_linear.1", "final_linear.1"),
    }
    for index in (0, 1):
        block = f"convs.{index + 1}"
        rooms[f"blocks.{index}.conv1"] = (f"{block}.conv1.0", f"{block}.conv1.1")
        rooms[f"blocks.{index}.conv2"] = (f"{block}.conv2.1", f"{block}.conv2.2")
        rooms[f"blocks.{index}.skip"] = (f"{block}.skip.1", "")
    theirs = {f"{places[0]}.weight": ours[f"{name}.weight"] for name, places in rooms.items()}
    for name, places in rooms.items():
        if f"{name}.bias" in ours:  # older versions of that code keep biases as [1, C, 1, 1]
            theirs[f"{places[1]}.bias"] = ours[f"{name}.bias"].reshape(1, -1, 1, 1)
    part = parity.recognised(theirs | {"convs.1.skip.0.kernel": torch.zeros(4, 4)})
    assert part is not None
    assert part.config == {"channels": [16, 12, 8]}
    assert part.tensors.keys() == ours.keys()
    assert all(torch.equal(part.tensors[key], value) for key, value in ours.items())


@pytest.mark.parametrize(
    ("manifest", "key"),
    [
        ("ir_se50", "output_layer.3.weight"),
        ("latent_discriminator", "mlp.0.weight"),
        ("stylegan2_d_256", "convs.0.0.weight"),
        ("moco_v2_resnet50", "module.encoder_q.conv1.weight"),
        ("resnet34_imagenet", "layer1.0.conv1.weight"),
        ("lpips_alex", "features.3.weight"),
    ],
)
def test_absurd_shapes_are_refused(manifest: str, key: str) -> None:
    with pytest.raises(RestyleError, match="shapes that no such network has"):
        parity.recognised(shapes(manifest) | {key: torch.zeros(())})
