"""`nas db`."""

from __future__ import annotations

import click

from nas.commands.options import Subcommands, study_options
from nas.commands.output import say, say_json, say_text


@click.group("db", cls=Subcommands, invoke_without_command=True, short_help="Check, upgrade or copy the database.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check a database, bring it up to date, or copy it to another one, SQLite or PostgreSQL.

    \b
    nas db check
    nas db upgrade --storage sqlite:///results.db
    nas db copy sqlite:///nas-runs/nas.db postgresql+psycopg://USER@HOST/DB
    """  # noqa: D301 (click reads the backspace)
    if ctx.invoked_subcommand is None:
        say_text(ctx.get_help())


@command.command("upgrade", short_help="Bring a database of an older version up to date.")
@study_options
def upgrade(storage: str | None, out: str) -> None:
    """Bring a database of an older version of this program up to date. A search does this, too.

    Example: nas db upgrade --out nas-runs
    """
    from nas.study.files import storage_url
    from results.database.connection import HEAD, open_engine, shown, snapshot, version

    url = storage_url(storage, out)
    with snapshot(url) as connection:
        before = version(connection)
    open_engine(url, create=False).dispose()
    if before == HEAD:
        say(f"The database {shown(url)} is up to date: {HEAD}")
    else:
        say(f"The database {shown(url)} was brought from {before} to {HEAD}")


@command.command("check", short_help="Look for damage in a database.")
@study_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def check(ctx: click.Context, storage: str | None, out: str, as_json: bool) -> None:
    """Look for damage in the file, the schema, references between rows, trials in our tables and Optuna's,
    architectures.

    The exit code is 1 if any is found. Nothing is written, and searches may run at the same time.

    Example: nas db check --storage sqlite:///results.db
    """
    from nas.commands.tables import Notes, table
    from nas.study.files import storage_url
    from results.database.checks import check_database

    with Notes() as note:
        health = check_database(storage_url(storage, out), lambda what: note(f"checking {what}"))
    if as_json:
        problems = [{"table": name or None, "problem": problem} for name, problem in health.problems]
        plain = {"database": health.database, "version": health.version, "rows": health.rows, "problems": problems}
        say_json({**plain, "ok": not problems})
    else:
        bad = {name for name, _ in health.problems}
        rows = [(name, f"{count:,}", "damaged" if name in bad else "ok") for name, count in health.rows.items()]
        say(*(table(rows) if rows else ()))
        for name, problem in health.problems:
            say(f"{name or health.database}: {problem}")
    ctx.exit(1 if health.problems else 0)


@command.command("copy", short_help="Copy a database to another one, SQLite or PostgreSQL.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy all studies from the database FROM to the database TO, from SQLite to PostgreSQL and back.

    TO must be empty, or a SQLite file that does not exist. Either everything is copied and compared, or nothing is. A
    search continues with --storage TO and its old --out, where its weights and checkpoints stay.

    Example: nas db copy sqlite:///nas-runs/nas.db postgresql+psycopg://USER@HOST/DB
    """
    from nas.commands.tables import Notes
    from results.database.connection import shown
    from results.database.copying import copy_database

    with Notes() as note:
        copied = copy_database(
            source, target, lambda what, name, done, total: note(f"{what} {done:,} of {total:,} rows of {name}")
        )
    rows = f"{sum(copied.rows.values()):,} rows of {len(copied.rows)} tables"
    say(f"Copied {rows} from {shown(source)} to {shown(target)}; all were read back and compared.")
    if copied.nans:
        say(f"{copied.nans} NaN values are NULL there: SQLite cannot store NaN.")
