"""`verify --chaos --users` on real processes: users who misbehave beside the faults, also where others use the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, processes_below, run

import dynazmq

_FEW = ("--faults", "kill,pause")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clusters to be thrown away are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "c")
    made.up("-n", "3")
    yield made
    made.run("down", "--purge", "--yes")


def test_users_who_misbehave_beside_the_faults_end_no_node_and_lose_nothing(temporary: Path) -> None:
    ran = run("verify", "--chaos", "8s", "--users", "--fresh", "-n", "3", *_FEW, "--seed", "1", "--json")
    assert ran.code == 0, (ran.out, ran.err)
    document = ran.document
    assert (document["verdict"], document["users"]["nodes_ended"]) == ("valid", 0)
    tried = document["users"]["tried"]
    assert all(tried[name] for name in ("garbage_frames", "slow_readers", "connections", "bursts", "large_puts")), tried
    ends = ("burst_ok", "burst_overloaded", "burst_late", "burst_refused", "burst_unanswered")
    assert sum(tried[name] for name in ends) == tried["burst_requests"]
    assert set(document["users"]["rss_bytes_max"]) == set(document["users"]["descriptors_max"]) == {"n1", "n2", "n3"}
    assert list(temporary.iterdir()) == []
    assert processes_below(temporary) == []


def test_without_them_nothing_is_said_of_users(temporary: Path) -> None:
    ran = run("verify", "--chaos", "2s", "--fresh", "-n", "3", *_FEW, "--seed", "1", "--json")
    assert ran.code == 0, (ran.out, ran.err)
    assert ran.document["users"] is None


# --- a cluster that others use --------------------------------------------------------------------------------------------


def test_on_a_cluster_that_others_use_their_data_is_untouched_and_what_the_abuse_wrote_is_gone(
    cluster: Cluster,
) -> None:
    mine = {f"k{i}": f"v{i}".encode() for i in range(200)}
    with dynazmq.connect(cluster.directory) as client:
        client.bucket("mine").configure(conflict="lww")
        for bucket in ("default", "mine"):
            assert not client.bucket(bucket).put_many(mine).failed
    policies = policies_of(cluster)
    ran = cluster.run("verify", "--chaos", "6s", "--users", *_FEW, "--seed", "2", "--json")
    assert ran.code == 0, (ran.out, ran.err)
    assert ran.document["not_undone"] == []
    eventually(cluster.whole, "what was deleted is deleted everywhere")
    with dynazmq.connect(cluster.directory) as client:
        for bucket in ("default", "mine"):
            assert {key: found.values for key, found in client.bucket(bucket).get_many(mine).ok.items()} == {
                key: [value] for key, value in mine.items()
            }
            assert set(client.bucket(bucket).keys()) == set(mine)
        assert list(client.bucket("dynazmq.chaos.users").keys()) == []
        assert list(client.bucket("dynazmq.chaos.large").keys()) == []
        assert list(client.bucket("dynazmq.chaos").keys()) != []
    assert policies.items() <= policies_of(cluster).items()


def policies_of(cluster: Cluster) -> dict[str, object]:
    with dynazmq.connect(cluster.directory) as client:
        return dict(client.view.policies)
