"""The command `nas`: turns every error of ours into one sentence and exit code 2."""

from __future__ import annotations

import sys

import click

from search_space.errors import NasError


def main() -> None:
    """Entry point of the command line."""
    from nas.commands import cli

    try:
        code = cli.main(standalone_mode=False)
    except NasError as error:
        click.echo(f"nas: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
