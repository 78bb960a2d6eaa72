"""Images to tensors and back, and writing them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restyle_cli.errors import RestyleError
from restyle_cli.images import fit, open_image, save_image, to_image, to_tensor


@pytest.fixture
def flag() -> Image.Image:
    """40x20, left half red, right half dark."""
    image = Image.new("RGB", (40, 20), (10, 20, 30))
    image.paste((250, 0, 0), (0, 0, 20, 20))
    return image


def test_to_tensor_and_back_keeps_every_level() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = to_tensor(Image.fromarray(np.stack([levels, levels.T, 255 - levels], axis=-1)))
    assert image.shape == (3, 16, 16)
    assert (image.min().item(), image.max().item()) == (-1, 1)
    assert image[0, 0, 1] == pytest.approx((1 / 255 - 0.5) / 0.5)
    back = np.asarray(to_image(image + 1e-5))  # a little more, because values are truncated
    assert np.array_equal(back[..., 0], levels)
    assert np.array_equal(back[..., 2], 255 - levels)


def test_to_tensor_resizes_with_pillows_filter() -> None:
    noise = Image.effect_noise((60, 90), 80).convert("RGB")
    expected = np.asarray(noise.resize((20, 30), Image.Resampling.BILINEAR)) / 127.5 - 1
    assert np.allclose(to_tensor(noise, (30, 20)).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_to_image_clips_and_truncates() -> None:
    image = torch.tensor([-3.0, 3.0, 2 * 127.9 / 255 - 1]).reshape(3, 1, 1)
    assert to_image(image).getpixel((0, 0)) == (0, 255, 127)


def test_fit_averages_when_smaller_and_interpolates_when_larger() -> None:
    image = torch.randn(2, 3, 8, 8)
    assert fit(image, (8, 8)) is image
    assert torch.allclose(fit(image, (4, 4)), image.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5)), atol=1e-6)
    larger = torch.nn.functional.interpolate(image, (16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(fit(image, (16, 16)), larger)
    assert fit(image, (4, 16)).shape == (2, 3, 4, 16)
    assert torch.allclose(fit(torch.ones(1, 3, 6, 8), (9, 5)), torch.ones(1, 3, 9, 5))


# --- writing


def test_an_image_is_written_with_its_text(tmp_path: Path, flag: Image.Image) -> None:
    save_image(flag, tmp_path / "new/folder/x.png", {"restyle": '{"frame": "ffhq"}', "other": "é"})
    image = open_image(tmp_path / "new/folder/x.png")
    assert np.array_equal(np.asarray(image), np.asarray(flag))
    assert image.info == {"restyle": '{"frame": "ffhq"}'}
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["x.png"]


def test_text_needs_a_png_and_a_suffix_is_needed(tmp_path: Path, flag: Image.Image) -> None:
    with pytest.raises(ValueError, match="PNG"):
        save_image(flag, tmp_path / "x.jpg", {"restyle": "{}"})
    with pytest.raises(RestyleError, match=r"x\.xyz"):
        save_image(flag, tmp_path / "x.xyz")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, flag: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(b"old")

    def half(self: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(RestyleError, match=r"cannot write .*x\.png': no space left on device") as caught:
        save_image(flag, tmp_path / "x.png")
    assert "--output" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


@pytest.mark.parametrize("path", ["out/x.png", "out/sub/x.png"])
def test_a_folder_that_is_a_file(tmp_path: Path, flag: Image.Image, path: str) -> None:
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(RestyleError, match="cannot write"):
        save_image(flag, tmp_path / path)
    assert (tmp_path / "out").read_bytes() == b"x"
