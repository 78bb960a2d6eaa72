"""Ctrl-C and SIGTERM end the command line in the same way, also during the imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import restyle_cli
from restyle_cli import interrupts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

SLOW_IMPORT = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            print("ready", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.argv = ["restyle", *{arguments!r}]
from restyle_cli.__main__ import main
main()
"""
STUBBORN = """
import time
from restyle_cli import interrupts
interrupts.listen()
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("cleaning", flush=True)
    time.sleep(60)
"""


def started(code: str) -> subprocess.Popen[str]:
    """Start a process and wait until it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(Path(restyle_cli.__file__).parent.parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, env=environment, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "arguments"), [("restyle_cli.cli.app", ["methods"]), ("torch", ["train", "portrait", "-o", "nowhere"])]
)
def test_an_interruption_of_the_imports(module: str, arguments: list[str], number: int) -> None:
    process = started(SLOW_IMPORT.format(module=module, arguments=arguments))
    process.send_signal(number)
    _, message = process.communicate(timeout=30)
    assert (process.returncode, message) == (130, "error: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_ends_at_once(number: int) -> None:
    process = started(STUBBORN)
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_ignored_signals_stay_ignored() -> None:
    """Started with `nohup`, or in the background of a script."""
    code = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN){STUBBORN}"
    process = started(code)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning\n"
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_delayed_and_the_second_is_not(number: int) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda got, frame: seen.append(got))
    try:
        with interrupts.DelayedInterrupt() as interruption:
            assert not interruption.requested
            os.kill(os.getpid(), number)
            assert interruption.requested and seen == []
            os.kill(os.getpid(), number)
            assert seen == [number]
        os.kill(os.getpid(), number)
        assert seen == [number, number]
    finally:
        signal.signal(number, before)


def test_no_delay_in_a_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        with interrupts.DelayedInterrupt() as interruption:
            seen.append(interruption.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
