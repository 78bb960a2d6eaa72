"""Colour profiles made from their definition: a matrix and a gamma, a gamma alone, or a table for four inks."""

from __future__ import annotations

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.6400, 0.3300), (0.2100, 0.7100), (0.1500, 0.0600))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
SRGB = ((0.6400, 0.3300), (0.3000, 0.6000), (0.1500, 0.0600))
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb(primaries: tuple, gamma: float | None, white: tuple[float, float] = D65) -> bytes:
    """A display's profile; gamma None: the curve of sRGB, as a table."""
    columns = to_d50(white) @ rgb_to_xyz(primaries, white)
    tags = {name: _xyz(columns[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma)))


def grey(gamma: float | None) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk() -> bytes:
    """Four inks on paper of lightness 95: a table of two levels an ink, from inks (0 none) to Lab."""
    nodes = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        lightness = 95 * (1 - 0.9 * k) * (1 - 0.25 * c) * (1 - 0.4 * m) * (1 - 0.08 * y)
        chroma = 0 if k else 1
        a, b = chroma * (-35 * c + 60 * m), chroma * (-45 * c + 80 * y)
        nodes += [lightness * 2.55, a + 128, b + 128]
    identity = np.tile(np.arange(256), 4).astype(np.uint8).tobytes()
    table = np.clip(np.rint(nodes), 0, 255).astype(np.uint8).tobytes()
    matrix = struct.pack(">9i", *(np.eye(3).ravel() * 65536).astype(int))
    out = np.tile(np.arange(256), 3).astype(np.uint8).tobytes()
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity + table + out
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def rgb_to_xyz(primaries: tuple, white: tuple[float, float] = D65) -> np.ndarray:
    """[3, 3]: linear RGB to XYZ, where RGB of (1, 1, 1) is `white`."""
    columns = np.array([_xyz_of(*primary) for primary in primaries]).T
    return columns * np.linalg.solve(columns, _xyz_of(*white))


def to_d50(white: tuple[float, float]) -> np.ndarray:
    """[3, 3]: the adaptation from this white to that of profiles (Bradford)."""
    scale = (_BRADFORD @ np.array(D50)) / (_BRADFORD @ _xyz_of(*white))
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD


def _xyz_of(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *np.rint(np.array(values) * 65536).astype(int))


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    x = np.linspace(0, 1, 1024)
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.rint(linear * 65535).astype(">u2").tobytes()


def _profile(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = tags | {b"wtpt": _xyz(np.array(D50)), b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)}
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    header = (
        struct.pack(">I", start + len(data)) + b"\0" * 4 + struct.pack(">I", 0x02400000) + device + space + connection
    )
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return header.ljust(128, b"\0") + table + data
