"""Where a cluster is when nobody says: the home directory and the XDG directories, whatever is said of them."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.errors import InvalidRequest
from dynazmq.paths import DIRECTORY_BYTES_MAX, base_dir, cluster_dir, home


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
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    if said is not None:
        monkeypatch.setenv("HOME", said)
    known = Path(pwd.getpwuid(0).pw_dir)
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert home() == known
    assert cluster_dir() == known / ".local/state/dynazmq/default"


def test_a_user_whom_nobody_knows_is_told_to_say_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose user has a number and no name."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    with pytest.raises(InvalidRequest, match=r"no home directory is known of user 54321: set HOME .* --dir"):
        cluster_dir()
    assert cluster_dir("/c") == Path("/c")


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
