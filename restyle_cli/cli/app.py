"""The command line: the list of commands, and the one place where errors become a line and an exit status.

Command files import what they compute with when they run, so that `restyle --help` is fast.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import restyle_cli
from restyle_cli.cli import (
    align,
    bootstrap,
    convert,
    doctor,
    eval,
    heatmap,
    invert,
    methods,
    samples,
    streams,
    train,
    weights,
)
from restyle_cli.cli.options import examples
from restyle_cli.cli.output import finish, report, say, warnings_as_lines
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.io import reason_of
from restyle_cli.memory import is_out_of_memory


class Commands(TyperGroup):
    """The group of all commands; prints errors and sets the exit status."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run one command and exit: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""
        logging.getLogger("restyle_cli").setLevel(logging.WARNING)  # --verbose lowers it
        try:
            status = super().main(*args, **(options | {"standalone_mode": False}))
            finish()
        except typer.TyperException as error:
            if error.format_message():  # empty if the help was printed because there is no sub-command
                report(_as_usage_error(error))
            status = error.exit_code
        except BrokenPipeError:  # the reader closed the pipe (`restyle … | head`)
            streams.silence(sys.stdout)
            status = 1
        except Exception as error:
            known = _as_restyle_error(error)
            if known is None:
                raise
            if logging.getLogger("restyle_cli").isEnabledFor(logging.DEBUG) or os.environ.get("RESTYLE_DEBUG") == "1":
                say("".join(traceback.format_exception(error)).rstrip())
            report(known)
            status = known.exit_status
        sys.exit(status)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse the command line; Ctrl-C ends it with one line."""
        with _interruptible():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with one line."""
        with _interruptible(), warnings_as_lines():
            return super().invoke(ctx)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None


def _as_restyle_error(error: Exception) -> RestyleError | None:
    """An error of the system as a RestyleError; None for anything else, which is a bug."""
    if isinstance(error, RestyleError):
        return error
    if is_out_of_memory(error):
        return RestyleError("not enough memory", "close other programs, or use a smaller model or --batch-size 1")
    if isinstance(error, ImportError) and not (error.name or "").startswith("restyle_cli"):
        return RestyleError(f"a package cannot be imported: {error}", "`restyle doctor` shows what is missing")
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:  # raised even by Path.exists
            return UsageError(f"{str(error.filename)!r} is not a valid path: {reason_of(error)}")
        what = "a file" if error.filename is None else repr(str(error.filename))
        return RestyleError(f"{what} cannot be read or written: {reason_of(error)}")
    return None


_PLAINER = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "an integer is expected",
    "Input should be a valid number, unable to parse string as a number": "a number is expected",
}
"""Replacements for texts of Typer's that are meant for programmers."""


def _as_usage_error(error: typer.TyperException) -> UsageError:
    """Typer's error about wrong usage as a UsageError."""
    message = error.format_message().strip().rstrip(".")
    for old, new in _PLAINER.items():
        message = message.replace(old, new)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "restyle"
    return UsageError(message[:1].lower() + message[1:], f"see `{command} --help`")


app = typer.Typer(
    name="restyle",
    cls=Commands,
    rich_markup_mode="rich",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("restyle samples -n 3 -o faces", "restyle invert faces -n 5"),
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"restyle {restyle_cli.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def restyle(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find the latent of an image in the latent space of a StyleGAN, step by step, and use it.

    Downloaded models are stored in $RESTYLE_HOME, else in the user's cache folder.
    """
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


app.command("invert", epilog=invert.EPILOG)(invert.invert)
app.command("bootstrap", epilog=bootstrap.EPILOG)(bootstrap.bootstrap)
app.command("heatmap", epilog=heatmap.EPILOG)(heatmap.heatmap)
app.command("eval", epilog=eval.EPILOG)(eval.evaluate)
app.command("align", epilog=align.EPILOG)(align.align)
app.command("samples", epilog=samples.EPILOG)(samples.samples)
app.command("train", epilog=train.EPILOG)(train.train)
app.add_typer(weights.app, name="weights")
app.command("convert", epilog=convert.EPILOG)(convert.convert)
app.command("methods", epilog=methods.EPILOG)(methods.methods)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
