"""More than 8 bits, floats and transparency: which values are black, white and missing."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiff import write_tiff

from restyle_cli.align import AlignOptions, align_image
from restyle_cli.align.mask import Mask
from restyle_cli.errors import RestyleWarning
from restyle_cli.images import open_image, open_original, to_tensor

NEVER = AlignOptions(mode="never")


def ramp(width: int = 256, height: int = 64) -> np.ndarray:
    """Levels [height, width] from 0 to 255."""
    return np.tile(np.linspace(0, 255, width), (height, 1))


def grey(path: Path) -> np.ndarray:
    """The levels [H, W] of a grey image as it is read."""
    return np.asarray(open_image(path), float)[..., 0]


def reread(values: np.ndarray, path: Path) -> np.ndarray:
    Image.fromarray(values).save(path)
    return grey(path)


RANGES = {
    "floats of 0..1": ramp().astype(np.float32) / 255,
    "floats of 0..255": ramp().astype(np.float32),
    "floats of 0..65535": ramp().astype(np.float32) * 257,
    "floats of -1..1": ramp().astype(np.float32) / 127.5 - 1,
    "integers of 0..255": ramp().round().astype(np.int32),
    "integers of 0..65535": (ramp() * 257).round().astype(np.int32),
    "integers of 31 bits": (ramp() / 255 * (2**31 - 1)).astype(np.int32),
    "16 bits": (ramp() * 257).round().astype(np.uint16),
    "16 bits, 8 used": ramp().round().astype(np.uint16),
}


@pytest.mark.parametrize("what", RANGES)
def test_usual_ranges(tmp_path: Path, what: str) -> None:
    assert np.abs(reread(RANGES[what], tmp_path / "x.tif") - ramp()).max() <= 1


@pytest.mark.parametrize("what", ["floats of 0..1", "floats of 0..255", "floats of 0..65535"])
@pytest.mark.parametrize("stray", [1.0001, 1.3, 40.0, 1e9, np.inf, -np.inf, np.nan, -5.0])
def test_a_stray_value_does_not_change_the_range(tmp_path: Path, what: str, stray: float) -> None:
    values = RANGES[what].copy()
    values[10, 10] = values.max() * stray
    levels = reread(values, tmp_path / "x.tif")
    assert np.abs(levels - ramp())[values == RANGES[what]].max() <= 1


@pytest.mark.parametrize("overshoot", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("is_float", [True, False])
def test_ringing_is_clipped(tmp_path: Path, overshoot: float, is_float: bool) -> None:
    values = (ramp() / 255).astype(np.float32)
    values[::3, -80:] = 1 + overshoot
    values[1::3, :80] = -overshoot / 2
    stored = values if is_float else np.rint(values * 255).astype(np.int32)
    assert np.abs(reread(stored, tmp_path / "x.tif") - np.clip(values * 255, 0, 255)).max() <= 1


def test_values_that_are_not_finite_are_transparent(tmp_path: Path) -> None:
    values = (ramp() / 255).astype(np.float32)
    values[:20, :20], values[30:, :20] = np.nan, np.inf
    assert (reread(values, tmp_path / "x.tif")[:20, :20] == 255).all()  # on white
    original = open_original(tmp_path / "x.tif")
    assert original.mode == "LA"
    assert np.array_equal(np.asarray(original)[..., 1] == 0, ~np.isfinite(values))


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize(("kind", "sample_format"), [("u2", 1), ("i2", 2), ("u4", 1), ("i4", 2), ("f4", 3), ("f8", 3)])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_types_and_byte_orders(tmp_path: Path, mode: str, kind: str, sample_format: int, byte_order: str) -> None:
    if (kind[0] == "i" and mode != "L") or (mode == "LA" and kind != "u2"):
        pytest.skip("no program writes these")
    top = 1 if kind[0] == "f" else np.iinfo(kind).max
    channels = [ramp(), ramp()[:, ::-1], ramp() / 2, 255 - ramp() / 2][: len(mode)]
    right = channels[0] if mode == "L" else np.stack(channels, axis=-1)
    write_tiff(tmp_path / "x.tif", (right / 255 * top).astype(f"{byte_order}{kind}"), sample_format)
    original = open_original(tmp_path / "x.tif")
    assert original.mode == mode
    assert np.abs(np.asarray(original, float) - right).max() <= 1


def test_stray_values_in_colours_of_floats(tmp_path: Path) -> None:
    values = np.stack([ramp(), ramp(), 255 - ramp()], axis=-1).astype(np.float32) / 255
    values[3, 3], values[5, 5, 0], values[7, 7] = 1.4, np.nan, 1e6
    write_tiff(tmp_path / "x.tif", values, 3, orientation=6)
    original = open_original(tmp_path / "x.tif")
    assert original.size == (64, 256)
    upright = np.rot90(np.clip(np.nan_to_num(values), 0, 1) * 255, -1)
    pixels = np.asarray(original, float)
    opaque = pixels[..., 3] == 255
    assert (~opaque).sum() == 1
    assert np.abs(pixels[..., :3] - upright)[opaque].max() <= 1


def test_white_may_be_zero(tmp_path: Path) -> None:
    write_tiff(tmp_path / "x.tif", (ramp() * 257).astype("<u2"), 1, interpretation=0)
    assert np.abs(grey(tmp_path / "x.tif") - (255 - ramp())).max() <= 1


def test_a_dark_16_bit_photo_stays_dark(tmp_path: Path) -> None:
    assert np.abs(reread((ramp() * 257 / 16).astype(np.uint16), tmp_path / "x.png") - ramp() / 16).max() <= 1


@pytest.mark.parametrize("top", [255, 1023, 65535])
def test_white_of_a_pgm_is_in_its_header(tmp_path: Path, top: int) -> None:
    values = (ramp() / 255 * top).round().astype(">u2" if top > 255 else "u1")
    (tmp_path / "x.pgm").write_bytes(b"P5 256 64 %d\n" % top + values.tobytes())
    assert np.abs(grey(tmp_path / "x.pgm") - ramp()).max() <= 1


def test_a_dark_pgm_stays_dark(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 256 64 65535\n" + ramp().astype(">u2").tobytes())
    assert grey(tmp_path / "x.pgm").max() <= 1


def test_the_range_of_a_large_image_is_that_of_a_sample(tmp_path: Path) -> None:
    values = np.resize(ramp(3000, 10) / 255, (2500, 3000)).astype(np.float32)
    assert abs(reread(values, tmp_path / "x.tif").mean() - 127.5) < 1


# --- all black, all white


@pytest.mark.parametrize(
    ("values", "level"),
    [
        (np.zeros((64, 64), np.uint8), "black"),
        (np.full((64, 64), 255, np.uint8), "white"),
        (np.full((64, 64), 700, np.uint16), "black"),
        (np.zeros((64, 64), np.float32), "black"),
        (np.full((64, 64), np.nan, np.float32), "white"),
        ((ramp() * 16).astype(np.uint16), "black"),  # 12 bits used of 16
    ],
)
def test_an_image_without_content_is_a_warning(tmp_path: Path, values: np.ndarray, level: str) -> None:
    name = "x.tif" if values.dtype == np.float32 else "x.png"
    with pytest.warns(RestyleWarning, match=rf"{name}' reads as all {level}"):
        reread(values, tmp_path / name)


def test_an_image_with_a_little_content_is_no_warning(tmp_path: Path) -> None:
    sketch = np.full((256, 256), 255, np.uint8)
    sketch[100:104] = 0
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 40:] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in (sketch, 255 - sketch, labels):
            reread(values, tmp_path / "x.png")


# --- transparency


def write_png(path: Path, rows: list[bytes], width: int, depth: int, kind: int, transparent: bytes) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))

    header = struct.pack(">LLBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks))


def test_transparent_pixels_are_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (255, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("LA", (16, 16), (0, 0)).save(tmp_path / "grey.png")
    palette = Image.new("RGB", (16, 16), "red").quantize(4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    levels = [open_image(tmp_path / name).getpixel((0, 0)) for name in ("half.png", "grey.png", "palette.png")]
    assert levels == [(255, 127, 127), (255, 255, 255), (255, 255, 255)]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth(tmp_path: Path, depth: int) -> None:
    """The upper half has the transparent level, the lower half another."""
    top = 2**depth - 1
    halves = [np.full(16, level) for level in (top, top // 3) for _ in range(16)]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in halves]
    else:
        rows = [np.packbits((row[:, None] >> np.arange(depth)[::-1]) & 1).tobytes() for row in halves]
    write_png(tmp_path / "x.png", rows, 16, depth, 0, struct.pack(">H", top))
    original = open_original(tmp_path / "x.png")
    assert original.mode == "LA"
    assert original.getpixel((0, 0))[1] == 0
    assert original.getpixel((0, 31)) == (85 if depth > 1 else 0, 255)
    assert open_image(tmp_path / "x.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    rows = [np.tile(np.array(colour, ">u2"), 16).tobytes() for colour in ((65535, 1000, 300), (40000, 1000, 300)) * 8]
    write_png(tmp_path / "x.png", rows, 16, 16, 2, struct.pack(">3H", 65535, 1000, 300))
    alpha = np.asarray(open_original(tmp_path / "x.png"))[..., 3]
    assert (alpha[::2] == 0).all()
    assert (alpha[1::2] == 255).all()


def test_paste_back_keeps_transparency(
    tmp_path: Path, tiny_store: Path, restyle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16-bit grey with few transparent pixels: the photo stays a photo."""
    monkeypatch.chdir(tmp_path)
    values = (ramp(64) * 257).astype(np.uint16)
    write_png(Path("x.png"), [row.astype(">u2").tobytes() for row in values], 64, 16, 0, struct.pack(">H", 0))
    assert restyle("align", "x.png", "--align", "never", "-o", "crops").exit_code == 0
    assert restyle("invert", "x.png", "-n", 1, "--align", "never", "--paste-back", "-o", "out").exit_code == 0
    pasted = Image.open("out/x.pasted.png")
    assert pasted.mode == "LA"
    assert np.array_equal(np.asarray(pasted)[..., 1] == 0, values == 0)
    assert np.asarray(pasted)[..., 0].std() > 5


@pytest.mark.parametrize(
    "values",
    [np.float32(1), np.float32(255), np.int32(1), np.int32(255), np.uint16(1), np.uint16(255), np.uint16(65535)],
)
def test_masks_of_any_depth(tmp_path: Path, values: np.generic) -> None:
    painted = np.zeros((64, 64), values.dtype)
    painted[:, :32] = values
    if values.dtype == np.float32:
        painted[40:, 40:] = np.nan
    Image.fromarray(painted).save(tmp_path / "mask.tif")
    aligned = align_image(Image.new("RGB", (64, 64)), NEVER, (32, 32), Path("x"))[0]
    _, weights = Mask(tmp_path / "mask.tif").apply(aligned, (64, 64), NEVER, (32, 32))
    assert float(weights[..., :15].min()) == 1
    assert float(weights[..., 17:].max()) == 0


def test_tensors_of_deep_images_are_in_range(tmp_path: Path) -> None:
    Image.fromarray((ramp() / 255 * 1.2 - 0.1).astype(np.float32)).save(tmp_path / "x.tif")
    x = to_tensor(open_image(tmp_path / "x.tif"))
    assert (x.min().item(), x.max().item()) == (-1, 1)
