"""The command `nas`: turns every error of ours into one sentence and exit code 2, and Ctrl-C into exit code 130."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Entry point of the command line."""
    if os.name != "posix":
        sys.stderr.write("nas: this program needs Linux or macOS; on Windows, run it in WSL\n")
        sys.exit(2)
    from search_space.signals import stop_as_by_ctrl_c, stop_silently  # not before it is clear where modules come from

    stop_as_by_ctrl_c()
    try:
        code = _main()
    except KeyboardInterrupt:  # while modules are imported, or an error is printed
        code = 130
    stop_silently()  # one that comes while Python tidies up says nothing
    sys.exit(code)


def _main() -> int:
    """Run the command, and report a failure to write its output; returns the exit code."""
    from nas.commands.output import say  # late imports here and below: slow ones may be interrupted
    from nas.commands.streams import guard_streams
    from search_space.errors import OutputError

    guard_streams()
    try:
        code = _run()
        sys.stdout.flush()
    except OutputError as error:
        code = 141 if error.reader_gone else 2  # the exit code of shells for a closed pipe
        if not error.reader_gone:
            with suppress(OutputError):
                say(f"nas: {error}", err=True)
    return code


def _run() -> int:
    """Run the command; returns the exit code.

    Raises:
        OutputError: If its output cannot be written.
    """
    import click

    from nas.commands import cli
    from nas.commands.output import escape_warnings, say, say_usage
    from search_space.errors import NasError, OutputError

    escape_warnings()
    try:
        _check_folder()
        try:
            code = cli.main(standalone_mode=False)
        except FileNotFoundError:
            _check_folder()
            raise
    except OutputError:
        raise
    except NasError as error:
        say(f"nas: {error}", err=True)
        return 2
    except click.ClickException as error:
        say_usage(error)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _check_folder() -> None:
    """Raise ConfigError if the folder that relative paths start from has been deleted."""
    from search_space.errors import ConfigError

    try:
        Path.cwd()
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"the current folder is gone ({reason}); change to one that exists") from None


def _forget_current_folder() -> None:
    """Import nothing from the current folder, which `python -m` puts first, unless it holds this program.

    The user's own `results.py` or `torch.py` may be there.
    """
    with suppress(OSError):  # the folder may be gone
        here, home = Path.cwd(), Path(__file__).resolve().parents[1]
        if not sys.flags.safe_path and sys.path[0] == str(here) and here.resolve() != home:
            del sys.path[0]


if __name__ == "__main__":
    _forget_current_folder()
    main()
