"""Root and the owner, two users of one host, a directory of somebody else's: who acts is refused, who looks leaves no file.

Where the tests run as root there is a real second user, by its number. Elsewhere the one who runs them pretends to be another:
who owns what is asked of `users.me`, and what may not be read has mode 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from supervised import Cluster, Ran

from dynazmq import paths, users
from dynazmq.cluster import processes
from dynazmq.cluster.directory import faults, ownership, state
from dynazmq.cluster.operations import launch
from dynazmq.cluster.processes import environment, identify
from dynazmq.errors import ClusterError, NotPermitted

ANOTHER = 54_321
"""No user of any host, one hopes: it has no name."""

ACTS = [
    "up",
    "down",
    "down --purge --yes",
    "cluster restart",
    "cluster restart --rolling",
    "node kill n1",
    "node restart n1",
    "node pause n1",
    "node stop n1",
    "node wipe n1 --yes",
    "cluster add n2 --now",
    "cluster add n2",
    "cluster remove n1 --force --now --yes",
    "cluster clear",
    "fault slow n1 10ms",
    "heal",
    "aae pause",
]  # fmt: skip
LOOKS = [
    "status",
    "get whose",
    "put whose mine",
    "keys",
    "logs",
    "cluster events",
    "cluster list",
    "cluster endpoints",
    "doctor",
    "doctor --fix",
    "tui --once",
    "top --once",
    "metrics",
    "node show n1",
    "inspect n1",
    "verify",
    "explain whose",
    "config show",
    "hints list",
    "aae status",
]  # fmt: skip


def everything(directory: Path) -> dict[str, tuple[int, int]]:
    """Path → (inode, owner), without what a node makes anew by itself: sockets, and the log of its database."""
    return {
        str(path.relative_to(directory)): (found.st_ino, found.st_uid)
        for path in directory.rglob("*")
        if (found := path.lstat()) and not path.is_socket() and not path.name.startswith("data.db-")
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("owner") / "c")
    cluster.up("-n", "1")
    assert cluster.run("put", "whose", "the owner's").code == 0
    yield cluster
    cluster.run("down", "--purge", "--yes")


@pytest.mark.parametrize("words", ACTS)
def test_who_acts_on_another_users_cluster_is_refused_and_told_as_whom_to_do_it(
    cluster: Cluster, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, pids, owner = everything(cluster.directory), cluster.pids(), users.name_of(os.geteuid())
    with monkeypatch.context() as patch:
        patch.setattr(users, "me", lambda: ANOTHER)
        ran = cluster.run(*words.split())
    assert ran.code == 1, ran
    assert f"belongs to {owner}" in ran.err, ran
    assert f"sudo -u {owner} dynazmq … --dir {cluster.directory}" in ran.err, ran
    assert f"{owner} runs supervisor (pid" in ran.err, ran
    assert (everything(cluster.directory), cluster.pids()) == (before, pids), "nothing was made or ended"


@pytest.mark.parametrize("words", LOOKS)
def test_who_only_looks_at_another_users_cluster_leaves_no_file(
    cluster: Cluster, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(cluster.directory)
    with monkeypatch.context() as patch:
        patch.setattr(users, "me", lambda: ANOTHER)
        ran = cluster.run(*words.split())
    assert ran.code in ((0, 10) if words.startswith("doctor") else (0,)), ran
    assert everything(cluster.directory) == before


def test_a_fault_that_is_over_is_not_forgotten_by_another_user_who_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` of root wrote faults.json anew, and then it was root's. Here no process of the cluster looks at the same time."""
    members = {"n1": "ipc:///somewhere/n1.sock"}
    paths.ClusterFile(name="c", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1).save(tmp_path)
    (tmp_path / "nodes").mkdir()
    file = paths.faults_path(tmp_path)
    faults.put_on(tmp_path, faults.Fault(kind="slow", nodes=("n1",), delay_ms=1), ["n1"], 1e-6)
    assert file.exists()
    with monkeypatch.context() as patch:
        patch.setattr(users, "me", lambda: ANOTHER)
        assert faults.load(tmp_path) == [], "it is over"
        assert file.exists()
    assert faults.load(tmp_path) == []
    assert not file.exists(), "its user forgets it"


# --- what another user has left in a directory of one's own -----------------------------------------------------------------


def test_a_file_of_another_users_is_named_with_the_command_that_gives_it_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    really = os.stat(cluster.directory / "nodes" / "n1" / "data.db")
    monkeypatch.setattr(users, "foreign_file", lambda directory: directory / "nodes" / "n1" / "data.db")
    monkeypatch.setattr(
        users, "_stat", lambda path: _given_to(os.stat(path), ANOTHER) if path.name == "data.db" else os.stat(path)
    )
    assert really.st_uid == owner
    with pytest.raises(NotPermitted, match=rf"data\.db belongs to #{ANOTHER}.*chown -R {owner} "):
        ownership.check_own(cluster.directory)


