"""Convert between an image's colour profile (ICC) and sRGB, in which the models were trained."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CLASSES = ("mntr", "scnr", "prtr", "spac")  # devices and colour spaces; others are parts of a conversion
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC  # the one that can be inverted
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SAME_WITHIN = 2  # levels by which sRGB profiles differ: some store the curve as a table, or rounded


class UnusableProfile(ValueError):
    """The colour profile is damaged, or for another kind of image."""


@dataclass(frozen=True)
class Profile:
    """A usable profile: the `mode` of its images and the conversions. Both are None for sRGB."""

    mode: str
    to_srgb: ImageCms.ImageCmsTransform | None
    from_srgb: ImageCms.ImageCmsTransform | None
    is_two_way: bool

    def fits(self, mode: str) -> bool:
        """Whether images of this mode (without alpha) can have it; a grey image can also have an RGB profile."""
        return mode == self.mode or (mode == "L" and self.mode == "RGB")


@lru_cache(maxsize=8)
def read_profile(icc: bytes | None) -> Profile:
    """The profile stored as `icc`; None is one that Pillow could not read.

    UnusableProfile if it is damaged or does not map dark to dark and light to light.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
        mode = _MODES.get(profile.profile.xcolor_space)
        if mode is None or profile.profile.device_class not in _CLASSES:
            raise UnusableProfile
        to_srgb = ImageCms.buildTransform(profile, _srgb(), mode, "RGB", _INTENT, _FLAGS)
        is_srgb = _check(mode, to_srgb)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise UnusableProfile from error
    if is_srgb:
        return Profile(mode, None, None, is_two_way=True)
    try:
        back = ImageCms.buildTransform(_srgb(), profile, "RGB", mode, _INTENT, _FLAGS)
    except ImageCms.PyCMSError:  # profiles of scanners have no inverse
        back = None
    return Profile(mode, to_srgb, back, is_two_way=back is not None)


def to_srgb(colours: Image.Image, profile: Profile | None) -> Image.Image:
    """Convert L, RGB, CMYK or LAB with a profile that fits to RGB in sRGB; without a profile, by Pillow's formulas."""
    if colours.mode == "LAB":
        return _from_lab().apply(colours)
    if profile is None or profile.to_srgb is None:
        return colours.convert("RGB")
    return profile.to_srgb.apply(colours.convert(profile.mode))


def from_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an RGB `image` in sRGB to a profile and its mode; unchanged if there is none or it cannot be used."""
    try:
        conversion = read_profile(icc).from_srgb if icc else None
    except UnusableProfile:
        conversion = None
    return image if conversion is None else conversion.apply(image)


def _check(mode: str, to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether the conversion changes nothing. UnusableProfile if it does not map dark to dark and light to light."""
    ramp = np.arange(256, dtype=np.uint8)
    greys = Image.fromarray(ramp[None] if mode == "L" else np.repeat(ramp[None, :, None], 3, axis=2))
    if mode == "CMYK":
        black = 255 - ramp[None]
        greys = Image.merge("CMYK", [Image.fromarray(channel) for channel in (*(0 * black,) * 3, black)])
    lightness = np.asarray(to_srgb.apply(greys).convert("L"), int)[0]
    is_rising = lightness[255] - lightness[0] >= 64 and np.diff(lightness).min() >= -4
    if not is_rising or not 8 <= lightness[128] <= 247:
        raise UnusableProfile
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probes = Image.fromarray(cube) if mode == "RGB" else greys
    change = np.asarray(to_srgb.apply(probes), int) - np.asarray(probes.convert("RGB"), int)
    return bool(np.abs(change).max() <= _SAME_WITHIN)


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB", _INTENT, _FLAGS)
