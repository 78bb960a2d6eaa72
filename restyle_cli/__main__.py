"""The entry point of `restyle` and `python -m restyle_cli`.

It imports next to nothing before it listens to Ctrl-C: the imports of a command take seconds.
"""

import os
import sys
from typing import NoReturn

from restyle_cli import interrupts
from restyle_cli.cli import streams


def main() -> NoReturn:
    """Run the command line, and end the process with its exit status."""
    interruption = interrupts.listen()
    try:
        streams.prepare()
        # Read when torch is imported. Threads that wait asleep and not spinning: on two cores that other programs use
        # too, a step takes 0.13 s instead of 0.4 to 3 s.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from restyle_cli.cli.app import app

        app(prog_name="restyle")
        raise AssertionError("the group ends the process")
    except (Exception, KeyboardInterrupt):
        if not interruption.requested:  # an import that is interrupted may fail in any way
            raise
    finally:
        interrupts.end_at_next()
    print("error: interrupted", file=sys.stderr)
    sys.exit(interrupts.EXIT_STATUS)


if __name__ == "__main__":
    main()
