"""JSON and TOML are read strictly, and checked against a type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from restyle_cli.errors import RestyleError
from restyle_cli.records import RecordError, conform, parse_json, parse_toml, read


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.5


class Thing(TypedDict):
    name: str
    kind: Literal["small", "large"]
    points: list[Point]
    size: tuple[int, int] | None
    more: NotRequired[dict[str, bool]]


GOOD: dict[str, Any] = {"name": "a", "kind": "small", "points": [{"x": 1}], "size": [1, 2]}


def test_lists_become_tuples_and_tables_dataclasses() -> None:
    found = conform({**GOOD, "other": 1}, Thing)
    assert found == {**GOOD, "points": [Point(1.0)], "size": (1, 2), "other": 1}
    assert conform({**GOOD, "size": None, "more": {"a": True}}, Thing)["more"] == {"a": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "'name' must be text"),
        ({"kind": "huge"}, "'kind' must be one of 'small', 'large'"),
        ({"kind": ["small"]}, "'kind' must be one of"),
        ({"points": {}}, "'points' must be a list"),
        ({"points": [{"x": 1}, {"x": "1"}]}, r"'points\[1\].x' must be a number"),
        ({"points": [{"x": True}]}, r"'points\[0\].x' must be a number"),
        ({"points": [{"y": 1}]}, r"'points\[0\].x' is missing"),
        ({"points": [{"x": 1, "z": 1}]}, r"'points\[0\].z' is not known"),
        ({"points": [{"x": 10**400}]}, r"'points\[0\].x' must be a finite number"),
        ({"points": [{"x": float("nan")}]}, r"'points\[0\].x' must be a finite number"),
        ({"size": [1]}, "'size' must be a list of 2"),
        ({"size": [1, 2.0]}, r"'size\[1\]' must be a whole number"),
        ({"size": [1, 2**70]}, r"'size\[1\]' must fit in 64 bits"),
        ({"size": [1, True]}, r"'size\[1\]' must be a whole number"),
        ({"more": {"a": 1}}, "'more.a' must be true or false"),
        ({"more": None}, "'more' must be a table"),
    ],
)
def test_invalid_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        conform(GOOD | change, Thing)


def test_a_missing_key_and_a_list_instead_of_a_table() -> None:
    with pytest.raises(RecordError, match="'kind' is missing"):
        conform({"name": "a"}, Thing)
    with pytest.raises(RecordError, match=r"^must be a table"):
        conform([GOOD], Thing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "too many digits"),
        (b"[NaN]", "NaN is not a number"),
        (b'"\xff"', "is not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 text"),
    ],
    ids=range(8),
)
def test_invalid_json(text: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse_json(text)


def test_a_byte_order_mark_is_ignored() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
    assert parse_toml(b"\xef\xbb\xbfa = 1") == {"a": 1}


def test_a_file_is_named_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "thing.json"
    file.write_text('{"x": "1"}')
    with pytest.raises(RestyleError, match=r"thing\.json': 'x' must be a number") as caught:
        read(file, parse_json, Point, "write it again")
    assert caught.value.hint == "write it again"
    with pytest.raises(RestyleError, match=r"cannot read .*no such file"):
        read(tmp_path / "none.json", parse_json, Point)
