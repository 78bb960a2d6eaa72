"""The command line as a whole: which commands there are, and how every one of them ends.

The command files are light: what they compute with is imported when they run, so that `restyle --help`
is quick.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import restyle_cli
from restyle_cli.cli import align, bootstrap, convert, doctor, eval, heatmap, invert, methods, samples, train, weights
from restyle_cli.cli.output import report
from restyle_cli.cli.reading_warnings import warnings_as_lines
from restyle_cli.errors import Interrupted, RestyleError, UsageError
from restyle_cli.io import reason_of


class Commands(TyperGroup):
    """The group of all commands, with the one boundary where errors become a line and an exit status."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> NoReturn:
        """Run one command and end the process: 0 all done, 1 something failed, 2 wrong usage, 130 Ctrl-C."""
        try:
            status = super().main(*args, standalone_mode=False, **options)
            sys.stdout.flush()
        except RestyleError as error:
            if os.environ.get("RESTYLE_DEBUG") == "1":
                raise
            report(error)
            status = error.exit_status
        except typer.TyperException as error:
            if error.format_message():  # empty where the help was printed for want of a sub-command
                report(_in_our_words(error))
            status = error.exit_code
        except BrokenPipeError:
            # The reader (`restyle … | head`) has seen enough; nothing may be flushed to it at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # even asking whether there is such a file fails
                report(UsageError(f"{str(error.filename)!r} cannot be a file: {reason_of(error)}"))
                sys.exit(UsageError.exit_status)
            if error.filename is not None:  # of a file, so a bug: those are told where they are touched
                raise
            reason = reason_of(error)
            report(RestyleError(f"the result cannot be printed: {reason}", "files that were to be written are written"))
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        sys.exit(status)

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; Ctrl-C ends it with one line."""
        try:
            with warnings_as_lines():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None


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


def main() -> NoReturn:
    """Entry point of the `restyle` script."""
    # Read when torch is imported. Threads that wait asleep and not spinning: on two cores that other programs use
    # too, a step takes 0.13 s instead of 0.4 to 3 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app(prog_name="restyle")
    raise AssertionError("the group ends the process")
