"""The file from which an interrupted measurement goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.evaluate.journal import Journal

SETTINGS = {"methods": ["a:1"], "device": "cpu"}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "out" / "journal.jsonl", SETTINGS)
    made.open()
    return made


def test_lines_come_back_in_order_and_exactly(journal: Journal) -> None:
    lines = [{"value": 0.1 + 0.2}, {"name": "Zoë\udcff"}]  # no rounding; a file name that is no text
    for line in lines:
        journal.add(line)
    Journal(journal.path, SETTINGS).open()
    assert list(journal.entries()) == lines


@pytest.mark.parametrize("cut", [1, 2, 8, 20])
def test_a_line_cut_off_is_dropped_and_the_next_is_whole(journal: Journal, cut: int) -> None:
    journal.add({"number": 1})
    journal.add({"number": 2, "long": "x" * 200_000})
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    journal.open()
    journal.add({"number": 3})
    assert [entry["number"] for entry in journal.entries()] == [1, 3]


def test_one_that_was_killed_at_once_begins_again(journal: Journal) -> None:
    journal.path.write_bytes(b'{"format"')
    journal.open()
    journal.add({"number": 1})
    assert list(journal.entries()) == [{"number": 1}]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({**SETTINGS, "methods": ["b:1"]}, "other methods"),
        ({**SETTINGS, "device": "cuda:0"}, "another device"),
        ({**SETTINGS, "alignment": "never"}, "another alignment"),
    ],
)
def test_another_run_is_refused_and_named(journal: Journal, settings: dict[str, object], told: str) -> None:
    journal.add({"number": 1})
    other = Journal(journal.path, settings)
    with pytest.raises(RestyleError, match=told) as caught:
        other.open()
    assert "--overwrite" in str(caught.value.hint)
    assert list(journal.entries()) == [{"number": 1}]
    other.open(overwrite=True)
    assert list(other.entries()) == []


def test_a_file_of_something_else_is_refused(journal: Journal) -> None:
    journal.path.write_text("[1, 2]\n")
    with pytest.raises(RestyleError, match="damaged"):
        journal.open()
    journal.path.write_text('{"name": "mine"}\n')
    with pytest.raises(RestyleError, match="another version"):
        journal.open()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RestyleError, match="cannot write"):
        Journal(tmp_path / "taken" / "journal.jsonl", SETTINGS).open()
