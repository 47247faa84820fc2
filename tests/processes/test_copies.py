"""Directories that were copied, linked, moved or restored, with a real cluster in one of them: each is believed for its own.

A copy once ended, wrote to and took over the processes of its original: cluster.json has endpoints, supervisor.json has pids.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, processes_below, run

import dynazmq
from dynazmq import paths
from dynazmq.cluster.processes import find_nodes, identify, running_clusters
from dynazmq.errors import InvalidRequest, NoSuchCluster
from dynazmq.paths import ClusterFile


def files_below(directory: Path) -> set[Path]:
    return {found for found in directory.rglob("*") if not found.is_dir()}


def copied(a: Path, b: Path) -> None:
    subprocess.run(["cp", "-a", a, b], check=True)


def copied_without_its_dates(a: Path, b: Path) -> None:
    b.mkdir()
    subprocess.run(f"tar -C {a} --exclude=run -c . | tar -C {b} -x", shell=True, check=True)


def linked_file_by_file(a: Path, b: Path) -> None:
    subprocess.run(["cp", "-al", a, b], check=True)


@pytest.fixture(scope="module", params=["ipc", "tcp"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("original") / "a")
    cluster.up("-n", "1", "--transport", request.param)
    assert cluster.run("put", "whose", "the original's").code == 0
    yield cluster
    cluster.run("down", "--purge", "--yes")
    assert not cluster.directory.exists()


@pytest.fixture(params=[copied, copied_without_its_dates, linked_file_by_file])
def copy(request: pytest.FixtureRequest, original: Cluster, tmp_path: Path) -> Cluster:
    make: Callable[[Path, Path], None] = request.param
    make(original.directory, tmp_path / "b")
    return Cluster(tmp_path / "b")


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ("status", {7}),
        ("put whose the-copy's", {7}),
        ("get whose", {7}),
        ("keys", {7}),
        ("kill n1", {7}),
        ("pause n1", {7}),
        ("node stop n1", {7}),
        ("node restart n1", {7}),
        ("node wipe n1 --yes", {0, 1, 7}),
        ("cluster remove n1 --force --now --yes", {1, 2, 7}),
        ("top --once", {7}),
        ("bench --seconds 1s", {7}),
        ("explain whose", {7}),
        ("cluster wait --for ready --timeout 1s", {6, 7}),
        ("cluster endpoints", {0}),
        ("doctor --fix", {0, 10}),
        ("cluster restart", {1}),
        ("up", {1}),
        ("up --identity same", {1}),
        ("down", {0, 1}),
        ("down --purge --yes", {0, 1}),
    ],
)  # fmt: skip
def test_no_command_on_a_copy_acts_on_the_original(original: Cluster, copy: Cluster, words: str, codes: set[int]) -> None:
    before = original.status()
    ran = copy.run(*words.split())
    assert ran.code in codes, ran
    after = original.status()
    assert [(node["pid"], node["state"]) for node in after["nodes"]] == [(node["pid"], "up") for node in before["nodes"]], ran
    assert after["supervisor_pid"] == before["supervisor_pid"] is not None
    assert original.run("get", "whose").out == "the original's"


def test_a_client_of_a_copy_is_told_that_it_does_not_run(original: Cluster, copy: Cluster) -> None:
    with pytest.raises(NoSuchCluster, match="is a copy of the cluster in"):
        dynazmq.connect(dir=copy.directory)


def test_a_copy_is_listed_as_stopped_and_its_original_as_running(original: Cluster, copy: Cluster) -> None:
    listed = {each["dir"]: each for each in copy.run("cluster", "list", "--json").document["clusters"]}
    assert (listed[str(original.directory)]["running"], listed[str(copy.directory)]["running"]) == (1, 0)
    assert listed[str(copy.directory)]["supervisor_pid"] is None


@pytest.fixture
def base() -> Iterator[Path]:
    """Its path is short, so that the sockets are where the directory is, and move with it."""
    with tempfile.TemporaryDirectory(prefix="dz-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def at(base: Path) -> Iterator[Callable[[str], Cluster]]:
    """Clusters below a directory of the test's, ended when it is over."""
    made: list[Cluster] = []

    def cluster(name: str) -> Cluster:
        made.append(Cluster(base / name))
        return made[-1]

    yield cluster
    for each in made:
        each.run("down")
    assert [place for place in running_clusters() if base in place.parents] == []


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_copy_with_an_identity_of_its_own_runs_beside_the_original(at: Callable[[str], Cluster], transport: str) -> None:
    a, b = at("a"), at("b")
    a.up("-n", "2", "--transport", transport)
    assert a.run("put", "whose", "both").code == 0
    copied(a.directory, b.directory)
    asked = b.run("up")
    assert asked.code == 1
    assert "which runs" in asked.err
    assert "--identity new" in asked.err
    assert "--identity same" in asked.err
    assert b.run("up", "--identity", "other").code == 2
    b.up("--identity", "new")
    with dynazmq.connect(dir=a.directory) as of_a, dynazmq.connect(dir=b.directory) as of_b:
        assert [of_a.get("whose").value, of_b.get("whose").value] == [b"both", b"both"]
        of_b.put("whose", b"the copy's", of_b.get("whose").context)
        assert [of_a.get("whose").value, of_b.get("whose").value] == [b"both", b"the copy's"]
        with pytest.raises(InvalidRequest):
            of_b.put("whose", b"x", of_a.get("whose").context)
    first, second = ClusterFile.load(a.directory), ClusterFile.load(b.directory)
    assert (first.name, second.name) == ("a", "b")
    assert first.cluster_id != second.cluster_id
    assert first.secret != second.secret
    assert not {*first.members.values()} & {*second.members.values()}
    assert b.down().out.startswith("stopped 2 nodes")
    eventually(a.whole, "what was ended was the copy")
    b.up()  # it is a cluster like any other now
    assert b.run("up", "--identity", "new").code == 2
    b.down()
    assert b.run("up", "--identity", "new").code == 2


