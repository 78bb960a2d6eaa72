"""Whether a JPEG file that was cut off still has all its pixels."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from PIL import Image, ImageChops

_END = b"\xff\xd9"
_SCAN = 0xDA
_PADDING = b"\0" * 8
_NOISE = (b"\x5a" * 64, bytes(range(1, 65)))
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # within a scan, 255 is followed by 0 or a restart marker


def is_ended(data: bytes) -> bool:
    """Whether the file has an end marker; data that a program appended after it are allowed."""
    try:
        first_scan = next(end for marker, _, end in _segments(data) if marker == _SCAN)
    except (IndexError, StopIteration):
        return False
    return data.find(_END, first_scan) >= 0  # in the data of a scan, 255 is followed by 0


def with_end_marker(data: bytes) -> bytes | None:
    """`data`, of a file whose end marker is missing or may be wrong, properly ended; None if pixels are missing.

    A decoder that has all pixels ignores the rest of the data, so the pixels must be the same whatever is appended.
    """
    data = data.removesuffix(_END)
    body = data.rstrip(b"\xff")  # half of the marker, or padding
    if body.endswith(_PADDING):
        body = data.rstrip(b"\0\xff")
        if data.startswith(b"\xff\0", len(body)):  # a byte of 255 in a scan
            body += b"\xff\0"
    if not _has_all_scans(body):
        return None
    decoded = _decode(body + _END)
    if any(ImageChops.difference(decoded, _decode(body + noise + _END)).getbbox() for noise in _NOISE):
        return None
    return body + _END


def ends_in_filling(image: Image.Image) -> bool:
    """Whether the last pixels have the grey that decoders fill missing pixels with."""
    width, height = image.size
    last = image.crop((max(width - 4, 0), height - 1, width, height))
    return image.mode in ("L", "RGB") and last.getextrema() in ((128, 128), ((128, 128),) * 3)


def _decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    image.load()
    return image


def _has_all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component is complete; progressive files store them bit by bit."""
    bits_left: dict[int, list[int | None]] = {}
    try:
        for marker, start, end in _segments(data):
            segment = data[start:end]
            if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):  # a frame
                bits_left = {segment[6 + 3 * i]: [None] * 64 for i in range(segment[5])}
            elif marker == _SCAN:
                components = [segment[1 + 2 * i] for i in range(segment[0])]
                first, last, bits = segment[-3], segment[-2], segment[-1] & 15
                for component in components:
                    bits_left[component][first : last + 1] = [bits] * (last + 1 - first)
    except (IndexError, KeyError):
        return False
    return bool(bits_left) and all(not any(left) and None not in left for left in bits_left.values())


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the content of each segment. IndexError if the data end within one."""
    position = 0
    while found := _NEXT_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker in (0x01, 0xD8):  # without content
            continue
        if marker == _END[1]:
            return
        end = position + (data[position] << 8 | data[position + 1])
        if end > len(data):
            raise IndexError
        yield marker, position + 2, end
        position = end
