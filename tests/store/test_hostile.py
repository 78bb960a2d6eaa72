"""Files that would do harm if what is inside were run, or if their claims were believed: each is refused in one line.

Every payload would leave a mark in the folder of the test; none may.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.store import files
from restyle_cli.store.legacy import unpickle


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """The file that payloads would make; the test fails if it is there at the end."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "what is inside the file was run"


class Calls:
    """Pickled, it is an order to call `function` on reading."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def shell(mark: Path) -> Calls:
    return Calls(os.system, f"touch {mark}")


def evaluation(mark: Path) -> Calls:
    return Calls(builtins.eval, f"open({str(mark)!r}, 'w').close()")


def process(mark: Path) -> Calls:
    return Calls(subprocess.run, ["touch", str(mark)])


def opening(mark: Path) -> Calls:
    return Calls(io.open, str(mark), "w")


def inner(mark: Path) -> Calls:
    """The door by which PyTorch's own storages come, which unpickles freely."""
    data = io.BytesIO()
    torch.save(shell(mark), data, _use_new_zipfile_serialization=False)
    return Calls(torch.storage._load_from_bytes, data.getvalue())


PAYLOADS = [shell, evaluation, process, opening, inner]
WRITERS: dict[str, Callable[[Any, Path], Any]] = {
    "zip": lambda content, path: torch.save(content, path),
    "zip, protocol 4": lambda content, path: torch.save(content, path, pickle_protocol=4),
    "old": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle 2": lambda content, path: path.write_bytes(pickle.dumps(content, 2)),
    "pickle 4": lambda content, path: path.write_bytes(pickle.dumps(content, 4)),
    "pickle 5": lambda content, path: path.write_bytes(pickle.dumps(content, 5)),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda payload: payload,
    "as network": lambda payload: {"g_ema": payload},
    "as tensor": lambda payload: {"state_dict": OrderedDict(a=torch.zeros(2), b=payload)},
    "as option": lambda payload: {"state_dict": {"a": torch.zeros(2)}, "opts": {"seed": [1, (payload,)]}},
    "as key": lambda payload: [{"a": {payload: 1}}],
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("form", WRITERS)
def test_code_is_refused_and_not_run(tmp_path: Path, mark: Path, form: str, payload: Callable[[Path], Any]) -> None:
    for name, place in PLACES.items():
        WRITERS[form](place(payload(mark)), path := tmp_path / f"{name}.pt")
        refused(path)


def test_the_payloads_would_work(tmp_path: Path) -> None:
    """So that the tests above show something."""
    for index, payload in enumerate(PAYLOADS):
        path = tmp_path / f"mark-{index}"
        pickle.loads(pickle.dumps(payload(path)))
        assert path.exists(), payload


def test_what_was_asked_for_is_told(tmp_path: Path, mark: Path) -> None:
    torch.save({"g_ema": shell(mark)}, path := tmp_path / "x.pt")
    assert "system'" in refused(path).message
    assert "nothing of it was run" in refused(path).message


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_source_inside_a_network_pickle_is_not_run(tmp_path: Path, mark: Path, protocol: int) -> None:
    source = f"open({str(mark)!r}, 'w').close()"
    path = tmp_path / "net.pkl"
    own = foreign.generator()
    foreign.write_nvidia(path, foreign.nvidia_state(own), protocol, module_src=source)
    w = torch.randn(1, own.layers, foreign.W_DIM)
    torch.testing.assert_close(files.read_module(path)(w), own(w))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_code_beside_the_network_of_a_pickle(tmp_path: Path, mark: Path, payload: Callable[[Path], Any]) -> None:
    state = foreign.nvidia_state(foreign.generator())
    refused(foreign.write_nvidia(tmp_path / "a.pkl", state, augment_pipe=payload(mark)))
    refused(foreign.write_nvidia(tmp_path / "b.pkl", state, init={"seed": payload(mark)}))


def test_a_storage_that_is_something_else(tmp_path: Path, mark: Path) -> None:
    """The file inside the file that holds a tensor's numbers: with code, cut, or larger than it says."""
    good = torch.FloatStorage([1.0, 2.0]).__reduce__()[1][0]
    evil = io.BytesIO()
    torch.save(shell(mark), evil, _use_new_zipfile_serialization=False)
    at = good.rindex(struct.pack("<q", 2))
    for data in (evil.getvalue(), good[:-3], good + b"1234", good[:at] + struct.pack("<q", 9) + good[at + 8 :], b""):
        calls = Calls(torch.storage._load_from_bytes, data)
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G_ema": calls}))
        refused(tmp_path / "x.pkl")


def test_arrays_of_objects(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([shell(mark)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", w=np.array([shell(mark)], dtype=object))
    for name in ("x.npy", "x.npz"):
        refused(tmp_path / name)


def test_networks_of_tensorflow_are_told_the_way(tmp_path: Path) -> None:
    content = pickle.dumps((1, 2, Calls(_in("dnnlib.tflib.network", "Network"))), 4)
    (tmp_path / "x.pkl").write_bytes(content)
    error = refused(tmp_path / "x.pkl")
    assert "TensorFlow" in error.message
    assert "legacy.py" in (error.hint or "")


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    refused(tmp_path / "x.pt")
    torch.save({"model": Calls(_in("models.psp", "pSp"))}, tmp_path / "y.pt")
    error = refused(tmp_path / "y.pt")
    assert "'models.psp.pSp'" in error.message
    assert "state_dict()" in (error.hint or "")


# --- damaged, and larger than they are


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_and_changed_files(tmp_path: Path, zipped: bool) -> None:
    good = io.BytesIO()
    torch.save(foreign.checkpoint(foreign.generator(), None), good, _use_new_zipfile_serialization=zipped)
    data = good.getvalue()
    path = tmp_path / "x.pt"
    for part in (1, 100, len(data) // 3, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:part])
        refused(path)
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    if zipped:
        refused(path)  # the old form has no table at its end: there, zeros are numbers like others


def test_a_cut_network_pickle(tmp_path: Path) -> None:
    path = foreign.write_nvidia(tmp_path / "x.pkl", foreign.nvidia_state(foreign.generator()))
    data = path.read_bytes()
    for part in (2, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:part])
        refused(path)


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def good_members() -> dict[str, bytes]:
    data = io.BytesIO()
    torch.save({"g_ema": {"a": torch.arange(16.0)}}, data)
    with zipfile.ZipFile(data) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_zip_of_zeros(tmp_path: Path) -> None:
    zeros = {"x/data.pkl": b"\x80\x02}.", "x/data/0": bytes(50_000_000), "x/version": b"3\n"}
    path = archive(tmp_path / "x.pt", zeros, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "compressed" in refused(path).message
    refused(archive(tmp_path / "y.pt", {"x/data.pkl": bytes(1000)}))


def test_a_compressed_checkpoint_is_not_read(tmp_path: Path) -> None:
    """Reading it mapped would give the compressed bytes as numbers."""
    refused(archive(tmp_path / "x.pt", good_members(), zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x10tq", b"M\x00\x40tq"),  # so many elements in the storage
        (b"K\x10tq", b"K\x08tq"),
        (b"K\x10\x85", b"J\x00\x00\x00\x70\x85"),  # so many in the tensor
        (b"K\x01\x85", b"J\x00\x00\x00\x70\x85"),  # so far apart
        (b"FloatStorage", b"DoubleStorage"),
    ],
)
def test_tensors_larger_than_their_data(tmp_path: Path, old: bytes, new: bytes) -> None:
    members = good_members()
    table = next(name for name in members if name.endswith("data.pkl"))
    assert old in members[table]
    refused(archive(tmp_path / "x.pt", members | {table: members[table].replace(old, new)}))


def test_arrays_larger_than_their_data(tmp_path: Path) -> None:
    data = io.BytesIO()
    torch.save({"state_dict": {"a.weight": np.arange(6, dtype=np.float32)}}, data)
    with zipfile.ZipFile(data) as file:
        members = {name: file.read(name) for name in file.namelist()}
    table = next(name for name in members if name.endswith("data.pkl"))
    assert members[table].count(b"K\x06\x85") == 1  # its shape
    large = members[table].replace(b"K\x06\x85", b"J\x00\x00\x00\x70\x85")
    path = archive(tmp_path / "x.pt", members | {table: large})
    assert "an array of another size than it says" in refused(path).message


def test_lists_that_hold_themselves_many_times_over(tmp_path: Path) -> None:
    """Each level is one list, a thousand times."""
    value: Any = [0.5] * 1000
    for _ in range(5):
        value = [value] * 1000
    torch.save({"state_dict": {"a.weight": value}, "latent_avg": value}, tmp_path / "x.pt")
    assert "'latent_avg' is no array of numbers" in refused(tmp_path / "x.pt").message


def test_old_files_that_claim_terabytes(tmp_path: Path) -> None:
    data = io.BytesIO()
    torch.save({"g_ema": {"a": torch.arange(16.0)}}, data, _use_new_zipfile_serialization=False)
    path = tmp_path / "x.pt"
    path.write_bytes(data.getvalue().replace(b"K\x10N", b"\x8a\x06\x00\x00\x00\x00\x00\x01N"))
    assert "larger than itself" in refused(path).message


def test_archives_that_claim_more_than_they_have(tmp_path: Path) -> None:
    members = {f"x/{index}": bytes(100) for index in range(50)}
    path = archive(tmp_path / "x.pt", members | {"x/data.pkl": b"\x80\x02N."})
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    table = data[start:].replace(struct.pack("<II", 100, 100), struct.pack("<II", 10**9, 10**9))
    path.write_bytes(data[:start] + table)
    assert "claims more" in refused(path).message


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo of 2 billion places
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",  # bytes without end
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        b"\x80\x02U\x01aQ.",  # refers to something outside
        b"\x80\x02Pa\n.",
        b"\x80\x02\x82\x01.",  # the registry of short names
        b"\x80\x02(ios\nsystem\nN.",
        b"\x80\x02h\x05.",
        b"\x80\x0200.",
        b"\x80\x04\x8c\x02osN\x93.",
        b"\x80\x02}(K\x01K\x02u.",
        b"\x80\x02]K\x01\x85R.",  # a call of data
        b"\x80\x02ccollections\nOrderedDict\n}b.",  # a state for a function
        b"\x80\x02cargparse\nNamespace\n)R}X\x09\x00\x00\x00set_statecbuiltins\nset\nsb}b.",  # a method replaced
        b"\x80",
    ],
)  # fmt: skip
def test_pickles_that_would_break_the_machine(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    refused(path)


def test_pickles_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_INSTRUCTIONS", 1000)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + b"N0" * 600 + b"N.")
    assert "more than 1000 instructions" in refused(tmp_path / "x.pkl").message


def test_networks_inside_themselves(tmp_path: Path) -> None:
    """A module among its own modules, and one that is in itself twice a level."""
    path = tmp_path / "x.pkl"
    modules: dict[str, Any] = {}
    state = {"_parameters": {}, "_modules": modules}
    for _ in range(40):
        module = Calls(foreign._reconstruct_persistent_obj, {"class_name": "A", "state": state})
        state = {"_modules": {"a": module, "b": module}}
    with foreign._as_nvidia():
        path.write_bytes(pickle.dumps({"G_ema": module}))
    refused(path)


def test_deep_keys_are_not_hashed(tmp_path: Path) -> None:
    """Hashing a tuple that is nested deeply enough ends the process: in dicts, in sets, and in what makes them."""
    path, deep = tmp_path / "x.pkl", b"\x80\x04)" + b"\x85" * 200_000 + b"\x94"
    calls = [b"cbuiltins\nset\n]h\x00a\x85", b"ccollections\nOrderedDict\n]h\x00N\x86a\x85"]
    for rest in (b"}h\x00Ns.", b"\x8f(h\x00\x90.", b"(h\x00\x91.", *(call + b"R." for call in calls)):
        path.write_bytes(deep + rest)
        assert "damaged" in refused(path).message


def test_deep_values_are_read_and_deleted(tmp_path: Path) -> None:
    for data in (b"\x80\x02)" + b"\x85" * 200_000 + b".", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."):
        (tmp_path / "x.pkl").write_bytes(data)
        refused(tmp_path / "x.pkl")
    weights = b"\x80\x02}X\x03\x00\x00\x00a.b" + b"]" * 100_000 + b"a" * 99_999 + b"s."
    (tmp_path / "x.pkl").write_bytes(weights)
    refused(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), bytes(257) + b"ustar" + bytes(250)],
    ids=["empty", "page", "zip", "empty zip", "tar"],
)
def test_files_of_other_kinds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    refused(tmp_path / "x.pt")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt", good_members() | {"archive/code/__torch__.py": b"op_version_set = 1"})
    assert "TorchScript" in refused(path).message


def refused(path: Path) -> RestyleError:
    """The one error that reading the file gives, whole and described."""
    caught = []
    for read in (files.read_module, files.describe):
        with pytest.raises(RestyleError) as error:
            read(path)
        caught.append(error.value)
        assert path.name in error.value.message
        assert "\n" not in error.value.message
        assert error.value.hint
    return caught[0]


class _Elsewhere(type):
    """Of classes that say they are of another module, for pickle to write down."""


def _in(module: str, name: str) -> type:
    made = _Elsewhere(name, (), {"__module__": module})
    parts = module.split(".")
    for index in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: index + 1]), types.ModuleType(".".join(parts[: index + 1])))
    setattr(sys.modules[module], name, made)
    return made