def _given_to(found: os.stat_result, uid: int) -> os.stat_result:
    fields = list(found)
    fields[4] = uid
    return os.stat_result(fields)


def test_processes_of_another_user_are_named_with_the_command_that_ends_them(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release let root take over a user's directory; its user was told that nothing runs there."""
    supervisor = cluster.status()["supervisor_pid"]
    monkeypatch.setattr(processes, "_user", lambda _pid: 0 if os.geteuid() else ANOTHER)
    for words in ("up", "down", "node kill n1", "fault slow n1 1ms", "cluster add n2"):
        ran = cluster.run(*words.split())
        assert ran.code == 1, (words, ran)
        assert f"runs supervisor (pid {supervisor})" in ran.err, (words, ran)
        assert f"kill {supervisor} && " in ran.err, (words, ran)
    assert cluster.run("doctor").code == 10
    assert "runs it (pid" in cluster.run("cluster", "list").out
    monkeypatch.undo()
    assert cluster.status()["supervisor_pid"] == supervisor


# --- directories for sockets ------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /tmp of the test's own."""
    place = tmp_path / "t"
    place.mkdir()
    monkeypatch.setattr(paths, "_SHORT", place)
    return place


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A directory whose sockets are elsewhere."""
    directory = tmp_path / ("long" * 20)
    directory.mkdir()
    members = {"n1": "ipc:///somewhere/n1.sock"}
    paths.ClusterFile(name="c", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1).save(directory)
    return directory


def planted_directory(place: Path) -> None:
    place.mkdir()


def planted_link(place: Path) -> None:
    place.symlink_to(place.parent.parent)


def planted_file(place: Path) -> None:
    place.write_text("")


@pytest.mark.parametrize("plant", [planted_directory, planted_link, planted_file])
@pytest.mark.parametrize("inner", [False, True])
def test_nobody_talks_to_what_another_user_has_put_in_the_place_of_the_sockets(
    shared: Path, long: Path, monkeypatch: pytest.MonkeyPatch, plant: object, inner: bool
) -> None:
    """In /tmp anybody may: a client handed its keys and values to whoever listened there."""
    run = paths.runtime_dir(long)
    assert run.parent.parent == shared
    if inner:
        run.parent.mkdir(mode=0o700)
    (plant)(run if inner else run.parent)  # type: ignore[operator]
    if plant is planted_directory:
        real, owned = Path.lstat, run if inner else run.parent
        monkeypatch.setattr(Path, "lstat", lambda path: _given_to(real(path), ANOTHER) if path == owned else real(path))
    for talk in (
        lambda: paths.ClusterFile.load(long),
        lambda: launch.control.call(long, "facts"),
        lambda: paths.make_private(run),
    ):
        with pytest.raises(ClusterError, match="is to hold this cluster's sockets"):
            talk()


def test_sockets_are_where_the_clusters_user_has_them_whoever_looks(
    shared: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root looked for them in root's own directory, and found no supervisor."""
    run = paths.runtime_dir(long)
    monkeypatch.setattr(users, "me", lambda: ANOTHER)
    assert paths.runtime_dir(long) == run
    assert paths.ClusterFile.load(long).members == {"n1": f"ipc://{run}/n1.sock"}


# --- a second user who is one -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """Types commands. uid: None for whoever runs the tests."""

    uid: int | None
    home: Path

    def type(self, *words: str) -> Ran:
        who = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}
        state = {f"XDG_{name}_HOME": str(self.home / name.lower()) for name in ("STATE", "CONFIG", "CACHE", "DATA")}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dynazmq", *words], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**environment(), "HOME": str(self.home), **state, "PYTHONDONTWRITEBYTECODE": "1"}, **who,  # type: ignore[call-overload]
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def alice() -> Iterator[User]:
    """The owner: another user than root where there can be one."""
    with tempfile.TemporaryDirectory(
        prefix="dz-", dir="/tmp"
    ) as place:  # the tests' own directories may not be entered by others
        os.chmod(place, 0o755)
        home = Path(place) / "alice"
        home.mkdir()
        user = User(ANOTHER if os.geteuid() == 0 else None, home)
        if user.uid is not None:
            os.chown(home, user.uid, user.uid)
            try:
                if user.type("version").code:
                    user = User(None, home)  # she may not read this checkout
            except OSError:
                user = User(None, home)
        yield user


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in (directory, *directory.rglob("*"))}


