"""Sources of training images: folders, zip files, pairs, and a generator's samples."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from restyle_cli.align import AlignOptions, aligned_mark
from restyle_cli.data.folder import Folder, split
from restyle_cli.data.generated import Generated
from restyle_cli.data.pairs import Pairs
from restyle_cli.data.source import Batch, Batches
from restyle_cli.errors import RestyleError
from restyle_cli.images import save_image

SIZE = (32, 32)


def write_images(folder: Path, count: int, side: int = 48) -> Path:
    """Images of one colour each, with a dark left half, so that mirrored ones can be told."""
    for k in range(count):
        pixels = np.full((side, side, 3), 40 + 10 * k, np.uint8)
        pixels[:, : side // 2] = 0
        save_image(Image.fromarray(pixels), folder / f"{k:02}.png", aligned_mark())
    return folder


def folder_of(path: Path, cache: Path, flip: bool = False, share: float = 0.25) -> Folder:
    return Folder(path, SIZE, cache, AlignOptions("never"), flip, share)


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(k) for k in range(count)]


def test_folder_is_aligned_once_split_and_read(tmp_path: Path) -> None:
    source = folder_of(write_images(tmp_path / "photos", 8), tmp_path / "cache")
    notes: list[str] = []
    source.prepare(notes.append)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(written) == 8
    assert source.length is not None
    held_out = source.validation(8)
    assert source.length + len(held_out.y) == 8
    assert notes == [f"{source.length} images to train on, {len(held_out.y)} for validation"]
    batch = source.batch(range(source.length), rngs(source.length))
    assert batch.y.shape == (source.length, 3, *SIZE)
    assert torch.equal(batch.x, batch.y)
    assert not set(batch.names) & set(held_out.names)
    assert float(batch.y.min()) == -1
    again = folder_of(tmp_path / "photos", tmp_path / "cache")
    again.prepare(notes.append)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written


def test_half_of_the_images_are_mirrored(tmp_path: Path) -> None:
    source = folder_of(write_images(tmp_path / "photos", 2), tmp_path / "cache", flip=True)
    source.prepare(lambda text: None)
    images = source.batch([0] * 200, rngs(200)).y
    mirrored = images[:, 0, 16, 4] > images[:, 0, 16, 28]
    assert 70 < int(mirrored.sum()) < 130


def test_unusable_images_are_named_and_skipped(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "photos", 3)
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    notes: list[str] = []
    source = folder_of(photos, tmp_path / "cache")
    source.prepare(notes.append)
    assert sum("broken.png" in note and note.startswith("skipped: ") for note in notes) == 1
    assert source.length == 2


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(tmp_path: Path, count: int) -> None:
    (tmp_path / "photos").mkdir()
    source = folder_of(write_images(tmp_path / "photos", count), tmp_path / "cache")
    with pytest.raises(RestyleError, match=r"no (images|pictures)|needs at least 2"):
        source.prepare(lambda text: None)


def test_zip_file_reads_as_its_folder(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "photos", 5)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.iterdir():
            archive.write(path, f"inside/{path.name}")
        archive.writestr("__MACOSX/._00.png", b"")
        archive.writestr("../../outside.png", (photos / "00.png").read_bytes())
        archive.writestr("inside/broken.jpg", b"no image")
    notes: list[str] = []
    source = folder_of(tmp_path / "photos.zip", tmp_path / "cache")
    source.prepare(notes.append)
    assert [note for note in notes if note.startswith("skipped")] == [
        note for note in notes if "inside/broken.jpg" in note
    ]
    names = {*source.batch(range(source.length or 0), rngs(source.length or 0)).names, *source.validation(9).names}
    assert "inside/00.png" in names
    assert not (tmp_path.parent.parent / "outside.png").exists()
    assert not (tmp_path.parent / "outside.png").exists()


@pytest.mark.parametrize("content", [b"PK\x03\x04 damaged", b""])
def test_damaged_zip_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photos.zip").write_bytes(content)
    with pytest.raises(RestyleError, match=r"photos\.zip"):
        folder_of(tmp_path / "photos.zip", tmp_path / "cache").prepare(lambda text: None)


def test_split_does_not_move_images_when_others_come() -> None:
    names = [(f"{k}.png", k) for k in range(200)]
    training, held_out = split(names, 0.1)
    assert 8 <= len(held_out) <= 32
    _, more = split([*names, *((f"new {k}.png", k) for k in range(200))], 0.1)
    assert set(held_out) <= set(more)
    assert set(training) | set(held_out) == set(names)
    assert [len(part) for part in split(names[:2], 0.0001)] == [1, 1]


def test_pairs_have_the_same_names(tmp_path: Path) -> None:
    inputs, targets = write_images(tmp_path / "sketches", 5), write_images(tmp_path / "photos", 4)
    source = Pairs(inputs, targets, SIZE, flip=True, share=0.25, labels=True)
    notes: list[str] = []
    source.prepare(notes.append)
    assert notes == ["skipped: '04' has no partner of the same name"]
    count = source.length or 0
    batch = source.batch([0] * 40, rngs(40))
    assert torch.equal(batch.x > -1, batch.y > -0.9)  # both are mirrored, or neither
    assert len(batch.x.unique()) == 2  # labels are not mixed
    assert count + len(source.validation(4).names) == 4
    with pytest.raises(RestyleError, match="fewer than two images with the same names"):
        Pairs(inputs, write_images(tmp_path / "one", 1), SIZE, False, 0.5, False).prepare(lambda text: None)


def test_samples_of_a_generator_come_with_their_latents() -> None:
    generator = tiny.generator()
    source = Generated(generator, SIZE, truncation=0.5)
    batch = source.batch([3, 4], rngs(2))
    assert batch.w is not None
    assert torch.equal(batch.y, generator(batch.w).clamp(-1, 1))
    assert not torch.equal(batch.y[0], batch.y[1])
    whole = Generated(generator, SIZE, truncation=1.0).batch([3, 4], rngs(2))
    assert whole.w is not None
    torch.testing.assert_close(batch.w - generator.w_avg, 0.5 * (whole.w - generator.w_avg))
    assert torch.equal(source.validation(2).y, source.validation(3).y[:2])


class Numbers:
    """A source whose images are their own numbers."""

    length = 5

    def prepare(self, note: object) -> None:
        pass

    def batch(self, indices: list[int], rngs: list[np.random.Generator]) -> Batch:
        y = torch.tensor([float(index) for index in indices])[:, None, None, None].expand(-1, 3, 1, 1)
        return Batch(y, y + torch.tensor([float(rng.random()) for rng in rngs])[:, None, None, None], [""] * len(y))

    def validation(self, count: int) -> Batch:
        raise NotImplementedError


def test_batches_follow_from_the_step_and_processes_share_them() -> None:
    whole = Batches(Numbers(), 4, seed=7)
    ahead = whole.starting_at(0)
    steps = [next(ahead) for _ in range(5)]
    epochs = torch.cat([batch.x[:, 0, 0, 0] for batch in steps]).view(4, 5)
    assert all(sorted(epoch.tolist()) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1
    resumed = whole.starting_at(3)
    assert torch.equal(next(resumed).y, steps[3].y)
    shares = [Batches(Numbers(), 4, 7, rank, 2).of_step(3) for rank in (0, 1)]
    assert torch.equal(torch.cat([share.y for share in shares]), steps[3].y)
    assert not torch.equal(next(Batches(Numbers(), 4, seed=8).starting_at(0)).y, steps[0].y)


def test_a_batch_is_split_into_equal_parts() -> None:
    batch = Batches(Numbers(), 4, seed=0).of_step(0)
    parts = batch.split(2)
    assert [len(part.names) for part in parts] == [2, 2]
    assert torch.equal(torch.cat([part.x for part in parts]), batch.x)
    assert [len(part.names) for part in batch.split(8)] == [1, 1, 1, 1]
