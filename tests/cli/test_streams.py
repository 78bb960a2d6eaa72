"""Standard streams that are closed, full, broken or of another encoding: one line at most, and JSON stays JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import restyle_cli
from restyle_cli.cli.output import Terminal
from restyle_cli.store import catalog

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in which $R is `restyle`."""
    known = {**os.environ, "PYTHONPATH": str(Path(restyle_cli.__file__).parent.parent), **environment}
    known["R"] = f"{sys.executable} -m restyle_cli"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, errors="replace", env=known)


def test_a_closed_stderr_sends_no_warning_to_stdout() -> None:
    catalog.own_file("broken").write_text("kind = ")  # a warning, which came before the JSON
    done = shell("$R weights list --json 2>&-")
    assert done.returncode == 0
    assert "networks" in json.loads(done.stdout)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = shell(f"$R weights list {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_number_of_a_closed_stream_is_given_to_no_file() -> None:
    code = "from restyle_cli.cli import streams; streams.prepare(); print(open('/dev/null').fileno())"
    assert int(shell(f'{sys.executable} -c "{code}" <&- 2>&-').stdout) > 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932", "ascii:strict"])
@pytest.mark.parametrize("command", ["methods", "methods pti", "--help", "invert --help"])
def test_what_cannot_be_encoded_is_replaced(command: str, encoding: str) -> None:
    done = shell(f"$R {command}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_c_locale() -> None:
    done = shell("$R methods pti", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")


def test_json_escapes_what_cannot_be_encoded() -> None:
    lines = [f'{key} = "Zoë"' for key in ("domain", "licence_code", "licence_weights", "licence_data", "summary")]
    lines += ['kind = "encoder"', 'file = "zoe.pt"', 'commercial = "no"']
    catalog.own_file("zoe").write_text("\n".join(lines), encoding="utf-8")
    plain, escaped = shell("$R weights info zoe --json"), shell("$R weights info zoe --json", PYTHONIOENCODING="ascii")
    assert escaped.stdout.isascii() and not plain.stdout.isascii()
    assert json.loads(escaped.stdout) == json.loads(plain.stdout)
    assert json.loads(plain.stdout)["summary"] == "Zoë"


def test_bytes_of_a_name_that_are_no_text_are_escaped_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(json=True).result({"name": "a\udcff.png"})
    assert json.loads(capsys.readouterr().out) == {"name": "a\udcff.png"}


def test_a_reader_that_has_seen_enough() -> None:
    done = shell("set -o pipefail; $R methods --json | head -1")
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_work_goes_on_where_nobody_reads_stderr() -> None:
    catalog.own_file("broken").write_text("kind = ")
    done = shell("$R weights list 2> >(exec 0<&-)")
    assert done.returncode == 0
    assert "restyle-psp-portrait" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["weights list", "methods --json", "--version", "--help"])
def test_a_full_disk_is_one_line(command: str) -> None:
    done = shell(f"$R {command} >/dev/full")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("  hint: ")]
    assert line.startswith("error: ") and "no space left on device" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_notes_that_cannot_be_written_are_left_out() -> None:
    catalog.own_file("broken").write_text("kind = ")
    done = shell("$R weights list --json 2>/dev/full")
    assert done.returncode == 0
    assert "networks" in json.loads(done.stdout)
