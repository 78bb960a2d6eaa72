"""Colour profiles: what they mean is checked against the definition of the colour space, not against the library."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import icc
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from restyle_cli.align.paste import paste
from restyle_cli.errors import RestyleWarning
from restyle_cli.images import open_image, open_original, save_image


def colours(size: int = 32) -> np.ndarray:
    """Muted RGB levels [size, size, 3], as skin and clothes have them."""
    u, v = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
    return np.rint(60 + 140 * np.stack([u, (u + v) / 2, 1 - v], axis=-1)).astype(np.uint8)


def decoded(levels: np.ndarray, gamma: float | None) -> np.ndarray:
    x = levels / 255
    return x**gamma if gamma else np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def encoded(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def in_srgb(levels: np.ndarray, primaries: tuple, gamma: float | None, white: tuple = icc.D65) -> np.ndarray:
    """What `levels` in a colour space are in sRGB."""
    to_xyz = icc.to_d50(white) @ icc.rgb_to_xyz(primaries, white)
    from_xyz = np.linalg.inv(icc.to_d50(icc.D65) @ icc.rgb_to_xyz(icc.SRGB))
    return encoded(decoded(levels, gamma) @ (from_xyz @ to_xyz).T)


SPACES = {
    "Display P3": (icc.P3, None, icc.D65),
    "Adobe RGB": (icc.ADOBE, 2.19921875, icc.D65),
    "ProPhoto RGB": (icc.PROPHOTO, 1.8, (0.3457, 0.3585)),
}


AVIF = pytest.param("avif", marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF"))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", AVIF])
@pytest.mark.parametrize("space", SPACES)
def test_wide_colours_become_srgb(tmp_path: Path, space: str, suffix: str) -> None:
    primaries, gamma, white = SPACES[space]
    flat = np.repeat(np.repeat(colours(4), 16, axis=0), 16, axis=1)  # so that JPEG keeps them
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}, "avif": {"quality": 100}}
    profile = icc.rgb(primaries, gamma, white)
    Image.fromarray(flat).save(tmp_path / f"x.{suffix}", icc_profile=profile, **options.get(suffix, {}))
    read = np.asarray(open_image(tmp_path / f"x.{suffix}"), float)
    right = in_srgb(flat, primaries, gamma, white)
    assert np.abs(right - flat).mean() > 2
    within = {"jpg": 3, "avif": 9}.get(suffix, 1.5)  # AVIF has fewer colours in 8 bits
    assert np.abs(read - right)[8::16, 8::16].max() <= within


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_profiles_in_every_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(colours())
    if mode == "P":
        image = image.quantize(64)
    stored = image.convert(mode)
    profile = icc.grey(1.0) if mode[0] == "L" else icc.rgb(icc.P3, None)
    stored.save(tmp_path / "x.png", icc_profile=profile)
    levels = np.asarray(stored.convert("RGB"))
    right = encoded(decoded(levels, 1.0)) if mode[0] == "L" else in_srgb(levels, icc.P3, None)
    read = np.asarray(open_image(tmp_path / "x.png"), float)
    assert np.abs(read - right).max() <= 1.5


def test_a_grey_image_may_have_a_profile_for_colours(tmp_path: Path) -> None:
    grey = Image.linear_gradient("L").resize((32, 32))
    grey.save(tmp_path / "x.png", icc_profile=icc.rgb(icc.SRGB, 1.0))
    read = np.asarray(open_image(tmp_path / "x.png"), float)[..., 1]
    assert np.abs(read - encoded(np.asarray(grey) / 255)).max() <= 1


def test_cmyk(tmp_path: Path) -> None:
    inks = np.zeros((16, 48, 4), np.uint8)
    inks[:, 16:32, 3] = 255  # black
    inks[:, 32:, 1] = 255  # magenta
    Image.fromarray(inks, "CMYK").save(tmp_path / "x.tif", icc_profile=icc.cmyk())
    read = open_image(tmp_path / "x.tif")
    paper, black, magenta = (read.getpixel((x, 8)) for x in (8, 24, 40))
    assert min(paper) > 235  # lightness 95
    assert max(black) < 60
    assert magenta[0] > magenta[1] + 80  # without the profile (255, 0, 255)
    assert magenta[2] < 200
    assert open_original(tmp_path / "x.tif").mode == "RGB"
    assert open_original(tmp_path / "x.tif").info == {}  # PNG has no CMYK


def test_lab(tmp_path: Path) -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(tmp_path / "x.tif")
    assert np.abs(np.asarray(open_image(tmp_path / "x.tif"), float) - colours()).max() <= 8  # 8-bit Lab is coarse


@pytest.mark.parametrize(
    "profile", [icc.rgb(icc.SRGB, None), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()]
)
def test_srgb_is_not_converted(tmp_path: Path, profile: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(colours()).save(tmp_path / "x.png", icc_profile=profile)
    open_image(tmp_path / "x.png")  # reads the profile
    monkeypatch.setattr(ImageCms.ImageCmsTransform, "apply", None)
    assert np.array_equal(open_image(tmp_path / "x.png"), colours())


BROKEN = {
    "rubbish": b"not a profile",
    "empty": b"\0",
    "cut off": icc.rgb(icc.P3, 2.2)[:300],
    "for inks": icc.cmyk(),
    "for grey": icc.grey(2.2),
    "all white": icc.rgb(icc.P3, 0.01),
    "all black": icc.rgb(icc.P3, 100),
    "a link": icc.rgb(icc.P3, 2.2).replace(b"mntr", b"link"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_a_profile_that_cannot_be_used_is_a_warning(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(colours()).save(path, icc_profile=BROKEN[what])
    with pytest.warns(RestyleWarning, match="profile that cannot be used") as caught:
        read = open_image(path)
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert np.array_equal(read, Image.open(path).convert("RGB"))


def test_a_profile_with_a_missing_part(tmp_path: Path) -> None:
    """A JPEG stores large profiles in several pieces; Pillow drops them all if one is missing."""
    Image.fromarray(colours()).save(tmp_path / "x.jpg", icc_profile=icc.rgb(icc.P3, None) + bytes(100_000))
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data.replace(b"ICC_PROFILE\0\2\2", b"JCC_PROFILE\0\2\2"))
    with pytest.warns(RestyleWarning, match="profile"):
        open_image(tmp_path / "x.jpg")


def test_an_enormous_profile_does_not_prevent_reading(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "x.png", icc_profile=bytes(5_000_000))
    with pytest.warns(RestyleWarning, match="profile"):
        assert np.array_equal(open_image(tmp_path / "x.png"), colours())


@pytest.mark.parametrize(
    ("mode", "kept"), [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("LA", "LA"), ("P", "RGB"), ("1", "L")]
)
def test_originals_keep_their_mode_and_profile(tmp_path: Path, mode: str, kept: str) -> None:
    """Also a profile that cannot be used, if the mode is the same."""
    stored = Image.fromarray(colours()).convert(mode)
    stored.save(tmp_path / "x.png", icc_profile=b"profile")
    original = open_original(tmp_path / "x.png")
    assert original.mode == kept
    assert original.info == ({"icc_profile": b"profile"} if mode == kept else {})
    assert np.array_equal(original, stored.convert(kept))


# --- pasting

QUAD = ((10.0, 8.0), (10.0, 24.0), (26.0, 24.0), (26.0, 8.0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_pasted_images_have_the_colours_of_the_photo(tmp_path: Path, mode: str) -> None:
    stored = Image.fromarray(colours(36)).convert("L" if mode[0] == "L" else "RGB")
    stored = stored.quantize(64) if mode == "P" else stored.convert(mode)
    profile = icc.grey(1.0) if mode[0] == "L" else icc.rgb(icc.PROPHOTO, 1.8)
    stored.save(tmp_path / "photo.png", icc_profile=profile)
    original = open_original(tmp_path / "photo.png")
    save_image(paste(original, Image.new("RGB", (16, 16), (150, 90, 60)), QUAD), tmp_path / "pasted.png")
    with Image.open(tmp_path / "pasted.png") as pasted:
        assert pasted.info["icc_profile"] == profile
        outside = np.ones((36, 36), bool)
        outside[7:26, 9:28] = False
        levels = np.asarray(stored.convert("RGB") if mode == "P" else stored)
        assert np.array_equal(np.asarray(pasted)[outside], levels[outside])
    shown = np.array(open_image(tmp_path / "pasted.png").getpixel((18, 16)), float)
    right = np.array([150, 90, 60] if mode[0] != "L" else [shown[0]] * 3)
    assert np.abs(shown - right).max() <= 3
    if mode[0] == "L":  # as light as the colour is
        assert abs(shown[0] - encoded(decoded(np.array([150, 90, 60]), None) @ [0.2126, 0.7152, 0.0722])) <= 4


def test_pasting_an_unchanged_crop_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(colours(36)).save(tmp_path / "photo.png", icc_profile=icc.rgb(icc.P3, None))
    original, seen = open_original(tmp_path / "photo.png"), open_image(tmp_path / "photo.png")
    difference = np.asarray(paste(original, seen.crop((10, 8, 27, 25)), QUAD), float) - np.asarray(original, float)
    assert np.abs(difference).max() <= 6
    assert np.abs(difference).mean() < 0.5


def test_a_scanners_photo_becomes_srgb(tmp_path: Path) -> None:
    """Its profile has no inverse, so nothing could be pasted in its colours."""
    lut = icc.cmyk().replace(b"CMYK", b"RGB ").replace(b"prtr", b"scnr")
    position = lut.index(b"mft1")
    table = np.array([[95 * 2.55 * (r + g + b) / 3, 128, 128] for r, g, b in np.ndindex(2, 2, 2)]).astype(np.uint8)
    head = lut[position : position + 8] + bytes([3, 3, 2, 0]) + lut[position + 12 : position + 48]
    identity = np.tile(np.arange(256), 3).astype(np.uint8).tobytes()
    body = head + identity + table.tobytes() + identity
    profile = (lut[:position] + body).ljust(len(lut), b"\0")
    Image.fromarray(colours()).save(tmp_path / "x.png", icc_profile=profile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        original = open_original(tmp_path / "x.png")
    assert original.info == {}
    assert np.array_equal(original, open_image(tmp_path / "x.png"))
    assert np.asarray(original).std(axis=-1).max() <= 2  # the profile has no colours


def test_from_the_command(tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--paste-back` of a photo in Adobe RGB: its profile, its colours, and sRGB for the model."""
    monkeypatch.chdir(tmp_path)
    profile = icc.rgb(icc.ADOBE, 2.2)
    Image.fromarray(colours(300)).save("x.jpg", quality=95, icc_profile=profile)
    done = restyle("invert", "x.jpg", "-n", 1, "--align", "never", "--paste-back", "-o", "out")
    assert done.exit_code == 0
    with Image.open("out/x.pasted.png") as pasted:
        assert pasted.info["icc_profile"] == profile
    face = np.asarray(Image.open("out/x.png").resize((300, 300), Image.Resampling.BICUBIC), float)
    assert np.abs(np.asarray(open_image("out/x.pasted.png"), float) - face).mean() < 2
    Image.fromarray(colours(64)).save("broken.png", icc_profile=b"rubbish")
    done = restyle("invert", "broken.png", "-n", 1, "--align", "never", "--paste-back", "-o", "out")
    assert done.exit_code == 0
    assert done.stderr.count("broken.png' has a colour profile that cannot be used; read as sRGB\n") == 1
    assert "UserWarning" not in done.stderr
