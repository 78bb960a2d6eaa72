"""Colour profiles (ICC): from an image's own colours to sRGB, which the models know, and back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CLASSES = ("mntr", "scnr", "prtr", "spac")  # devices and colour spaces; others are parts of a conversion
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC  # the one that goes back the way it came
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SAME_WITHIN = 2
"""Levels by which profiles called sRGB differ: some have their curve as a table, or rounded."""


class UnusableProfile(ValueError):
    """A colour profile that is damaged, or for another kind of image."""


@dataclass(frozen=True)
class Profile:
    """A profile that can be used: the `mode` of its images, and the conversions, None where nothing is to convert."""

    mode: str
    to_srgb: ImageCms.ImageCmsTransform | None
    from_srgb: ImageCms.ImageCmsTransform | None
    is_two_way: bool

    def fits(self, mode: str) -> bool:
        """Whether images of this mode, without alpha, can be in its colours; grey ones also as part of RGB."""
        return mode == self.mode or (mode == "L" and self.mode == "RGB")


@lru_cache(maxsize=8)
def read_profile(icc: bytes | None) -> Profile:
    """UnusableProfile when it is damaged (None: so much that Pillow read nothing), or its colours are absurd."""
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
    except ImageCms.PyCMSError:  # scanners' profiles lead one way
        back = None
    return Profile(mode, to_srgb, back, is_two_way=back is not None)


def to_srgb(colours: Image.Image, profile: Profile | None) -> Image.Image:
    """RGB in sRGB of L, RGB, CMYK or LAB in the colours of a profile that fits; without one, by plain formulas."""
    if colours.mode == "LAB":
        return ImageCms.applyTransform(colours, _from_lab())
    if profile is None or profile.to_srgb is None:
        return colours.convert("RGB")
    return ImageCms.applyTransform(colours.convert(profile.mode), profile.to_srgb)


def from_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """An RGB `image` in the colours of a profile, in its mode; as it is where that is none or unusable."""
    try:
        conversion = read_profile(icc).from_srgb if icc else None
    except UnusableProfile:
        conversion = None
    return image if conversion is None else ImageCms.applyTransform(image, conversion)


def _check(mode: str, to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether the conversion changes nothing. UnusableProfile where it does not keep dark dark and light light."""
    ramp = np.arange(256, dtype=np.uint8)
    greys = Image.fromarray(ramp[None] if mode == "L" else np.repeat(ramp[None, :, None], 3, axis=2))
    if mode == "CMYK":
        black = 255 - ramp[None]
        greys = Image.merge("CMYK", [Image.fromarray(channel) for channel in (*(0 * black,) * 3, black)])
    lightness = np.asarray(ImageCms.applyTransform(greys, to_srgb).convert("L"), int)[0]
    is_rising = lightness[255] - lightness[0] >= 64 and np.diff(lightness).min() >= -4
    if not is_rising or not 8 <= lightness[128] <= 247:
        raise UnusableProfile
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probes = Image.fromarray(cube) if mode == "RGB" else greys
    converted = ImageCms.applyTransform(probes, to_srgb)
    return bool(np.abs(np.asarray(converted, int) - np.asarray(probes.convert("RGB"), int)).max() <= _SAME_WITHIN)


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB", _INTENT, _FLAGS)
