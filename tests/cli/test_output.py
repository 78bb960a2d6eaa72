"""Printing: what goes where, for people, for programs, and for logs."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console

from restyle_cli.cli import output
from restyle_cli.cli.output import Stored, Table, Terminal, human_bytes, human_seconds

Captured = pytest.CaptureFixture[str]


def test_results_on_stdout_the_rest_on_stderr(capsys: Captured) -> None:
    terminal = Terminal()
    terminal.result({"a": 1}, "three things", Table(["name", "size"], [("x", "1"), ("long", "12")]))
    terminal.note("a note")
    terminal.warn("careful")
    out, err = capsys.readouterr()
    assert out == "three things\nname  size\nx     1\nlong  12\n"
    assert err == "a note\nwarning: careful\n"


def test_numbers_to_the_right_and_no_titles(capsys: Captured) -> None:
    terminal = Terminal()
    terminal.result({}, Table(["name", "size"], [("x", "1"), ("y", "12")], right=frozenset({"size"})))
    terminal.result({}, Table(["", ""], [("x", "1")]))
    assert capsys.readouterr().out == "name  size\nx        1\ny       12\nx  1\n"


def test_long_cells_are_not_cut_where_no_person_reads(capsys: Captured) -> None:
    path = "/very/long" * 40
    Terminal().result({}, Table(["name", "path"], [("x", path), ("y", "[red]no markup[/]")]))
    out = capsys.readouterr().out
    assert path in out
    assert "[red]no markup[/]" in out


ROWS = [
    ("restyle-psp-portrait", "encoder", "an encoder sees photo and current estimate, and corrects the code", "5.4 MB"),
    ("mine", "generator", "something", "1,234.5 MB"),
]


def table_at(width: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The lines of a table on so many columns, and the note about it."""
    monkeypatch.setenv("COLUMNS", str(width))
    table = Table(["name", "kind", "what it does", "size"], ROWS, right=frozenset({"size"}), spare=("kind", "size"))
    Terminal().result({}, table)
    out, err = capsys.readouterr()
    return out.splitlines(), err


@pytest.mark.parametrize("width", [100, 80, 60, 50])
def test_tables_break_between_words(width: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, _ = table_at(width, capsys, monkeypatch)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {word for row in ROWS for word in (row[0], *row[2].split())} <= set(words)


def test_columns_go_where_there_is_no_room(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, note = table_at(80, capsys, monkeypatch)
    assert lines[0].split() == ["name", "kind", "what", "it", "does", "size"]
    assert note == ""
    lines, note = table_at(60, capsys, monkeypatch)
    assert lines[0].split() == ["name", "what", "it", "does", "size"]
    assert note == "the terminal is too narrow for: kind; --json prints everything\n"
    assert "1,234.5 MB" in "\n".join(lines)  # numbers and their units are not parted
    lines, _ = table_at(44, capsys, monkeypatch)
    assert lines[0].split() == ["name", "what", "it", "does"]


def test_a_word_that_is_wider_than_the_terminal_is_not_cut(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    Terminal().result({}, Table(["", ""], [("file", "/long" * 30), ("size", "1 MB")]))
    assert capsys.readouterr().out == f"file  {'/long' * 30}\nsize  1 MB\n"


class Numbers(Stored):
    def __iter__(self) -> Iterator[dict[str, int]]:
        return iter([{"n": 1}, {"n": 2}])


class Nothing(Stored):
    def __iter__(self) -> Iterator[dict[str, int]]:
        return iter([])


def test_stored_values_are_printed_as_lists_are(capsys: Captured) -> None:
    for stored in (Numbers(), Nothing()):
        values = {"command": "x", "images": stored, "summary": {"done": 2}}
        Terminal(json=True).result(values)
        assert capsys.readouterr().out == json.dumps(values | {"images": list(stored)}, indent=2) + "\n"


def test_json_replaces_the_views(capsys: Captured) -> None:
    Terminal(json=True).result({"name": "Zoë", "n": None}, "not this")
    assert capsys.readouterr().out == '{\n  "name": "Zoë",\n  "n": null\n}\n'


def test_quiet_keeps_results_and_warnings(capsys: Captured) -> None:
    terminal = Terminal(quiet=True)
    terminal.note("a note")
    terminal.warn("careful")
    terminal.result({}, "the result")
    with terminal.progress("inverting", 2) as progress:
        progress.advance(2)
    assert capsys.readouterr() == ("the result\n", "warning: careful\n")


def test_progress_in_a_log_is_a_line_now_and_then(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Terminal().progress("inverting", 100) as progress:
        for _ in range(100):
            now += 1.0
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "inverting: 10 of 100, 1 min 30 s left"
    assert lines[-1] == "inverting: 90 of 100, 10 s left"
    assert len(lines) == 9


def test_what_is_told_stands_beside_the_progress(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Terminal().progress("inverting", 2) as progress:
        for step in range(25):
            now += 1.0
            progress.describe(f"step {step}")
        progress.advance()
        now += 10.0
        progress.describe("step 0")
    assert capsys.readouterr().err.splitlines() == [
        "inverting: 0 of 2; step 9",
        "inverting: 0 of 2; step 19",
        "inverting: 1 of 2, 35 s left; step 0",
    ]


def test_progress_on_a_terminal_is_a_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with Terminal(_errors=console).progress("inverting", 4) as progress:
        progress.describe("L2 0.0123")
        progress.advance(4)
    assert "inverting: L2 0.0123" in screen.getvalue()
    assert "4/4" in screen.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (381_624_121, "381.6 MB"),
        (1_200_000_000, "1.2 GB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (4.11, "4.1 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7500, "2 h 5 min")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
