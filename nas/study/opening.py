"""Opening a study: a new one is created, and an existing one is continued if its specification is the same."""

from __future__ import annotations

from collections.abc import Callable

from nas.config import SearchConfig
from nas.plugins import check_imported
from nas.study.files import RunFolder, local_roots, storage_url
from nas.study.housekeeping import settle
from nas.study.ownership import Owner
from nas.study.spec import StudySpec, public_settings
from results.database.connection import sqlite_file
from results.report.hypervolume import reference_point
from results.store.store import Store, StudyStore
from search_space.errors import StudyError, allowed, printable
from search_space.paths import user_path


def open_store(config: SearchConfig, folder: RunFolder, on_wait: Callable[[str], None] = lambda _: None) -> Store:
    """Open the database of a search, after checking that the study may use its folder.

    If it may not, nothing is written and no database is created. A rename or deletion of a study that was killed
    half-way is completed or undone first.

    Args:
        config: The settings.
        folder: The folder of the study.
        on_wait: Called with a sentence while the database cannot be reached.

    Raises:
        StorageError: If the database cannot be used, or the folder belongs to something else.
    """
    url = storage_url(config.storage, config.out)
    file = sqlite_file(url)
    if file is not None and not file.exists():
        folder.check(None)
    store = Store(url)
    store.on_wait = on_wait
    try:
        settle(store, local_roots(config.out, config.checkpoint_dir))
        study = store.study(config.study_name)
        folder.check(None if study is None else Owner.of(store, study.row))
    except BaseException:
        store.close()
        raise
    return store


def open_study(store: Store, spec: StudySpec) -> tuple[StudyStore, bool]:
    """Create or open the study; returns it, and whether it is new.

    Raises:
        StudyError: If the study exists with another specification.
    """
    config = spec.config
    study, is_new = store.study(config.study_name), False
    if study is None:
        study = store.create_study(
            config.study_name,
            identity=spec.identity(),
            config=public_settings(config),
            objectives={objective.name: objective.direction for objective in config.objectives},
            metric_names=[objective.title for objective in config.objectives],
            reference=reference_point(config.objective, spec.space, spec.limits, config.max_latency_ms),
        )
        is_new = True
    differences = spec.differences(study.row.identity)
    if differences:
        raise StudyError(
            f"the study {study.name!r} has settings that differ from this command: {'; '.join(differences)}. "
            "Use the settings of the study, or a new name with --study"
        )
    study.update_config(public_settings(config))
    return study, is_new


def open_with_files(store: Store, spec: StudySpec, folder: RunFolder) -> tuple[StudyStore, bool]:
    """Call `open_study` with the folder created and marked; a refused study leaves no folder behind."""
    with folder.made():
        study, is_new = open_study(store, spec)
        folder.claim(Owner.of(store, study.row))
    return study, is_new


def open_folder(config: SearchConfig) -> RunFolder:
    """The folder for the files of a study."""
    return RunFolder(user_path(config.out, "--out"), config.study_name, config.checkpoint_dir)


def folder_of(study: StudyStore, out: str) -> RunFolder:
    """The folder of an existing study, for reading; the database knows where its checkpoints are."""
    return RunFolder(user_path(out, "--out"), study.name, study.row.config.get("checkpoint_dir"))


def existing_study(
    name: str | None, storage: str | None, out: str = "nas-runs", *, architectures: bool = False
) -> StudyStore:
    """The study of this name, or the only one, for reading; see `find_study`."""
    return find_study(Store(storage_url(storage, out), create=False), name, architectures=architectures)


def find_study(store: Store, name: str | None, *, architectures: bool = False) -> StudyStore:
    """The study of this name, or the only one of a database.

    Args:
        store: The database.
        name: Its name; None for the only one.
        architectures: Whether its architectures are to be read, and not its figures alone.

    Raises:
        StudyError: If there is none, if there are several and no name is given, or if it needs a plug-in that was not
            imported.
    """
    names = store.names()
    if name is None:
        if len(names) != 1:
            found = f"name one of {', '.join(printable(name, 100) for name in names)}" if names else "it holds none yet"
            raise StudyError(f"which study of {store}? {found}")
        name = names[0]
    study = store.study(name)
    if study is None:
        raise StudyError(f"there is no study {name!r} in {store}; {allowed(name, names) if names else 'it holds none'}")
    check_imported(study.name, study.row.identity, architectures=architectures)
    return study
