"""`nas gc`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas.commands.options import study_options
from nas.commands.output import say
from search_space.errors import StudyError, shortened
from search_space.units import format_bytes

if TYPE_CHECKING:
    from nas.garbage import Piece
    from results.store import Store


@click.command("gc", short_help="Show what the files of studies take, and delete what nobody needs.")
@click.argument("study", required=False)
@study_options
@click.option("--delete", "deleting", is_flag=True, help="Delete what nobody needs; without this nothing is touched.")
def command(study: str | None, storage: str | None, out: str, deleting: bool) -> None:
    """Show what the files of STUDY (of all studies if left out) take under --out, and what of it nobody needs.

    Not needed are checkpoints of evaluations that have ended, weights of trials that are neither among the best nor
    finalists, and files whose writing was given up over a day ago. A study that is being searched keeps everything.
    """
    from nas.garbage import delete, survey
    from nas.run_folder import storage_url
    from nas.study import find_study, folder_of
    from results.housekeeping import resting
    from results.store import Store

    with closing(Store(storage_url(storage, out), create=False)) as store:
        names = [row.name for row in store.studies()] if study is None else [study]
        studies = [find_study(store, name) for name in names]
        for name in names:
            _refuse_shared_folder(name, store, out)
        say(_row("study", ["checkpoints", "weights", "temporary", "total", "not needed"]))
        needless = 0
        for found in studies:
            folder = folder_of(found, out)
            pieces = survey(found, folder, time.time())
            say(_row(found.name, _cells(pieces)))
            if not deleting:
                needless += sum(piece.size for piece in pieces if not piece.needed)
                continue
            try:
                with resting(store, found.name, "cleaned up"):  # nothing may begin while files go
                    needless += delete(survey(found, folder, time.time()))
            except StudyError as error:
                if study is not None:
                    raise
                say(f"nas: nothing was deleted of it: {error}", err=True)
    if deleting:
        say("", f"Freed {format_bytes(needless)}.")
    elif needless:
        say("", f"Nobody needs {format_bytes(needless)} of this; the same command with --delete frees it.")
    else:
        say("", "Everything here may be needed.")


def _refuse_shared_folder(name: str, named: Store, out: str) -> None:
    """A study of the same name in the folder's own database may be the one whose files these are.

    Raises:
        StudyError: If there is one.
    """
    from results.database import sqlite_url
    from results.store import Store

    path = Path(out).resolve() / "nas.db"
    if not path.is_file() or (named.engine.dialect.name == "sqlite" and path.samefile(str(named.engine.url.database))):
        return
    with closing(Store(sqlite_url(path), create=False)) as store:
        if store.study(name) is not None:
            raise StudyError(
                f"the files of the study {name!r} under {out} may be those of the study of that name in {path}, not of "
                f"the one in the database that was named; leave --storage out, or name another --out"
            )


def _cells(pieces: Sequence[Piece]) -> list[str]:
    from nas.garbage import KINDS

    sizes = [sum(piece.size for piece in pieces if piece.kind == kind) for kind in KINDS]
    sizes += [sum(sizes), sum(piece.size for piece in pieces if not piece.needed)]
    return [format_bytes(size) for size in sizes]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{shortened(name, 32):<32} " + " ".join(f"{cell:>11}" for cell in cells)
