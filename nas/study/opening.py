"""Opening a study: a new one is created, an existing one is continued if it asks the same question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from nas.config import SearchConfig
from nas.study.files import RunFolder, local_roots, storage_url
from nas.study.housekeeping import settle
from nas.study.ownership import Owner
from results.database.connection import shown, sqlite_file
from results.report.hypervolume import reference_point
from results.store.store import Store, StudyStore
from runners.data import describe_dataset, fingerprint, validation_images
from runners.protocol import DataSpec
from runners.recipe import Recipe, recipe_for
from search_space.architecture import Architecture
from search_space.errors import StudyError, allowed, printable
from search_space.paths import user_path
from search_space.space import Limits, SearchSpace, load_space
from search_space.zoo.scaled import family_points


@dataclass(frozen=True)
class StudySpec:
    """What a search asks: it must not change while a study lasts, else its trials could not be compared.

    Attributes:
        space: The search space, bound to the data's image size.
        limits: Limits on cost.
        data: The images.
        recipe: The training.
        config: All settings, those that may change included.
        validation_images: Size of the validation split, if it is known.
    """

    space: SearchSpace
    limits: Limits
    data: DataSpec
    recipe: Recipe
    config: SearchConfig
    validation_images: int | None = None

    def identity(self) -> dict[str, Any]:
        """The question as plain data, to be compared on continuation."""
        data = asdict(self.data)
        del data["directory"]  # the same images may lie elsewhere
        data["name"] = self.data.name.encode(errors="backslashreplace").decode()  # a path may be no UTF-8
        data["fingerprint"] = self.fingerprint
        return {
            "space": self.space.to_dict(),
            "data": data,
            "objective": list(self.config.objective),
            "max_params": self.limits.max_params,
            "max_macs": self.limits.max_macs,
            "max_latency_ms": self.config.max_latency_ms,
            "recipe": asdict(self.recipe),
            "seed": self.config.seed,
        }

    def families(self) -> dict[str, Architecture]:
        """The hand-designed families within the limits, by name."""
        return family_points(self.space, self.limits)

    @cached_property
    def fingerprint(self) -> str:
        """What identifies the images besides their name."""
        return fingerprint(self.data)

    @cached_property
    def scoring_context(self) -> str:
        """16 hexadecimal digits that are equal where proxies say the same of an architecture."""
        known = {
            "data": _without_place(self.identity()["data"]),
            "recipe": asdict(self.recipe),
            "seed": self.config.seed,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def make_spec(config: SearchConfig) -> StudySpec:
    """Resolve a configuration: find the data set, bind the space to it, check the limits.

    Raises:
        NasError: If the data set, the space or a limit is not usable.
    """
    config.check_compute()
    data = _data(config)
    info = describe_dataset(data)
    space = load_space(config.space, image_size=info.image_size, in_channels=info.in_channels, classes=info.classes)
    limits = config.limits(space.limits)
    space.check_limits(limits)
    overrides = {name: getattr(config, name) for name in ("epochs", "batch_size", "lr")}
    recipe = recipe_for(config.data, **{name: value for name, value in overrides.items() if value is not None})
    return StudySpec(space, limits, data, recipe, config, validation_images(data))


def _data(config: SearchConfig) -> DataSpec:
    """The images, with absolute paths: workers run in other folders."""
    name, colon, path = config.data.partition(":")
    name = f"{name}:{user_path(path, 'the folder of images').resolve()}" if colon and path else config.data
    directory = None if config.data_dir is None else str(user_path(config.data_dir, "--data-dir").resolve())
    return DataSpec(name, directory, image_size=config.image_size)


def open_study(store: Store, spec: StudySpec) -> tuple[StudyStore, bool]:
    """The study to work on, and whether it is new.

    Raises:
        StudyError: If the study exists and asks another question.
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
    differences = list(_differences(*_comparable(study.row.identity, spec)))
    if differences:
        raise StudyError(
            f"the study {study.name!r} asks another question than this command: {'; '.join(differences)}. "
            "Use the settings it was begun with, or a new name with --study"
        )
    study.update_config(public_settings(config))
    return study, is_new


def open_folder(config: SearchConfig) -> RunFolder:
    """The folder of the study's files."""
    return RunFolder(user_path(config.out, "--out"), config.study_name, config.checkpoint_dir)


def open_store(config: SearchConfig, folder: RunFolder, on_wait: Callable[[str], None] = lambda _: None) -> Store:
    """The database of a search whose files may lie in this folder; else nothing is written, and no database made.

    What a renaming or deletion that was killed has left is settled before.

    Raises:
        StorageError: If the database cannot be used, or the folder is somebody else's.
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


def open_with_files(store: Store, spec: StudySpec, folder: RunFolder) -> tuple[StudyStore, bool]:
    """`open_study`, and its folder is made and marked; a study that is refused leaves no folder behind."""
    with folder.made():
        study, is_new = open_study(store, spec)
        folder.claim(Owner.of(store, study.row))
    return study, is_new


def folder_of(study: StudyStore, out: str) -> RunFolder:
    """The folder of a study that exists, to read from: where its checkpoints lie, the database says."""
    return RunFolder(user_path(out, "--out"), study.name, study.row.config.get("checkpoint_dir"))


def public_settings(config: SearchConfig) -> dict[str, Any]:
    """The settings as plain data, without the database's password."""
    settings = asdict(config)
    settings["objective"] = list(config.objective)
    settings["parts"] = asdict(config.parts)
    if config.storage:
        settings["storage"] = shown(config.storage)
    return settings


def existing_study(name: str | None, storage: str | None, out: str = "nas-runs") -> StudyStore:
    """The study to show or export: the one of this name, or the only one.

    Raises:
        StudyError: If there is none, or several and no name.
    """
    return find_study(Store(storage_url(storage, out), create=False), name)


def find_study(store: Store, name: str | None) -> StudyStore:
    """The study of this name, or the only one.

    Raises:
        StudyError: If there is none, or several and no name.
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
    return study


def _comparable(recorded: Mapping[str, Any], spec: StudySpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was asked and what is asked now; images that are known by their content may lie elsewhere now."""
    before, now = dict(recorded), spec.identity()
    known = before.get("data", {}).get("fingerprint", "")
    if known != spec.fingerprint:
        now["data"]["fingerprint"] = fingerprint(spec.data, known)
    if known and known == now["data"]["fingerprint"]:
        before["data"], now["data"] = _without_place(before["data"]), _without_place(now["data"])
    return before, now


def _without_place(data: Mapping[str, Any]) -> dict[str, Any]:
    """Images without the path of their folder, if their content says which they are."""
    return {**data, "name": data["name"].partition(":")[0]} if data["fingerprint"] else dict(data)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """What differs, key by key, in words."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} was {_short(before)} and is now {_short(after)}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
