"""`nas gc`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nas.commands.options import checkpoint_option, note_checkpoints, study_options
from nas.commands.output import say
from search_space.errors import StudyError, shortened
from search_space.units import format_bytes

if TYPE_CHECKING:
    from nas.study.garbage import Piece
    from results.store.store import StudyStore


@click.command("gc", short_help="Show how much space studies take, and delete unneeded files.")
@click.argument("study", required=False)
@study_options
@checkpoint_option
@click.option("--delete", "deleting", is_flag=True, help="Delete unneeded files; without this flag nothing is touched.")
def command(study: str | None, storage: str | None, out: str, checkpoint_dir: str | None, deleting: bool) -> None:
    """Show how much space the files of STUDY (default: all studies) take under --out, and how much is not needed.

    \b
    nas gc                       space of all studies
    nas gc mlp_family-digits --delete

    Unneeded are checkpoints of evaluations that have ended, weights of trials that are neither among the best nor
    finalists, and files that were abandoned half-written over a day ago. A study that is being searched keeps
    everything. Folders and files that do not belong to a study are left alone.
    """  # noqa: D301 (click reads the backspace)
    from nas.study.files import local_roots, storage_url
    from nas.study.garbage import delete, survey
    from nas.study.housekeeping import settle
    from nas.study.opening import find_study
    from results.store.rename_delete import locked_idle
    from results.store.store import Store

    roots = local_roots(out, checkpoint_dir)
    with closing(Store(storage_url(storage, out), create=False)) as store:
        if deleting:
            settle(store, roots)
        names = [row.name for row in store.studies()] if study is None else [study]
        studies = [find_study(store, name) for name in names]
        say(_row("study", ["checkpoints", "weights", "temporary", "total", "not needed"]))  # rows come one by one
        needless = 0
        for found in studies:
            folders = _own_folders(found, roots)
            pieces = survey(found, folders, time.time())
            say(_row(found.name, _cells(pieces)))
            note_checkpoints(found.name, found.row.config, checkpoint_dir)
            if not deleting:
                needless += sum(piece.size for piece in pieces if not piece.needed)
            if not deleting or not pieces:
                continue
            try:
                with locked_idle(store, found.name, "cleaned up"):  # nothing may start while files are deleted
                    needless += delete(survey(found, folders, time.time()))
            except StudyError as error:
                if study is not None:
                    raise
                say(f"nas: none of its files were deleted: {error}", err=True)
    if deleting:
        say("", f"Freed {format_bytes(needless)}.")
    elif needless:
        say("", f"{format_bytes(needless)} of this are not needed; the same command with --delete frees them.")
    else:
        say("", "Everything here may be needed.")


def _own_folders(study: StudyStore, roots: Sequence[Path]) -> list[Path]:
    """The folders of a study; one that only has its name is reported."""
    from nas.study.files import RunFolder
    from nas.study.ownership import Owner
    from results.database.names import is_file_name

    owner = Owner.of(study.store, study.row)
    if not is_file_name(study.name):
        return []
    named = [RunFolder(root, study.name).path for root in roots]
    own = [folder for folder in named if owner.owns(folder)]
    for folder in named:
        if folder not in own and os.path.lexists(folder):
            say(f"nas: the folder {folder} is left alone, because it does not belong to this study", err=True)
    return own


def _cells(pieces: Sequence[Piece]) -> list[str]:
    from nas.study.garbage import KINDS

    sizes = [sum(piece.size for piece in pieces if piece.kind == kind) for kind in KINDS]
    sizes += [sum(sizes), sum(piece.size for piece in pieces if not piece.needed)]
    return [format_bytes(size) for size in sizes]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{shortened(name, 32):<32} " + " ".join(f"{cell:>11}" for cell in cells)
