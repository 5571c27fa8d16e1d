"""Ray's folders: problems with them are reported before Ray is started."""

from __future__ import annotations

import os
import tempfile

import pytest

from runners.on_ray.folders import check_home, check_ray_folders, check_temporary
from search_space.errors import RunnerError

NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("", "'', which is not an absolute path"),
        ("rel", "'rel', which is not an absolute path"),
        ("/dev/null/x", "'/dev/null/x', where '/dev/null' is not a folder"),
        ("/dev/null", "'/dev/null', where it is not a folder"),
        ("/proc/x", "'/proc/x', where '/proc' cannot be written to ("),
        ("/" + "x" * 39, "which is too long for the paths of its sockets, by 1 bytes"),
        ("/" + "ü" * 20, "which is too long for the paths of its sockets, by 2 bytes"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_one_sentence(place, problem):
    for environment in ({"RAY_TMPDIR": place, "TMPDIR": "/tmp"}, {"TMPDIR": place}):
        with pytest.raises(RunnerError) as caught:
            check_ray_folders(environment | NO_TOKEN)
        assert problem in str(caught.value)
        assert str(caught.value).endswith(
            "set RAY_TMPDIR to a folder that can be written to, with a path of at most 39 bytes"
        )


def test_folders_that_ray_can_use(tmp_path):
    check_ray_folders(NO_TOKEN)
    check_ray_folders({"TMPDIR": "/" + "x" * 38, **NO_TOKEN})
    check_ray_folders({"RAY_TMPDIR": "/tmp/", "TMPDIR": "/dev/null/x", **NO_TOKEN})
    check_ray_folders({"RAY_TMPDIR": f"/tmp/{os.getpid()}/is/made", **NO_TOKEN})


def test_the_limit_is_that_of_rays_sockets():
    """Of the names that Ray gives to them, with the longest number of a process (proc(5): pid_max is 2^22)."""
    node = pytest.importorskip("ray._private.utils")
    session = "ray/session_2026-11-30_23-59-59_999999_4194304/sockets"
    for socket in ("plasma_store", "raylet"):
        node.validate_socket_filepath(f"/{'x' * 38}/{session}/{socket}")
    with pytest.raises(OSError, match="AF_UNIX path length"):
        node.validate_socket_filepath(f"/{'x' * 39}/{session}/plasma_store")


def test_rays_token_needs_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/dev/null/x")
    with pytest.raises(RunnerError) as caught:
        check_ray_folders({})
    assert str(caught.value) == (
        "Ray cannot keep its token in '/dev/null/x/.ray', where '/dev/null' is not a folder; "
        "set HOME to a folder that can be written to, or RAY_AUTH_TOKEN to a secret of your own"
    )
    for environment in (NO_TOKEN, {"RAY_AUTH_TOKEN": "x" * 32}, {"RAY_AUTH_TOKEN_PATH": "/some/file"}):
        check_ray_folders(environment)
    monkeypatch.setenv("HOME", str(tmp_path))
    check_ray_folders({})
    assert list(tmp_path.iterdir()) == []


def test_no_home(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    with pytest.raises(RunnerError, match="Ray needs a home folder, and there is none; set HOME"):
        check_home()


def test_no_place_for_temporary_files(monkeypatch):
    check_temporary()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/x", "/dev/null"])
    with pytest.raises(RunnerError, match="set TMPDIR"):
        check_temporary()
