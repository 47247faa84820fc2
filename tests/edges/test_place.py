"""Whether a directory is still where it was, for a process that works in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynazmq.cluster import processes
from dynazmq.paths import ClusterFile, ipc_endpoint
from dynazmq.place import Place


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "around" / "a"
    made.mkdir(parents=True)
    (made / "lock").touch()
    return made


def nothing(_directory: Path) -> None:
    pass


def rename(directory: Path) -> None:
    directory.rename(directory.with_name("b"))


def rename_and_link(directory: Path) -> None:
    rename(directory)
    directory.symlink_to(directory.with_name("b"))


def rename_and_make_anew(directory: Path) -> None:
    rename(directory)
    directory.mkdir()


def rename_and_copy_back(directory: Path) -> None:
    rename(directory)
    shutil.copytree(directory.with_name("b"), directory)


def rename_what_is_around_it(directory: Path) -> None:
    directory.parent.rename(directory.parent.with_name("elsewhere"))


def delete(directory: Path) -> None:
    shutil.rmtree(directory)


def delete_and_make_anew(directory: Path) -> None:
    delete(directory)
    directory.with_name("keeps-the-number").mkdir()
    directory.mkdir()


def copy(directory: Path) -> None:
    shutil.copytree(directory, directory.with_name("b"))


WAYS = [
    # What is done to it; where it is then; the one at its old path is the same.
    (nothing, "around/a", True),
    (copy, "around/a", True),
    (rename, "around/b", False),
    (rename_and_link, "around/a", True),
    (rename_and_make_anew, "around/b", False),
    (rename_and_copy_back, "around/b", False),
    (rename_what_is_around_it, "elsewhere/a", False),
    (delete, None, False),
    (delete_and_make_anew, None, False),
]


@pytest.mark.parametrize(("way", "where", "same"), WAYS)
def test_a_place_knows_where_its_directory_is(
    tmp_path: Path, directory: Path, way: object, where: str | None, same: bool
) -> None:
    del same
    place = Place(directory)
    assert callable(way)
    way(directory)
    assert place.now() == (tmp_path / where if where else None)
    place.close()


@pytest.fixture
def node(directory: Path) -> Iterator[processes.Identity]:
    """A process that works in a node's directory, and says of itself what a node does."""
    node_dir = directory / "nodes" / "n1"
    node_dir.mkdir(parents=True)
    (node_dir / "lock").touch()
    command = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()", "-m", "dynazmq.server"]
    with subprocess.Popen([*command, str(node_dir / "config.json")], cwd=node_dir, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = processes.identify(process.pid)
        assert found is not None
        yield found
        process.kill()


@pytest.mark.parametrize(("way", "where", "same"), WAYS)
def test_a_process_belongs_to_the_directory_that_it_works_in_and_to_no_other(
    tmp_path: Path, directory: Path, node: processes.Identity, way: object, where: str | None, same: bool
) -> None:
    assert callable(way)
    way(directory)
    lives_in = tmp_path / where if where else None
    for each in (directory, directory.with_name("b"), tmp_path / "elsewhere" / "a"):
        mine = lives_in is not None and each.exists() and os.path.samefile(each, lives_in)
        assert processes.find_nodes(each, ["n1", "n2"]) == ({"n1": node} if mine else {}), each
        assert processes.works_in(node, each / "nodes" / "n1") is mine
    assert {path.resolve() for path in processes.running_clusters()} == {(lives_in or directory).resolve()}
    assert processes.strangers(directory) == ({"n1": node} if same or lives_in is None else {})
    assert processes.left_behind(directory) == ({"n1": node} if lives_in is None else {})


def test_sockets_are_where_the_directory_is_whatever_its_file_says(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    ClusterFile(name="a", cluster_id=7, secret=b"", members={"n1": "ipc:///of/another/run/n1.sock"}).save(tmp_path / "b")
    assert ClusterFile.load(tmp_path / "b").members == {"n1": ipc_endpoint(tmp_path / "b", "n1")}


@pytest.mark.parametrize(("there", "of_the_same_id", "is_copy"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_copy_is_one_whose_original_is_there_as_the_same_cluster(
    tmp_path: Path, there: bool, of_the_same_id: bool, is_copy: bool
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    cluster = ClusterFile(name="a", cluster_id=7, secret=b"", members={"n1": "ipc://x"}, home=str(a))
    for place in (a, b):
        place.mkdir()
        cluster.save(place)
    if not of_the_same_id:
        cluster.cluster_id = 8
        cluster.save(a)
    if not there:
        shutil.rmtree(a)
    assert ClusterFile.load(b).original(b) == (a if is_copy else None)
    assert ClusterFile.load(a if there else b).original(a if there else b) is None


# --- mounts -----------------------------------------------------------------------------------------------------------------


def test_the_kernels_word_for_where_it_is_is_believed_only_where_it_leads_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file system that was unmounted it is "/": a supervisor would have gone on to write there."""
    place = Place(directory)
    rename_and_make_anew(directory)
    assert place.now() == directory.with_name("b")
    for told in (Path("/"), directory, directory.with_name("b") / "not-there"):
        monkeypatch.setattr(os, "readlink", lambda _path, told=told: str(told))
        assert place.now() is None, told
        assert not place.unchanged()
    place.close()


_MOUNTS = """
import os, subprocess, sys
from pathlib import Path
from dynazmq.place import Place

base = Path(sys.argv[1])
a, b, c = (base / name for name in "abc")
for each in (a, b, c):
    each.mkdir()
def mount(*words):
    if subprocess.run(["mount", *map(str, words)]).returncode:
        sys.exit(77)  # not permitted, or not for this kind of file system
def unmount(at): subprocess.run(["umount", "-l", str(at)], check=True)
mount("--make-rprivate", "/")
mount("--bind", a, b)
at_a, at_b = Place(a), Place(b)
assert (at_a.now(), at_b.now()) == (a, b), "seen at two places, each is where it was opened"
unmount(b)
assert (at_a.now(), at_b.now()) == (a, None)
mount("--bind", c, a)
assert at_a.now() is None, "c is mounted over it, and what is written by its path would be in c"
unmount(a)
assert at_a.now() == a
mount("-t", "tmpfs", "none", c)
(c / "d").mkdir()
inner = Place(c / "d")
mount("--move", c, b)
assert inner.now() == b / "d"
unmount(b)
assert inner.now() is None
"""


def test_what_is_bound_elsewhere_mounted_over_or_unmounted(tmp_path: Path) -> None:
    """In a namespace of mounts of its own, which goes with it. Where none may be made, the test above is all that there is."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return
    own = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    ran = subprocess.run(
        [unshare, *own, sys.executable, "-P", "-c", _MOUNTS, str(tmp_path)],
        env=processes.environment(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode in (0, 77) or "unshare" in ran.stderr, ran.stderr