def test_a_copy_can_take_the_place_of_an_original_that_does_not_run(at: Callable[[str], Cluster]) -> None:
    a, b = at("a"), at("b")
    a.up("-n", "1")
    assert a.run("put", "whose", "both").code == 0
    copied(a.directory, b.directory)
    running = b.run("up", "--identity", "same")
    assert running.code == 1
    assert "both cannot be the same cluster" in running.err
    a.down()
    assert b.run("up").code == 1, "it is not said which of them it is"
    b.up("--identity", "same")
    assert b.run("get", "whose").out == "both"
    twin = a.run("up")
    assert twin.code == 1
    assert f"is a copy of the cluster in {b.directory}, which runs" in twin.err


def test_a_copy_of_a_cluster_that_was_renamed_since_is_known_as_one(at: Callable[[str], Cluster]) -> None:
    a, b, c = at("a"), at("b"), at("c")
    a.up("-n", "1")
    a.down()
    copied(a.directory, b.directory)
    a.directory.rename(c.directory)
    c.up()
    assert f"is a copy of the cluster in {c.directory}, which runs" in b.run("up").err


@pytest.mark.parametrize("supervised", [True, False])
def test_a_cluster_whose_directory_is_moved_ends_and_starts_where_it_is(at: Callable[[str], Cluster], supervised: bool) -> None:
    """Its processes would go on by paths that are another cluster's by then."""
    a, b = at("a"), at("b")
    a.up("-n", "2")
    assert a.run("put", "whose", "the moved one's").code == 0
    nodes = find_nodes(a.directory, ["n1", "n2"])
    if not supervised:
        a.kill_supervisor()
    a.directory.rename(b.directory)
    assert a.run("up", "-n", "1", "--json").code == 0, "a new cluster at once, in the old one's place"
    eventually(lambda: not any(identify(each.pid) for each in nodes.values()), "the nodes of the moved one are gone")
    assert a.run("get", "whose").code == 3
    b.up()
    assert b.run("get", "whose").out == "the moved one's"
    eventually(a.whole, "it goes on as it was")
    assert a.run("get", "whose").code == 3


