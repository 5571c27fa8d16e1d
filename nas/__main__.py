"""The command `nas`: turns every error of ours into one sentence and exit code 2."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

import click

from search_space.errors import NasError


def main() -> None:
    """Entry point of the command line."""
    from nas.commands import cli
    from nas.commands.output import escape_warnings, say

    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    escape_warnings()
    for number in (signal.SIGTERM, signal.SIGHUP):  # a scheduler that wants the machine back is like a Ctrl-C
        signal.signal(number, _as_ctrl_c)
    try:
        code = cli.main(standalone_mode=False)
    except NasError as error:
        say(f"nas: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        say(f"nas: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
