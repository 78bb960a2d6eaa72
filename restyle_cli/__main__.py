"""The entry point of `restyle` and `python -m restyle_cli`.

It imports almost nothing before it handles Ctrl-C: the imports of a command take seconds.
"""

from __future__ import annotations

import os
import sys

from restyle_cli import interrupts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    interruption = interrupts.listen()
    try:
        _run()
    except SystemExit as end:
        if not interruption.requested:
            raise
        status = end.code
    except (Exception, KeyboardInterrupt):
        if not interruption.requested:  # an interrupted import can raise any exception
            raise
        print("error: interrupted", file=sys.stderr)
        status = interrupts.EXIT_STATUS
    finally:
        interrupts.end_at_next()
    # Python would kill itself by SIGINT if the interruption hit an `exec`, as in the creation of a dataclass.
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


def _run() -> NoReturn:
    from restyle_cli.cli import streams

    streams.prepare()
    # Read when torch is imported. Waiting threads sleep instead of spinning: on two cores shared with other programs,
    # a step takes 0.13 s instead of 0.4 to 3 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from restyle_cli.cli.app import app

    app(prog_name="restyle")
    raise AssertionError("the group ends the process")


if __name__ == "__main__":
    main()
