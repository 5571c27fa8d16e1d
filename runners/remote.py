"""Locations of checkpoints and weights: a path, or an object on remote storage (S3, Google Cloud Storage).

Remote storage is accessed through `pyarrow.fs`, which comes with Ray. It finds credentials in the same places as the
storage's own tools (``AWS_ACCESS_KEY_ID``, ``~/.aws``, an instance's role, ``GOOGLE_APPLICATION_CREDENTIALS``); they
are not allowed in URLs, which are shown in messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from search_space.errors import StorageError
from search_space.paths import user_path

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

REMOTE_SCHEMES = ("s3", "gs")
ALLOWED = "allowed: a path, file:///PATH, s3://BUCKET/KEY, gs://BUCKET/KEY"


@dataclass(frozen=True)
class RemoteFile:
    """An object on remote storage, with the methods of `pathlib.Path` that files of evaluations need.

    It holds no connection, so it can be pickled. Every failure is an OSError, a missing object a FileNotFoundError.

    Attributes:
        url: Such as ``s3://bucket/runs/trial-0001.pt?region=eu-west-1``; `locate` checks it.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemoteFile:
        """The object with this name under it."""
        parts = urlsplit(self.url)
        return RemoteFile(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}")))

    def read_bytes(self) -> bytes:
        """The content."""
        try:
            filesystem, path = self._open()
            with filesystem.open_input_stream(path) as stream:
                return bytes(stream.read())
        except _arrow_errors() as error:
            raise OSError(str(error)) from error

    def write_bytes(self, content: bytes) -> None:
        """Write the whole object; until then, readers see the previous content."""
        try:
            filesystem, path = self._open()
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
        except _arrow_errors() as error:
            raise OSError(str(error)) from error

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete it."""
        try:
            filesystem, path = self._open()
            filesystem.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise
        except _arrow_errors() as error:
            raise OSError(str(error)) from error

    def _open(self) -> tuple[FileSystem, str]:
        parts = urlsplit(self.url)
        filesystem, root = connect(f"{parts.scheme}://{parts.netloc}" + (f"/?{parts.query}" if parts.query else ""))
        return filesystem, f"{root.strip('/')}/{unquote(parts.path).strip('/')}".lstrip("/")


Location: TypeAlias = Path | RemoteFile


def locate(place: str) -> Location:
    """The location that a path or URL names.

    Raises:
        StorageError: If it is neither, or not supported.
    """
    scheme, found, rest = place.partition("://")
    if not found and not re.match(r"(file|s3|gs):", place):
        return user_path(place, "the place", StorageError)
    if "@" in rest.partition("/")[0]:
        raise StorageError(
            f"a URL of {scheme} contains credentials, which messages would show; set them in the environment"
        )
    parts = urlsplit(place)
    if scheme == "file" and found and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return Path(unquote(parts.path))
    if scheme in REMOTE_SCHEMES and found and parts.netloc and parts.path.strip("/"):
        return RemoteFile(place)
    raise StorageError(f"the location {place!r} is not supported; {ALLOWED}")


@lru_cache(maxsize=8)
def connect(root: str) -> tuple[FileSystem, str]:
    """The file system of ``SCHEME://BUCKET[/?OPTIONS]``, and the bucket's path in it."""
    from pyarrow.fs import FileSystem

    filesystem, path = FileSystem.from_uri(root)
    return filesystem, path


def _arrow_errors() -> type[Exception]:
    """Exceptions that pyarrow raises besides OSError."""
    from pyarrow.lib import ArrowException

    return ArrowException  # type: ignore[no-any-return]
