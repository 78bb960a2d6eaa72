"""The command line as a whole: which commands there are, and how every one of them ends.

The command files are light: what they compute with is imported when they run, so that `restyle --help`
is quick.
"""

from __future__ import annotations

import errno
import os
import sys
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
from restyle_cli.cli.output import finish, report
from restyle_cli.cli.reading_warnings import warnings_as_lines
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.io import reason_of
from restyle_cli.memory import is_out_of_memory


class Commands(TyperGroup):
    """The group of all commands, with the one boundary where errors become a line and an exit status."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> NoReturn:
        """Run one command and end the process: 0 all done, 1 something failed, 2 wrong usage, 130 Ctrl-C."""
        try:
            status = super().main(*args, standalone_mode=False, **options)
            finish()
        except typer.TyperException as error:
            if error.format_message():  # empty where the help was printed for want of a sub-command
                report(_in_our_words(error))
            status = error.exit_code
        except BrokenPipeError:  # the reader (`restyle … | head`) has seen enough
            streams.silence(sys.stdout)
            status = 1
        except Exception as error:
            ours = _as_ours(error)
            if ours is None or os.environ.get("RESTYLE_DEBUG") == "1":
                raise
            report(ours)
            status = ours.exit_status
        sys.exit(status)

    def make_context(self, *args: Any, **options: Any) -> typer.Context:
        """Read the command line; Ctrl-C ends it with one line."""
        with _interruptible():
            return super().make_context(*args, **options)

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; Ctrl-C ends it with one line."""
        with _interruptible(), warnings_as_lines():
            return super().invoke(ctx)


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None


def _as_ours(error: Exception) -> RestyleError | None:
    """What the system refused, as an error of ours; None for a bug."""
    if isinstance(error, RestyleError):
        return error
    if is_out_of_memory(error):
        return RestyleError("not enough memory", "close other programs, or use a smaller model or --batch-size 1")
    if isinstance(error, ImportError) and not (error.name or "").startswith("restyle_cli"):
        return RestyleError(f"a package cannot be imported: {error}", "`restyle doctor` shows what is missing")
    if isinstance(error, OSError):
        if error.errno == errno.ENAMETOOLONG:  # even asking whether there is such a file fails
            return UsageError(f"{str(error.filename)!r} cannot be a file: {reason_of(error)}")
        what = "a file" if error.filename is None else repr(str(error.filename))
        return RestyleError(f"{what} cannot be read or written: {reason_of(error)}")
    return None


_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "a whole number is wanted",
    "Input should be a valid number, unable to parse string as a number": "a number is wanted",
}
"""What Typer's checks say that is meant for programmers."""


def _in_our_words(error: typer.TyperException) -> UsageError:
    """Typer's wrong-usage error in the form that all our errors have."""
    message = error.format_message().strip().rstrip(".")
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "restyle"
    return UsageError(message[:1].lower() + message[1:], f"`{command} --help` shows what it takes")


app = typer.Typer(
    name="restyle",
    cls=Commands,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here:  [bold]restyle samples -n 3 -o faces[/]  then  [bold]restyle invert faces -n 5[/]",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"restyle {restyle_cli.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def restyle(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Find the latent code of a photo in a StyleGAN's space, step by step, and use it."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


app.command("invert")(invert.invert)
app.command("bootstrap")(bootstrap.bootstrap)
app.command("heatmap")(heatmap.heatmap)
app.command("eval", epilog=eval.EPILOG)(eval.evaluate)
app.command("align", epilog=align.EPILOG)(align.align)
app.command("samples", epilog=samples.EPILOG)(samples.samples)
app.command("train", epilog=train.EPILOG)(train.train)
app.add_typer(weights.app, name="weights")
app.command("convert", epilog=convert.EPILOG)(convert.convert)
app.command("methods")(methods.methods)
app.command("doctor")(doctor.doctor)
