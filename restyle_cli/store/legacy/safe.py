"""Read checkpoints of other projects as tensors and plain values. Nothing inside them is executed.

Five forms are read, each also packed with gzip: PyTorch's archives (`torch.save` since 1.6), its older files, NVIDIA's
network pickles, safetensors, and dlib's face network. The first three contain pickles, which `unpickle` reads.
"""

from __future__ import annotations

import functools
import gzip
import io
import mmap
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.io import check_regular, open_regular
from restyle_cli.store.inputs import metadata, read_safetensors_header, written_by_restyle
from restyle_cli.store.legacy import dlib
from restyle_cli.store.legacy.allowlist import find
from restyle_cli.store.legacy.unpickle import BoundedFile, RefusedFile, check_storage, damaged, read_old_torch, unpickle

MAX_FILE = 16 * 10**9
"""Bytes of the largest file that is read; the largest published one has 3 GB."""
MAX_PICKLE = 64 * 1024 * 1024
"""Bytes of an archive's table of contents; published ones have some 100 kB."""
MAX_MEMBERS = 100_000
MAX_RATIO, MAX_SMALL = 20, 64 * 1024 * 1024
"""How much larger than the packed file its content may be, beyond so many bytes. Weights hardly get smaller."""
_GZIP = b"\x1f\x8b"
_OLD_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The magic number of PyTorch's files before 1.6."""


def is_foreign(path: Path) -> bool:
    """Whether the file is not in restyle's format, by its first bytes. RestyleError when it cannot be read.

    Safetensors begin with the length of the header, which can be the first bytes of another format.
    """
    start = _beginning(path)
    if _is_safetensors(start):
        return _of_another_project(path)
    return start.startswith((b"PK", b"\x80", b"\x93NUMPY", _GZIP, dlib.START)) or start[257:262] == b"ustar"


def read_checkpoint(path: Path, mapped: bool = False) -> Any:
    """The content of a foreign file: dicts of tensors and plain values, and `PickledModule`s.

    With `mapped`, tensors are in the mapped file where its format allows. RestyleError, one sentence, for everything
    that is not a complete and harmless checkpoint.
    """
    try:
        if _beginning(path).startswith(_GZIP):
            with _unpacked(path) as plain:
                return _read(plain, mapped=False)  # from a file that is gone afterwards
        return _read(path, mapped)
    except RefusedFile as error:
        raise refusal(path, error) from error


def _read(path: Path, mapped: bool) -> Any:
    start = _beginning(path)
    if path.stat().st_size > MAX_FILE:
        raise RefusedFile(f"is larger than {MAX_FILE / 1e9:.0f} GB")
    if _is_safetensors(start):
        return _read_safetensors(path, mapped)
    if start.startswith(b"PK"):
        return _read_archive(path, mapped)
    if start.startswith(_OLD_TORCH):
        with _bounded(path) as file:
            return read_old_torch(file, path.stat().st_size, find)
    if start.startswith(dlib.START):
        return dlib.read_dlib(path)
    if start.startswith(b"\x80"):
        with _bounded(path) as file:
            return unpickle(file, find)
    if start[257:262] == b"ustar":
        raise RefusedFile("was written by a PyTorch older than 0.4")
    if start.startswith(b"\x93NUMPY"):
        raise RefusedFile("contains an array, not a model")
    raise RefusedFile("is no checkpoint in a format that restyle knows")


def refusal(path: Path, error: RefusedFile) -> RestyleError:
    """The error for a file that is refused."""
    hint = error.hint or "download it again from where it was published; restyle executes nothing inside such files"
    return RestyleError(f"'{path}' {error.message}", hint)


def _beginning(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(512)
    except OSError as error:
        raise RestyleError(f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The content of a file packed with gzip, in a temporary file."""
    most = min(MAX_FILE, MAX_SMALL + MAX_RATIO * path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "content"
        try:
            with gzip.open(path) as packed, plain.open("wb") as file:
                while piece := packed.read(1 << 20):
                    if file.tell() + len(piece) > most:
                        raise RefusedFile("unpacks to far more than weights do")
                    file.write(piece)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged() from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = f"it is unpacked in '{tempfile.gettempdir()}': free some space there, or unpack it with gunzip"
            raise RestyleError(f"'{path}' cannot be unpacked: {reason}", hint) from error
        yield plain


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < MAX_PICKLE


def _of_another_project(path: Path) -> bool:
    """Whether a safetensors file has tensors and was not written by restyle. False for damaged files."""
    try:
        header = read_safetensors_header(path)
    except RestyleError:
        return False
    return not written_by_restyle(header) and any(name != "__metadata__" for name in header)


def _read_safetensors(path: Path, mapped: bool) -> Any:
    """The tensors, and the metadata as `opts`."""
    header = read_safetensors_header(path)
    try:
        tensors: dict[str, Any] = dict(load_file(path))  # which maps the file
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged() from error
    if not mapped:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    opts = {name: value for name, value in metadata(header).items() if name != "format"}  # "pt" in every file
    return tensors | {"opts": opts["opts"] if isinstance(opts.get("opts"), dict) else opts}


def _read_archive(path: Path, mapped: bool) -> Any:
    members = _members(path)
    tables = [name for name in members if name.endswith("/data.pkl")]
    if len(tables) != 1 or any("/code/" in name for name in members):
        what = "a TorchScript program" if tables else "an archive of something else"
        raise RefusedFile(f"is {what}, not a checkpoint of PyTorch")
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members.values()):
        raise RefusedFile("is a compressed archive, which PyTorch never writes")  # zip bombs are compressed
    sizes = {name: member.file_size for name, member in members.items()}
    if sum(sizes.values()) > path.stat().st_size or sizes[tables[0]] > MAX_PICKLE:
        raise RefusedFile("is an archive that claims more than it has")
    root = tables[0].removesuffix("data.pkl")
    try:
        with _bounded(path) as file:
            offsets = {name: _data_offset(file, member) for name, member in members.items()}
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if mapped else None

            def read(name: str) -> bytearray:
                file.seek(offsets[name])
                content = bytearray(sizes[name])
                if file.readinto(content) < sizes[name]:
                    raise damaged()
                return content

            @functools.cache
            def tensor(key: str, dtype: torch.dtype, count: int) -> Tensor:
                name = f"{root}data/{key}"
                if sizes.get(name) != count * dtype.itemsize:
                    raise RefusedFile("has tensors of other sizes than it says")
                if count == 0:
                    return torch.empty(0, dtype=dtype)
                if data is None:
                    return torch.frombuffer(read(name), dtype=dtype)
                return torch.frombuffer(data, dtype=dtype, count=count, offset=offsets[name])

            def storage(reference: Any) -> Tensor:
                kind, dtype, key, _, count = reference
                check_storage(kind, dtype, key, count)
                return tensor(key, dtype, count)

            return unpickle(io.BytesIO(read(tables[0])), find, storage)
    except OSError as error:
        raise damaged() from error


def _data_offset(file: BoundedFile, member: zipfile.ZipInfo) -> int:
    """Where the content of a stored member begins: behind its local header, name and extra field."""
    file.seek(member.header_offset)
    header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise damaged()
    return member.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of the archive by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged() from error
    named = {member.filename: member for member in members}
    if len(members) > MAX_MEMBERS or len(named) != len(members):
        raise RefusedFile("is an archive with too many members, or with two of one name")
    return named


@contextmanager
def _bounded(path: Path) -> Iterator[BoundedFile]:
    check_regular(path)
    with BoundedFile(path.open("rb", buffering=0)) as file:
        yield file
