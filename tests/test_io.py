"""Files are written completely or not at all, also by processes that are killed or that write at the same time."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from restyle_cli import io
from restyle_cli.errors import RestyleError
from restyle_cli.io import csv_name, open_regular, temporary_of, to_json, write_atomic

KILLED = """
import os, sys
from pathlib import Path
from restyle_cli.io import write_atomic

def write(part):
    part.write_bytes(b"half")
    os.kill(os.getpid(), 9)

write_atomic(Path(sys.argv[1]), write)
"""
SLOW = """
import sys
from pathlib import Path
from restyle_cli.io import write_atomic

def write(part):
    part.write_bytes(b"theirs")
    print("writing", flush=True)
    sys.stdin.readline()

write_atomic(Path(sys.argv[1]), write)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def kill_while_writing(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def stop(path: Path) -> None:
        path.write_bytes(b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "x.bin", stop)
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_atomic(tmp_path / "ours", lambda path: path.touch())
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_next_write_of_the_same_file_removes_an_abandoned_one(tmp_path):
    write_atomic(tmp_path / "x.bin", lambda part: part.write_bytes(b"old"))
    kill_while_writing(tmp_path / "x.bin")
    assert len(names(tmp_path)) == 2
    assert (tmp_path / "x.bin").read_bytes() == b"old"
    write_atomic(tmp_path / "x.bin", lambda part: part.touch())
    assert names(tmp_path) == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b""  # and nothing of the other


def test_the_next_process_removes_all_abandoned_files_in_the_folder(tmp_path):
    kill_while_writing(tmp_path / "x.bin")
    kill_while_writing(tmp_path / "y.bin")
    assert len(names(tmp_path)) == 1  # the second cleared that of the first
    (tmp_path / ".restyle-notes.part").write_bytes(b"somebody's")
    write_atomic(tmp_path / "z.bin", lambda part: part.touch())
    assert names(tmp_path) == [".restyle-notes.part", "z.bin"]


def test_a_process_that_is_writing_is_not_disturbed(tmp_path):
    code = [sys.executable, "-c", SLOW, str(tmp_path / "x.bin")]
    other = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"writing\n"
        write_atomic(tmp_path / "y.bin", lambda part: part.write_bytes(b"ours"))
        io.remove_abandoned(tmp_path)
        assert temporary_of(tmp_path / "x.bin").read_bytes() == b"theirs"

        waiting = threading.Thread(target=write_atomic, args=(tmp_path / "x.bin", lambda part: part.write_bytes(b"2")))
        waiting.start()
        time.sleep(0.2)
        assert not (tmp_path / "x.bin").exists()
        other.communicate(b"\n", timeout=60)
        waiting.join(timeout=60)
    finally:
        other.kill()
        other.wait()
    assert (tmp_path / "x.bin").read_bytes() == b"2"
    assert names(tmp_path) == ["x.bin", "y.bin"]


def test_many_writers_of_one_file(tmp_path):
    def write(number: int) -> None:
        for _ in range(20):
            write_atomic(tmp_path / "x.bin", lambda part: part.write_bytes(bytes([number]) * 10_000))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["x.bin"]
    content = (tmp_path / "x.bin").read_bytes()
    assert len(content) == 10_000
    assert len(set(content)) == 1


def test_the_longest_names_can_be_written(tmp_path):
    path = tmp_path / ("é" * 125 + "x.png")
    assert len(os.fsencode(path.name)) == 255
    write_atomic(path, lambda part: part.write_bytes(b"x"))
    assert names(tmp_path) == [path.name]
    with pytest.raises(RestyleError, match="file name too long"):
        write_atomic(tmp_path / ("x" * 256), lambda part: part.touch())
    assert names(tmp_path) == [path.name]


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    temporary_of(tmp_path / "x.bin").symlink_to("precious")
    with pytest.raises(RestyleError, match="cannot write"):
        write_atomic(tmp_path / "x.bin", lambda part: part.write_bytes(b"x"))
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="named pipe"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError) as caught:
        open_regular(tmp_path)
    assert caught.value.errno == errno.EISDIR


def test_json_of_names_that_are_not_utf8():
    name = os.fsdecode(b"caf\xe9 \xc3\xa9.jpg")
    text = to_json({"input": name, "other": "é"}, 1)
    assert json.loads(text.encode())["input"] == name
    assert "é" in to_json({"input": "é"}, 1)
    assert to_json({"input": "é"}, 1, "ascii").isascii()


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-a.jpg", "@a.jpg", "\ta.jpg", "\ra.jpg"])
def test_names_in_csv_files_are_no_formulas(name):
    assert csv_name(name) == f"./{name}"
    assert csv_name(f"x{name}") == f"x{name}"