@pytest.mark.parametrize("supervised", [True, False])
def test_what_is_at_the_old_path_of_a_moved_cluster_is_not_touched_while_that_one_ends(
    at: Callable[[str], Cluster], supervised: bool
) -> None:
    """A frozen node makes its end long. Its supervisor once took the new one's socket for one that a cleaner had removed."""
    a, b = at("a"), at("b")
    a.up("-n", "2")
    nodes = find_nodes(a.directory, ["n1", "n2"])
    if not supervised:
        a.kill_supervisor()
    os.kill(nodes["n1"].pid, signal.SIGSTOP)
    theirs = {*files_below(a.directory), paths.supervisor_socket(a.directory)}
    a.directory.rename(b.directory)
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("another's")
    eventually(lambda: identify(nodes["n2"].pid) is None, "it ends")
    if not supervised:
        os.kill(nodes["n1"].pid, signal.SIGCONT)
    eventually(lambda: not processes_below(a.directory) and identify(nodes["n1"].pid) is None, "it has ended")
    assert {path.read_text() for path in theirs} == {"another's"}
    assert files_below(a.directory) == theirs


def test_a_directory_restored_under_its_processes_is_served_by_new_ones(at: Callable[[str], Cluster], base: Path) -> None:
    a = at("a")
    a.up("-n", "1")
    assert a.run("put", "when", "before").code == 0
    a.down()
    copied(a.directory, base / "backup")
    a.up()
    assert a.run("put", "when", "after").code == 0
    old = find_nodes(a.directory, ["n1"])["n1"]
    shutil.rmtree(a.directory)
    copied(base / "backup", a.directory)
    assert a.run("get", "when").code == 7
    assert a.down().out == "it is not running: nothing to stop\n"
    a.up()
    assert a.run("get", "when").out == "before"
    eventually(lambda: identify(old.pid) is None, "the old one is gone")


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_cluster_whose_directory_is_deleted_ends_and_leaves_nothing(
    at: Callable[[str], Cluster], base: Path, depth: int, supervised: bool
) -> None:
    """Where its sockets are elsewhere it ran for ever, and no command could name it; else it made DIR/run anew, and left it."""
    a = at("/".join([*["long" * 10] * (depth - 1), "a"]))
    a.directory.parent.mkdir(parents=True, exist_ok=True)
    a.up("-n", "2")
    assert (paths.runtime_dir(a.directory).parent == a.directory) == (depth == 1)
    mine = {*find_nodes(a.directory, ["n1", "n2"]).values(), identify(a.status()["supervisor_pid"])}
    if not supervised:
        a.kill_supervisor()
    while a.directory.exists():  # what a node writes meanwhile may come in between
        shutil.rmtree(a.directory, ignore_errors=True)
    eventually(lambda: not any(each and identify(each.pid) == each for each in mine), "all its processes are gone")
    assert not a.directory.exists()
    if supervised:
        assert not paths.runtime_dir(a.directory).exists()


@pytest.mark.parametrize("depth", [1, 3])
def test_a_directory_is_the_same_under_any_spelling(at: Callable[[str], Cluster], base: Path, depth: int) -> None:
    """depth: with a long path the sockets are elsewhere, at a place that is found by the path."""
    real = base / ("/".join(["long" * 10] * (depth - 1)) or ".") / "a"
    real.parent.mkdir(parents=True, exist_ok=True)
    (base / "link").symlink_to(real)
    (base / "parent").symlink_to(real.parent)
    a = at(str(real.relative_to(base)))
    a.up("-n", "1")
    for n, spelling in enumerate(
        (base / "link", base / "parent" / "a", real / ".." / "a", f"{real}/", os.path.relpath(real), f"{real}/./")
    ):
        assert run("status", "--check", "--dir", str(spelling)).code == 0, spelling
        assert run("put", "k", str(n), "--dir", str(spelling)).code == 0
        assert run("up", "--dir", str(spelling)).code == 0
        with dynazmq.connect(dir=spelling) as client:
            assert client.get("k").value == str(n).encode()
    assert run("down", "--dir", str(base / "link")).out.startswith("stopped 1 node")
    assert a.leftovers() == []
