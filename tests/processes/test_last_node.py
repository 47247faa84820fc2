"""Four of five nodes are killed: with W=1 the command line still writes (promise 2), and says what it did not see."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually

KEYS = [f"key-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Only n1 is left. The keys were written before, so n1 has some of them and others not."""
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "5", "--sync", "normal")
    for key in KEYS:
        assert cluster.run("put", key, "old", "-w", "all").code == 0
    cluster.run("node", "kill", "n2,n3,n4,n5", "--no-wait")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def test_every_command_that_writes_does_so_at_the_last_node(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in KEYS:  # at once: nobody knows yet that the others are gone
        done = cluster.run("put", key, "new", "-w", "1", "--timeout", "20s", "--json")
        assert done.code == 0, done
        assert done.document["acked"] == ["n1"]
        unseen = done.document["read"]["unseen"]
        heard = "only n1 could be read, of" if done.document["read"]["responders"] else "none could be read of"
        assert done.err.startswith(f"{heard} 2 replicas: what {' '.join(unseen)} hold of {key} was not seen")
    eventually(lambda: cluster.node("n2")["state"] == "down", "the others are known to be gone")

    deleted = cluster.run("delete", KEYS[0], "-w", "1")
    assert (deleted.code, deleted.err.startswith("only n1 could be read, of 2 replicas")) == (0, True), deleted
    monkeypatch.setenv("EDITOR", f"{sys.executable} -c \"import sys; open(sys.argv[1], 'w').write('edited')\"")
    edited = cluster.run("edit", KEYS[1], "-w", "1", "--json")
    assert (edited.code, edited.document["values_left"]) == (0, None), edited
    assert edited.document["read"]["responders"] == ["n1"]
    cluster.run("put", KEYS[2], "beside", "--blind", "-w", "1")
    resolved = cluster.run("resolve", KEYS[2], "--value", "one", "-w", "1", "--json")
    assert (resolved.code, resolved.document["resolved"], resolved.document["values_left"]) == (0, 2, None), resolved
    assert cluster.run("get", KEYS[2], "-r", "1").out == "one"
    traced = cluster.run("trace", "put", KEYS[3], "traced", "-w", "1", "--json")
    assert (traced.code, traced.document["read"]["responders"]) == (0, ["n1"]), traced
    lines = [
        {"schema": "dynazmq.export/1", "cluster": "c", "cluster_id": "0", "bucket": "default"},
        {"key": KEYS[4], "values": ["imported"]},
        {"key": "never written", "values": ["imported"]},
    ]
    (tmp_path / "lines").write_text("\n".join(map(json.dumps, lines)))
    imported = cluster.run("import", str(tmp_path / "lines"), "-w", "1", "--json")
    assert (imported.code, imported.document["stored"], imported.document["unseen"]) == (0, 2, 2), imported


def test_whether_a_key_has_a_value_stays_unknown_where_nobody_shows_one(cluster: Cluster) -> None:
    for command in ("delete nothing -w 1", "resolve nothing --take 1 -w 1", "trace delete nothing -w 1"):
        refused = cluster.run(*command.split())
        assert (refused.code, refused.out) == (5, ""), refused
        assert f"{command.split(' nothing')[0]} 'nothing': unknown whether there is a value" in refused.err


def test_a_write_that_cannot_be_had_is_refused_in_its_own_name(cluster: Cluster) -> None:
    refused = cluster.run("put", KEYS[5], "v")
    assert refused.code == 5
    assert "put 'key-5': 2 replicas are needed, 1 can be reached; nothing was attempted" in refused.err
    demanding = cluster.run("put", KEYS[5], "v", "-w", "1", "-r", "2")
    assert demanding.code == 5
    assert "put 'key-5': 2 replicas are needed" in demanding.err


def test_what_the_last_node_did_not_see_is_not_overwritten(cluster: Cluster) -> None:
    """Promise 3: when the others are back, a value that only they held stands beside what was written meanwhile."""
    ran = cluster.run("put", KEYS[6], "later", "-w", "1", "--json")
    assert ran.code == 0
    assert ran.document["read"]["responders"] == ["n1"]  # by now each key was written here
    cluster.run("node", "start", "--all", "--no-wait")
    eventually(cluster.whole, "the cluster is whole")
    for key in KEYS[5:]:
        values = cluster.run("get", key, "--json", "-r", "all").document["values"]
        written = {"key-6": "later"}.get(key, "new")
        assert written in values
        assert set(values) <= {written, "old"}
