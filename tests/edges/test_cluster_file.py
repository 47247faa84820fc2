"""cluster.json and config.json after somebody has edited them, cut them off, or put those of others there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynazmq import paths
from dynazmq.cluster.directory import creation
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster
from dynazmq.paths import ClusterFile

Document = dict[str, Any]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    creation.create(tmp_path / "a", creation.Wishes(nodes=3))
    return tmp_path / "a"


def edited(file: Path, edit: Callable[[Document], Any]) -> None:
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '"x"', "7", "[" * 100_000, "{}", '{"name": "a"}', "\0"])
@pytest.mark.parametrize("load", [ClusterFile.load, lambda place: paths.load_node_config(paths.config_path(place, "n1"))])
def test_a_file_that_is_something_else_is_refused_in_words(directory: Path, content: str, load: Callable[[Path], object]) -> None:
    for file in (directory / "cluster.json", paths.config_path(directory, "n1")):
        file.write_text(content)
    with pytest.raises(ClusterError, match=r"cannot read .*(cut off|holds no names|is missing|no such file)"):
        load(directory)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("futuristic", 1), ("members", []), ("members", {}), ("members", {"n1": 4}), ("members", {"n1": "http://x"})),
        *(("members", {"../../elsewhere": "ipc://x"}), ("members", {"n1/..": "ipc://x"}), ("members", {"n" * 33: "ipc://x"})),
        *(("members", {"n1": "ipc://a\0b"}), ("founders", [1]), ("founders", ["../n1"]), ("home", 3), ("home", "a\0b")),
        *(("cluster_id", 5), ("cluster_id", "xyz"), ("cluster_id", "0"), ("cluster_id", "-1"), ("secret", "zz"), ("secret", 1)),
        *(("n", "3"), ("n", True), ("n", 3.0), ("n", 0), ("r", 9), ("w", 9), ("partitions", 3), ("partitions", 1 << 40)),
        *(("sync", "no"), ("transport", "udp"), ("anti_entropy", None), ("max_value_bytes", -1)),
        *(("name", "\n\x1b[31m"), ("name", ""), ("name", None), ("name", "a" * 65)),
    ],
)  # fmt: skip
def test_nothing_of_a_cluster_file_is_used_when_something_in_it_cannot_be(directory: Path, field: str, value: object) -> None:
    """A member called ../../x had its configuration and its data outside of the cluster's directory."""
    edited(directory / "cluster.json", lambda document: document.update({field: value}))
    with pytest.raises(ClusterError, match=f"cannot read .*{field if field != 'members' else '(members|n1)'}") as caught:
        ClusterFile.load(directory)
    assert not isinstance(caught.value, NoSuchCluster)


def test_a_secret_that_cannot_be_read_is_not_shown(directory: Path) -> None:
    edited(directory / "cluster.json", lambda document: document.update(secret="zz" + document["secret"]))
    with pytest.raises(ClusterError) as caught:
        ClusterFile.load(directory)
    assert json.loads((directory / "cluster.json").read_text())["secret"] not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("futuristic", 1), ("n", "3"), ("timing", {"gossip": 1}), ("timing", [])])
def test_a_configuration_that_this_release_does_not_know_is_refused(directory: Path, field: str, value: object) -> None:
    edited(paths.config_path(directory, "n1"), lambda document: document.update({field: value}))
    with pytest.raises(ClusterError, match="cannot read "):
        paths.load_node_config(paths.config_path(directory, "n1"))


def test_a_file_in_place_of_the_directory_holds_no_cluster(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(NoSuchCluster, match="no cluster in "):
            ClusterFile.load(place)
    with pytest.raises(NoSuchCluster, match="which is no directory"):
        ClusterFile.load(file)


def test_an_empty_path_is_no_directory() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        paths.cluster_dir("")


def test_a_node_does_not_take_the_configuration_of_another_node_for_its_own(directory: Path) -> None:
    """nodes/n1 was copied over nodes/n2: two processes said that they were n1."""
    cluster = ClusterFile.load(directory)
    n1, n2 = paths.config_path(directory, "n1"), paths.config_path(directory, "n2")
    n2.write_bytes(n1.read_bytes())
    creation.refresh(cluster, directory)
    assert paths.load_node_config(n2) == creation.node_config(cluster, directory, "n2")
    assert paths.load_node_config(n1) == creation.node_config(cluster, directory, "n1")


@pytest.mark.parametrize("other", [{"cluster_id": 7}, {"secret": b"another"}, {"partitions": 240}])
def test_files_of_two_clusters_do_not_make_one(directory: Path, other: Document) -> None:
    before = paths.config_path(directory, "n1").read_bytes()
    replace(ClusterFile.load(directory), **other).save(directory)
    with pytest.raises(ClusterError, match="one of them is of another cluster"):
        creation.reopen(directory, creation.Wishes())
    assert paths.config_path(directory, "n1").read_bytes() == before
