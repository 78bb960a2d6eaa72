"""Which image formats are read, and what to say about the others."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c"),
    )
)
"""What counts as an image in a folder; a file named outright may be called anything."""
FORMATS_READ = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF, PPM, PGM, TGA and JPEG 2000 are read"

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "PPM", "JPEG2000", "HEIF")
"""Named, because others run programs (EPS) or are no photographs. HEIF comes with pillow-heif."""
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


def formats_of(path: Path) -> list[str]:
    """Pillow's names of the formats that `path` may have, as far as they are installed."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    # A TGA has no magic number: much that is no image would be taken for one.
    untyped = ("TGA",) if path.suffix.lower() in (".tga", "") else ()
    return [name for name in (*_FORMATS, *untyped) if name in Image.OPEN]


def hint_for(file: BinaryIO, formats: list[str]) -> str:
    """What to do about a file in none of `formats`."""
    file.seek(0)
    head = file.read(12)
    brand = head[8:] if head[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and "HEIF" not in formats:
        return "its content is HEIC, which needs one more package: pip install pillow-heif"
    if brand in (b"avif", b"avis") and "AVIF" not in formats:
        return "its content is AVIF, which needs a newer Pillow: pip install 'pillow>=11.3'"
    return FORMATS_READ
