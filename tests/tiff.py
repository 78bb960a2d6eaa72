"""TIFF directories written by hand, with any tags and byte order."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL, FLOAT = 1, 2, 3, 4, 5, 10, 11
WIDTHS = {SHORT: 2, LONG: 4, RATIONAL: 8, SRATIONAL: 8, FLOAT: 4}
ORIENTATION = 0x0112


def directory(*entries: tuple[int, int, bytes], order: str = "<", start: int = 8) -> bytes:
    """A directory at the offset `start`, of (tag, type, value in bytes of `order`), and the values that do not fit."""
    entry, more = struct.pack(f"{order}H", len(entries)), b""
    end = start + 2 + 12 * len(entries) + 4
    for number, kind, value in entries:
        entry += struct.pack(f"{order}HHL", number, kind, len(value) // WIDTHS.get(kind, 1))
        entry += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}L", end + len(more))
        more += value if len(value) > 4 else b""
    return entry + bytes(4) + more


def head(order: str = "<", start: int = 8) -> bytes:
    """The first eight bytes of a file with its directory at `start`."""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)


def short(*values: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(values)}H", *values)


def long(*values: int, order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(values)}L", *values)


def write_tiff(
    path: Path, values: np.ndarray, sample_format: int, interpretation: int | None = None, orientation: int = 1
) -> None:
    """An uncompressed TIFF of [H, W] or [H, W, C] in the byte order of `values`, with alpha as 2nd or 4th sample."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    (height, width), samples = values.shape[:2], values.shape[2] if values.ndim == 3 else 1
    data = values.tobytes()
    shorts = {
        258: [values.dtype.itemsize * 8] * samples,
        259: [1],
        262: [interpretation if interpretation is not None else 2 if samples > 2 else 1],
        ORIENTATION: [orientation],
        277: [samples],
        **({338: [2]} if samples in (2, 4) else {}),
        339: [sample_format] * samples,
    }
    longs = {256: width, 257: height, 273: 8, 278: height, 279: len(data)}
    entries = [(tag, SHORT, short(*content, order=order)) for tag, content in shorts.items()]
    entries += [(tag, LONG, long(content, order=order)) for tag, content in longs.items()]
    start = 8 + len(data)
    path.write_bytes(head(order, start) + data + directory(*sorted(entries), order=order, start=start))
