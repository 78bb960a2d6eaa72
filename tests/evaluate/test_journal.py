"""The file from which an interrupted evaluation continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.journal import Entry, Journal, Peak, Row, Skip

SETTINGS = {"methods": ["a:1"], "device": "cpu"}
ROW = Row("a:1", "1.png", "f00", [[0.1 + 0.2, 1.0]], [0.5])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "out" / "journal.jsonl", SETTINGS)
    journal.open()
    return journal


def test_lines_come_back_in_order_and_exactly(journal: Journal) -> None:
    name = "Zoë\udcff"  # a file name that is not text
    entries: list[Entry] = [ROW, Skip(name, "it is black", sha256="f00"), Peak("a:1", 12.5)]
    journal.add(entries[:2])
    Journal(journal.path, SETTINGS).open()
    journal.add(entries[2:])
    assert list(journal.entries()) == entries
    assert list(journal.rows("a:1", 1, 2)) == [ROW]
    assert list(journal.rows("b:1", 1, 2)) == []


@pytest.mark.parametrize("cut", [1, 2, 8, 20])
def test_a_partial_last_line_is_dropped(journal: Journal, cut: int) -> None:
    journal.add([ROW])
    journal.add([Skip("2.png", "x" * 200_000)])
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    journal.open()
    journal.add([Peak("a:1", 3)])
    assert list(journal.entries()) == [ROW, Peak("a:1", 3)]


@pytest.mark.parametrize("content", [b"", b'{"format"'])
def test_a_file_without_a_first_line_is_started_again(journal: Journal, content: bytes) -> None:
    journal.path.write_bytes(content)
    journal.open()
    journal.add([ROW])
    assert list(journal.entries()) == [ROW]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**SETTINGS, "methods": ["b:1"]}, "other methods"),
        ({**SETTINGS, "device": "cuda:0"}, "another device"),
        ({**SETTINGS, "alignment": "never"}, "another alignment"),
    ],
)
def test_another_run_is_refused_and_named(journal: Journal, settings: dict[str, object], message: str) -> None:
    journal.add([ROW])
    other = Journal(journal.path, settings)
    with pytest.raises(RestyleError, match=message) as caught:
        other.open()
    assert "--overwrite" in str(caught.value.hint)
    assert list(journal.entries()) == [ROW]
    other.open(overwrite=True)
    assert list(other.entries()) == []


def test_a_file_of_something_else_is_refused(journal: Journal) -> None:
    journal.path.write_text("[1, 2]\n")
    with pytest.raises(RestyleError, match="damaged"):
        journal.open()
    journal.path.write_text('{"name": "mine"}\n')
    with pytest.raises(RestyleError, match="another version"):
        journal.open()


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RestyleError, match="cannot write"):
        Journal(tmp_path / "taken" / "journal.jsonl", SETTINGS).open()