def test_of_a_users_cluster_nothing_is_roots_after_roots_commands(alice: User) -> None:
    directory = alice.home / "c"
    root = User(None, alice.home.parent / "root")
    root.home.mkdir()
    at = "--dir", str(directory)
    ran = alice.type("up", "-n", "1", *at)
    assert ran.code == 0, ran
    try:
        assert alice.type("put", "whose", "alice's", *at).code == 0
        for words in ("status", "get whose", "inspect n1", "logs", "tui --once", "doctor --fix"):
            assert (ran := root.type(*words.split(), *at)).code in (0, 10), (words, ran)
        if alice.uid is not None:
            for words in ("cluster restart", "down", "node restart n1", "up"):
                assert (ran := root.type(*words.split(), *at)).code == 1, (words, ran)
                assert f"belongs to #{alice.uid}" in ran.err, (words, ran)
        assert owners(directory) == {directory.stat().st_uid}
    finally:
        assert alice.type("down", *at).code == 0
    for words in ("status", "inspect n1", "doctor --fix"):  # SQLite makes files beside a database that nobody has open
        root.type(*words.split(), *at)
    assert owners(directory) == {directory.stat().st_uid}
    assert alice.type("down", "--purge", "--yes", *at).code == 0


NEVER_NOT_THERE = [
    "status",
    "up",
    "down",
    "get whose",
    "cluster list",
    "logs",
    "node kill n1",
    "tui --once",
    "doctor",
    "down --purge --yes",
]


@pytest.mark.parametrize("closed", ["the directory", "the file"])
def test_what_may_not_be_read_is_not_taken_for_what_is_not_there(alice: User, closed: str) -> None:
    directory = alice.home / "c"
    directory.mkdir(mode=0o755)
    paths.ClusterFile(name="c", cluster_id=1, secret=b"x" * 32, members={"n1": ""}, n=1, r=1, w=1).save(directory)
    shut = directory if closed == "the directory" else directory / "cluster.json"
    shut.chmod(0 if os.geteuid() else 0o700 if shut.is_dir() else 0o600)
    try:
        for words in NEVER_NOT_THERE:
            ran = alice.type(*words.split(), "--dir", str(directory))
            if alice.uid is None and os.geteuid() == 0:
                assert "Traceback" not in ran.err  # root may read all: there is no second user here
                continue
            if alice.uid is None and closed == "the file" and words.startswith("down"):
                assert ran.code == 0, "it is his own: that no process of it runs is known, and it may be removed"
                continue
            assert ran.code == {"cluster list": 0, "doctor": 10}.get(words, 1), (words, ran)
            assert "belongs to" in ran.out + ran.err or "ls -ld" in ran.out + ran.err, (words, ran)
            assert "no cluster in" not in ran.out + ran.err, (words, ran)
    finally:
        if shut.exists():
            shut.chmod(0o700)


def test_a_supervisor_of_root_in_a_users_directory_is_named_to_the_user(alice: User) -> None:
    directory = alice.home / "c"
    at = "--dir", str(directory)
    assert alice.type("up", "-n", "1", *at).code == 0
    assert alice.type("down", *at).code == 0
    held = state.take_lock(directory)
    assert held is not None
    supervisor = launch.start_supervisor(directory, held, None, None)
    os.close(held)
    try:
        launch.await_supervisor(directory, supervisor, float("inf"))
        if alice.uid is not None:
            words = {"status": 0, "up": 1, "down": 1, "get whose": 1, "node kill n1": 1, "doctor": 10}
            for line, code in words.items():
                ran = alice.type(*line.split(), *at)
                assert ran.code == code, (line, ran)
                assert f"root runs supervisor (pid {supervisor.pid})" in ran.out + ran.err, (line, ran)
        theirs = json.loads(alice.type("cluster", "list", "--json").out)["of_others"]
        assert any(each["supervisor_pid"] == supervisor.pid for each in theirs) == (alice.uid is not None)
    finally:
        supervisor.terminate()
        supervisor.wait()
    assert identify(supervisor.pid) is None


def test_root_by_sudo_makes_no_cluster_in_the_home_of_who_typed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "me", lambda: 0)
    monkeypatch.setattr(users, "_stat", lambda path: _given_to(os.stat(path), ANOTHER) if path == tmp_path else None)
    users.check_own(tmp_path / "state" / "c")
    monkeypatch.setenv("SUDO_UID", str(ANOTHER))
    with pytest.raises(NotPermitted, match=f"belongs to #{ANOTHER}"):
        users.check_own(tmp_path / "state" / "c")
