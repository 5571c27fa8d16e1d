"""Architectures named on the command line: a model of the zoo, a YAML file, or a trial of a study."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search_space import zoo
from search_space.architecture import Architecture
from search_space.errors import ConfigError, StudyError, allowed
from search_space.paths import user_path
from search_space.size import Size


@dataclass(frozen=True)
class Named:
    """An architecture and its name.

    Attributes:
        name: The name to show.
        architecture: The architecture.
        in_zoo: Whether it is from the zoo, which can scale it to other image sizes.
        in_study: Whether it is a trial of a study.
    """

    name: str
    architecture: Architecture
    in_zoo: bool = False
    in_study: bool = False

    @property
    def deployed(self) -> Named:
        """The same architecture in its deployed form."""
        return replace(self, architecture=self.architecture.deployed)

    def at(self, image_size: Size) -> Architecture:
        """The same design for images of another size.

        Raises:
            ArchitectureError: If there is none.
        """
        if not self.in_zoo:
            return self.architecture.at(image_size)
        other = zoo.get(self.name, image_size=image_size)
        return other.deployed if self.architecture.deployed is self.architecture else other


def find_architecture(text: str, storage: str | None, out: str) -> Named:
    """The architecture that an argument names.

    Args:
        text: A name of the zoo, the path of a YAML file, ``STUDY#TRIAL`` or ``STUDY#best``.
        storage: Database of the study; None for the SQLite file under `out`.
        out: The --out folder of the search.

    Raises:
        NasError: If there is no such architecture, or its file is wrong.
    """
    if text in zoo.names():
        return Named(text, zoo.get(text), in_zoo=True)
    path = user_path(text, "the architecture")
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return Named(path.name, Architecture.from_yaml_file(path))
    study, mark, trial = text.rpartition("#")
    if mark:
        return Named(text, _of_trial(study, trial, storage, out), in_study=True)
    raise ConfigError(
        f"there is no architecture {text!r}: it is not a YAML file, not STUDY#TRIAL, and not in the zoo; "
        + allowed(text, zoo.names())
    )


def _of_trial(name: str, trial: str, storage: str | None, out: str) -> Architecture:
    from nas.study.opening import existing_study
    from results.database.damage import architecture_of
    from results.database.schema import Role
    from results.report.report import make_report

    if trial != "best" and not trial.isdecimal():
        raise ConfigError(f"{name}#{trial} is not a trial; allowed: STUDY#NUMBER, such as {name}#12, and STUDY#best")
    study = existing_study(name, storage, out, architectures=True)
    if trial == "best":
        winner = make_report(study).winner
        if winner is None:
            raise StudyError(f"the study {name!r} has no winner yet; name a trial, such as {name}#0")
        trial = str(winner.trial)
    rows = {row.number: row.architecture for row in study.evaluations(Role.TRIAL)}
    if int(trial) not in rows:
        held = f"allowed: {min(rows)} to {max(rows)}" if rows else "it holds none yet"
        raise StudyError(f"the study {name!r} has no trial {int(trial)}; {held}")
    return architecture_of(rows[int(trial)])
