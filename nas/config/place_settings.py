"""Where a search runs, and what it keeps where."""

from __future__ import annotations

from dataclasses import dataclass

from nas.config.setting import setting
from nas.config.values import (
    LEAST_RESERVED,
    MOST_RESERVED,
    choice,
    gpus,
    image_size,
    location,
    number,
    output_path,
    path,
    study_name,
    text,
    whole,
)
from runners.protocol import IMAGE_CACHES
from runners.registry import RUNNERS


@dataclass(frozen=True)
class PlaceSettings:
    """Where it runs, and what is kept."""

    runner: str = setting("ray", choice(RUNNERS), "NAME", "What executes trials")
    address: str | None = setting(
        None,
        text(),
        "ADDRESS",
        "Ray cluster: auto, HOST:PORT, ray://HOST:PORT",
        otherwise="$RAY_ADDRESS, else Ray on this machine",
    )
    cpus_per_trial: float = setting(
        1.0,
        number(LEAST_RESERVED, MOST_RESERVED, include=True),
        "X",
        "CPU cores that a trial reserves; it runs as many threads",
        otherwise="1",
        unit="cores",
    )
    gpus_per_trial: float | None = setting(
        None,
        gpus(),
        "X",
        "GPUs that a trial reserves, such as 0.25; several share every batch",
        otherwise="1 if there are GPUs, else 0",
        unit="GPUs",
    )
    device: str = setting("auto", text(), "NAME", "Device that trains: auto, cpu, cuda, cuda:1")
    data_dir: str | None = setting(
        None, path(), "DIR", "Folder in which data sets are cached", otherwise="$NAS_DATA_DIR, else ~/.cache/nas"
    )
    image_size: int | tuple[int, int] | None = setting(
        None,
        image_size(),
        "PIXELS",
        "Side, or HEIGHTxWIDTH, to which the images of a folder are resized",
        otherwise="64",
        unit="pixels",
    )
    channels: int | None = setting(
        None,
        whole(1, 4),
        "N",
        "Channels to which the images of a folder are converted: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA",
        otherwise="3",
        unit="channels",
    )
    image_cache: str = setting(
        "auto", choice(IMAGE_CACHES), "NAME", "Decode images of a folder once (disk) or every epoch (none)"
    )
    storage: str | None = setting(
        None,
        text(),
        "URL",
        "Database: sqlite:///FILE or postgresql+psycopg://...",
        otherwise="$NAS_STORAGE, else a SQLite file under --out",
        secret=True,
    )
    study: str | None = setting(None, study_name(), "NAME", "Name of the study", otherwise="SPACE-DATA")
    out: str = setting("nas-runs", output_path(), "DIR", "Folder for everything the search writes")
    checkpoint_dir: str | None = setting(
        None,
        location(),
        "DIR|URL",
        "Folder for checkpoints and weights: a path, s3://..., gs://...",
        otherwise="that of --out",
    )
