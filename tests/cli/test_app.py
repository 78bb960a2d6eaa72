"""The command line as a whole: quick to start, and every command ends in one of the agreed ways."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import restyle_cli
from restyle_cli.cli.app import Commands, app
from restyle_cli.cli.options import DEFAULT_SAVE, SAVE_KINDS, Steps, parse_save
from restyle_cli.errors import RestyleError, UsageError

HEAVY = {"torch", "torchvision", "matplotlib", "cv2", "dlib", "numpy", "PIL", "lpips", "scipy"}
COMMANDS = ["invert", "samples", "train", "methods", "doctor", "weights list", "weights info", "weights path"]
COMMANDS += ["weights get", "weights add", "weights verify", "weights remove"]
COMMANDS += ["bootstrap", "heatmap", "eval", "align", "convert"]


def run_python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)


# --- start-up


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import restyle_cli.cli.app"],
        ["-m", "restyle_cli", "--help"],
        ["-m", "restyle_cli", "--version"],
        ["-m", "restyle_cli", "invert", "--help"],
        ["-m", "restyle_cli", "weights", "list"],
        ["-m", "restyle_cli", "methods"],
    ],
    ids=" ".join,
)
def test_start_imports_nothing_heavy(arguments: list[str]) -> None:
    done = run_python("-X", "importtime", *arguments, check=True)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported, "the list of imports was not read"
    assert imported & HEAVY == set()


@pytest.mark.skipif(os.name == "nt", reason="needs the POSIX account of processor time")
def test_help_is_quick() -> None:
    """The goal is half a second, 0.25 s was measured. CPU time, best of three, because machines are busy."""
    import resource

    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-m", "restyle_cli", "--help", check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.75


# --- help


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(restyle: Callable[..., Result], command: str, flag: str) -> None:
    done = restyle(*command.split(), flag)
    assert done.exit_code == 0
    assert f"Usage: restyle {command}".strip() in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_ends_with_whole_examples(
    restyle: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = restyle(*command.split(), "--help").stdout.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    title = max(index for index, line in enumerate(lines) if line.strip() == "Examples:")
    assert title > max(index for index, line in enumerate(lines) if line.startswith("╰"))
    examples = [line.strip() for line in lines[title + 1 :] if line.strip()]
    assert examples
    assert all(line.startswith(("restyle ", "cp ")) for line in examples), "an example is broken into two lines"


def test_rare_options_are_under_advanced_and_last(restyle: Callable[..., Result]) -> None:
    text = restyle("invert", "--help").stdout
    panels = [line.split()[1] for line in text.splitlines() if line.startswith("╭")]
    assert panels[-1] == "Advanced"
    advanced = text[text.index("─ Advanced ─") :]
    for option in ("--downscale", "--tolerance", "--landmarks", "--crossover", "--mix-alpha", "--seed"):
        assert option in advanced


def test_nothing_given_shows_the_help(restyle: Callable[..., Result]) -> None:
    assert restyle().stdout == restyle("--help").stdout


def test_all_commands_are_listed(restyle: Callable[..., Result]) -> None:
    text = restyle("--help").stdout
    for command in COMMANDS:
        assert f" {command.split()[0]} " in text


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(restyle: Callable[..., Result], flag: str) -> None:
    assert restyle(flag).stdout == f"restyle {restyle_cli.__version__}\n"


# --- wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["invrt"], "did you mean 'invert'"),
        (["--loud"], "no such option: --loud"),
        (["invert"], "missing argument"),
        (["invert", "x.png", "-n", "0"], "0 is not between 1 and 10000"),
        (["invert", "x.png", "-n", "10001"], "10001 is not between 1 and 10000"),
        (["invert", "x.png", "-n", "five"], "'--steps' / '-n'"),
        (["invert", "x.png", "--align", "sideways"], "'auto', 'always', 'never'"),
        (["invert", "x.png", "-b", "0"], "0 is not between 1 and 1024"),
        (["samples", "--size", "4"], "4 is not between 16 and 2048"),
        (["weights", "lst"], "did you mean 'list'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_a_hint_and_status_2(
    restyle: Callable[..., Result], arguments: list[str], said: str
) -> None:
    done = restyle(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error.lower()
    assert hint.startswith("  hint: see `restyle ")


# --- how a command ends


def ending_with(ending: Callable[[], object], **environment: str) -> Result:
    """Run a command that ends so, in a group with the same boundary as ours."""
    group = typer.Typer(cls=Commands)

    @group.callback()
    def root() -> None:
        """A group of one command stays a group."""

    @group.command()
    def work() -> None:
        ending()

    return CliRunner(env=environment).invoke(group, ["work"])


def raising(error: BaseException) -> Callable[[], object]:
    def ending() -> None:
        raise error

    return ending


def test_error_becomes_a_line_and_a_hint() -> None:
    done = ending_with(raising(RestyleError("no face found in 'cat.jpg'", "pass --align never")))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "error: no face found in 'cat.jpg'\n  hint: pass --align never\n"


def test_wrong_usage_found_later_has_status_2_too() -> None:
    done = ending_with(raising(UsageError("a chain has its steps in it")))
    assert (done.exit_code, done.stderr) == (2, "error: a chain has its steps in it\n")


def test_debug_and_verbose_show_the_traceback(restyle: Callable[..., Result]) -> None:
    done = ending_with(raising(RestyleError("x")), RESTYLE_DEBUG="1")
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("error: x\n")
    assert "Traceback" in restyle("weights", "path", "nothing", "-v").stderr
    assert "Traceback" not in restyle("weights", "path", "nothing").stderr


def test_verbose_tells_what_happens(restyle: Callable[..., Result], tiny_store: Path, tmp_path: Path) -> None:
    restyle("samples", "-n", 1, "--size", 64, "-o", tmp_path)
    lines = restyle("invert", tmp_path / "portrait-0000.png", "-n", 1, "-o", tmp_path / "out", "-v").stderr
    for text in ("device cpu, fp32, batches of 4", "model restyle-psp-portrait: ", "read ", "inverted ", "wrote "):
        assert text in lines


def test_a_bug_stays_a_traceback() -> None:
    error = ZeroDivisionError()
    assert ending_with(raising(error)).exception is error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "'/a/b' cannot be read or written: permission"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be read or written: no space left on device"),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            "not enough memory",
        ),
        (ModuleNotFoundError("No module named 'dlib'", name="dlib"), "a package cannot be imported: No module named"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory"),
    ],
    ids=["file", "disk", "python", "torch", "package", "library"],
)
def test_what_the_system_refuses_is_one_line(error: Exception, told: str) -> None:
    done = ending_with(raising(error))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0].startswith(f"error: {told}")


def test_interrupted() -> None:
    done = ending_with(raising(KeyboardInterrupt()))
    assert (done.exit_code, done.stderr) == (130, "error: interrupted\n")


def test_a_command_may_tell_of_its_interruption_itself() -> None:
    done = ending_with(raising(typer.Exit(130)))
    assert (done.exit_code, done.stderr) == (130, "")


def test_control_characters_in_names_are_made_visible() -> None:
    done = ending_with(raising(RestyleError("no file 'a\x1b[31m\rb'")))
    assert done.stderr == "error: no file 'a\\x1b[31m\\rb'\n"


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "restyle_cli", "weights", "list", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


# --- shared options


def test_save_always_holds_the_latent() -> None:
    assert parse_save(DEFAULT_SAVE) == {"image", "strip", "latent"}
    assert parse_save("steps") == {"steps", "latent"}
    assert parse_save(" image , npy,") == {"image", "npy", "latent"}
    assert parse_save(",".join(SAVE_KINDS)) == set(SAVE_KINDS)


def test_save_of_something_unknown() -> None:
    with pytest.raises(UsageError, match="unknown kind 'stirp' in --save") as caught:
        parse_save("image,stirp")
    assert caught.value.hint == "did you mean 'strip'?"


def test_steps_at_both_ends() -> None:
    one = typer.Typer()
    seen: list[int | None] = []

    @one.command()
    def work(steps: Steps = None) -> None:
        seen.append(steps)

    for arguments in (["-n", "1"], ["--steps", "100"], []):
        assert CliRunner().invoke(one, arguments).exit_code == 0
    assert seen == [1, 100, None]


def test_json_everywhere(restyle: Callable[..., Result], tiny_store: Path, tmp_path: Path) -> None:
    for command in (
        ["weights", "list"],
        ["weights", "info", "portrait"],
        ["weights", "path", "portrait"],
        ["weights", "get", "portrait"],
        ["methods"],
        ["doctor"],
        ["samples", "-n", 1, "--size", 16, "-o", tmp_path],
    ):
        done = restyle(*command, "--json")
        assert done.exit_code == 0
        assert isinstance(json.loads(done.stdout), dict), command
    assert app is not None


def test_completion_in_bash(tmp_path: Path) -> None:
    """By the script that `--show-completion` prints, in a real bash."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "restyle"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m restyle_cli "$@"\n')
    program.chmod(0o755)
    script = (
        f'source <("{program}" --show-completion bash); COMP_WORDS=(restyle we); COMP_CWORD=1; '
        f'_restyle_completion "{program}"; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["weights"]
