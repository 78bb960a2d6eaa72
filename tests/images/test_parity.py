"""Images and tensors have the same values as in the original code."""

from __future__ import annotations

import numpy as np
import parity
import pytest
import torch
from golden import fill
from PIL import Image

from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.images import to_image, to_tensor
from restyle_cli.inversion import target_size
from restyle_cli.metrics.pixel import l2

PHOTOS = {"big": fill.image_u8("photo_big", 333, 517), "small": fill.image_u8("photo_small", 140, 90)}


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize(("name", "size"), [("256", (256, 256)), ("cars", (192, 256))])
def test_photos_are_resized_with_the_same_filter(photo: str, name: str, size: tuple[int, int]) -> None:
    x = to_tensor(Image.fromarray(PHOTOS[photo]), size)
    levels = torch.round((x * 0.5 + 0.5) * 255).to(torch.uint8)
    np.testing.assert_array_equal(levels[:, ::3, ::3].numpy(), parity.outputs("io")[f"{photo}_{name}"])
    if name == "256":
        corner = parity.outputs("io")[f"{photo}_float_corner"]
        assert abs(x[:, :4, :4].numpy() - corner).max() <= parity.limit("io", f"{photo}_float_corner")


def test_outputs_are_truncated_to_8_bits_and_resized() -> None:
    image = to_image(torch.from_numpy(0.8 * fill.normal("net_output", (3, 40, 50))))
    np.testing.assert_array_equal(np.asarray(image), parity.outputs("io")["tensor2im"])
    saved = image.resize((100, 80), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(saved), parity.outputs("io")["saved_resized"])


def test_l2_of_two_files() -> None:
    x, y = (to_tensor(Image.fromarray(fill.image_u8(name, 300, 280)), (256, 256))[None] for name in ("result", "gt"))
    error = abs(float(l2(x, y)) - float(parity.outputs("io")["eval_l2"]))
    assert error <= parity.limit("io", "eval_l2")


@pytest.mark.parametrize(
    ("resolution", "crop", "written", "seen"),
    [
        (1024, None, (1024, 1024), (256, 256)),
        (256, None, (256, 256), (256, 256)),
        (512, (384, 512), (384, 512), (192, 256)),
    ],
)
def test_sizes_of_outputs_and_encoder_inputs(
    resolution: int, crop: tuple[int, int] | None, written: tuple[int, int], seen: tuple[int, int]
) -> None:
    with torch.device("meta"):
        generator = StyleGAN2(StyleGAN2Config(resolution, crop=crop))
        image = generator(generator.start(1))
    assert tuple(image.shape[2:]) == generator.size == written
    assert target_size(generator) == seen
    assert to_image(torch.zeros(3, *written)).size == written[::-1]
