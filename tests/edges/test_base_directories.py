"""Where a cluster is when nobody says: the home directory and the XDG directories, whatever is said of them."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.errors import InvalidRequest
from dynazmq.home import base_dir, home, is_homeless
from dynazmq.paths import DIRECTORY_BYTES_MAX, cluster_dir


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNAZMQ_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize("said", ["", "relative", "./here", "~"])
def test_a_relative_base_directory_is_ignored_as_its_specification_says(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, said)
    assert cluster_dir() == Path("/home/me/.local/state/dynazmq/default")
    assert base_dir("XDG_DATA_HOME", ".local/share") == Path("/home/me/.local/share")


@pytest.mark.parametrize("said", ["", "relative", None])
def test_without_a_home_that_can_be_meant_it_is_the_one_that_the_system_knows(
    said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    if said is not None:
        monkeypatch.setenv("HOME", said)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: pwd.struct_passwd(("me", "x", uid, uid, "", str(tmp_path), "/bin/sh")))
    assert home() == tmp_path
    assert cluster_dir() == tmp_path / ".local/state/dynazmq/default"


@pytest.fixture
def var_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a container whose user has a number and no name."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    monkeypatch.setattr("dynazmq.home._VAR_TMP", tmp_path)
    return tmp_path


def test_a_user_without_a_home_has_a_place_that_outlives_a_reboot(var_tmp: Path) -> None:
    assert is_homeless()
    assert cluster_dir() == var_tmp / "dynazmq-54321/default"
    assert cluster_dir("/c") == Path("/c")
    with pytest.raises(InvalidRequest, match=r"no home directory is known of user 54321: set HOME .* --dir"):
        home()


def test_a_home_that_is_known_and_not_there_is_none(var_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = pwd.struct_passwd(("nobody", "x", 54_321, 54_321, "", "/nonexistent", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: known)
    assert cluster_dir() == var_tmp / "dynazmq-54321/default"


def test_what_somebody_else_has_put_there_is_not_believed(var_tmp: Path) -> None:
    (var_tmp / "dynazmq-54321").mkdir()  # it belongs to who runs the test
    with pytest.raises(InvalidRequest, match=r"dynazmq-54321 cannot be used instead: set HOME"):
        cluster_dir()
    (var_tmp / "dynazmq-54321").rmdir()
    (var_tmp / "dynazmq-54321").symlink_to("/etc")
    with pytest.raises(InvalidRequest, match="cannot be used instead"):
        cluster_dir()


def test_the_home_of_somebody_unknown_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="whose home directory that is is not known"):
        cluster_dir("~nobody-of-that-name/c")


@given(st.text(max_size=600).map(lambda name: "/c/" + name))
def test_whatever_is_asked_for_is_a_path_that_can_be_printed_and_sent_or_is_refused(asked: str) -> None:
    try:
        found = str(cluster_dir(asked))
    except InvalidRequest as error:
        found = str(error)
    assert found.isprintable()
    assert len(found.encode()) <= DIRECTORY_BYTES_MAX or not found.startswith("/")
