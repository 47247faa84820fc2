"""What disks do: fill up, fail, forget, lie (S1 to S13, C8, C11)."""

from __future__ import annotations

import pytest

from dynazmq.errors import DynazmqError, StorageError, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster


def test_s3_a_replica_with_a_full_disk_is_stood_in_for_and_recovers_without_a_restart() -> None:
    cluster = Cluster(1)
    client = cluster.client()
    full = cluster.primaries("k")[1]
    full.process.disk.fail_commits = True
    done = client.put("k", "v")
    assert full.name not in done.acked
    cluster.run(0.5)
    assert sum(node.hints(full) for node in cluster.nodes) == 1
    assert client.get("k").values == ["v"]
    cluster.settle()
    assert full.holds("k") == ["v"]
    assert full.process.crashes == 0


def test_s3_a_coordinator_with_a_full_disk_says_that_nothing_was_attempted_and_the_next_one_does_it() -> None:
    cluster = Cluster(2)
    client = cluster.client()
    client.connected()
    full = cluster.primaries("k")[0]
    full.process.disk.fail_commits = True
    with pytest.raises(StorageError):
        client.put("k", "v", at=full.name)
    cluster.run(0.5)
    assert client.get("k", r="all").values == []
    client.put("k", "w")
    assert client.get("k").values == ["w"]


def test_s3_a_full_disk_goes_on_reading() -> None:
    cluster = Cluster(3)
    client = cluster.client()
    client.put("k", "v", w="all")
    for node in cluster.nodes:
        node.process.disk.fail_commits = True
    assert client.get("k").values == ["v"]
    with pytest.raises(DynazmqError):
        client.put("k", "w", timeout=0.5)
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]


def test_a_commit_that_fails_takes_nothing_back_that_an_earlier_one_of_the_turn_has_stored() -> None:
    """The first round of a turn commits and speaks; what cannot be sent is placed anew, and that commit fails (node.drain)."""
    cluster = Cluster(4, nodes=3, w=1, r=1)
    client = cluster.client()
    client.connected()
    first, second, third = cluster.primaries("k")
    second.crash(), third.crash()
    disk = first.process.disk
    commit, commits = disk.commit, 0

    def once() -> int:
        nonlocal commits
        if disk.dirty:
            commits += 1
            disk.fail_commits = commits > 1
        return commit()

    disk.commit = once  # type: ignore[method-assign]
    call = client.begin_put("k", "v", at=first.name)
    cluster.world.run_until(lambda: call.done, 3.0)
    assert not isinstance(call.request.error, StorageError), "it is stored"
    assert commits > 1
    assert first.holds("k") == ["v"]
    disk.commit = commit  # type: ignore[method-assign]
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]


def test_s6_a_replica_that_cannot_read_is_treated_as_one_that_does_not_answer() -> None:
    cluster = Cluster(5)
    client = cluster.client()
    client.put("k", "v", w="all")
    blind = cluster.primaries("k")[0]
    blind.process.disk.fail_reads = True
    assert client.get("k").values == ["v"]
    assert client.get("k", at=blind.name).values == ["v"], "it asks the others"
    client.put("k", "w", client.get("k").context)
    cluster.settle()
    assert client.get("k", r="all").values == ["w"]


def test_s6_a_node_that_cannot_read_in_the_middle_of_its_timers_goes_on() -> None:
    """A store that failed under a timer once ended the whole process."""
    cluster = Cluster(6, nodes=3)
    client = cluster.client()
    client.connected()
    first, second, third = cluster.primaries("k")
    cluster.network.conditions.notice_s = float("inf")
    cluster.cut(first, second)
    cluster.cut(first, third)
    client.begin_put("k", "v", at=first.name, timeout=0.5)
    client.begin_put("j", "v", at=first.name, timeout=0.5)
    cluster.run(0.01)
    first.process.disk.fail_reads = True
    cluster.run(2.0)
    first.process.disk.fail_reads = False
    cluster.settle()
    assert first.process.crashes == 0
    assert client.get("k", r="all").values == ["v"]


@pytest.mark.parametrize("reader", ["its own coordinator", "another"])
def test_s7_a_damaged_row_is_never_returned_and_is_repaired_from_a_peer(reader: str) -> None:
    cluster = Cluster(7)
    client = cluster.client()
    client.put("k", "v", w="all")
    damaged, other, _ = cluster.primaries("k")
    epoch = damaged.epoch
    damaged.damage("k")
    at = damaged if reader == "its own coordinator" else other
    assert client.get("k", r="all", at=at.name).values == ["v"]
    cluster.run(0.1)
    assert cluster.equal("k")
    assert damaged.counters["rows_damaged"] == 1
    assert damaged.epoch != epoch, "its counter for this key is lost with the row"


@pytest.mark.parametrize("found", ["by a read", "when it is to be sent"])
def test_s7_a_damaged_hint_is_given_up_and_neither_ends_its_node_nor_pends_for_ever(found: str) -> None:
    """Found by seeds 38 and 353. The version is on the other primaries; the one that was away gets it from them."""
    cluster = Cluster(16, anti_entropy_ms=150)
    client = cluster.client()
    away = cluster.primaries("k")[2]
    away.pause()
    cluster.run(2.0)
    client.put("k", "v", w="all")
    holder = next(node for node in cluster.nodes if node.hints(away))
    epoch = holder.epoch
    assert holder.damage("k")
    if found == "by a read":
        assert client.get("k", r="all").values == ["v"]
    cluster.settle()
    assert holder.counters["hints_dropped"] == 1
    assert holder.epoch != epoch, "a counter of its own may have been lost with it"
    cluster.wait(lambda: cluster.equal("k"), "anti-entropy brings what the hint held")
    assert away.holds("k") == ["v"]
    assert cluster.history.broken == []


def test_s7_a_node_that_finds_its_row_damaged_while_it_coordinates_gives_no_dot_twice() -> None:
    cluster = Cluster(8)
    client = cluster.client()
    damaged = cluster.primaries("k")[0]
    for i in range(3):
        client.put("k", f"v{i}", client.get("k").context, at=damaged.name)
    cluster.run(0.5)
    damaged.damage("k")
    client.put("k", "beside", at=damaged.name)
    cluster.settle()
    assert sorted(client.get("k", r="all").values) == ["beside", "v2"]
    assert cluster.history.broken == []


def test_c8_a_node_that_lost_its_disk_comes_back_under_a_new_epoch() -> None:
    """riak_kv #679: under its old name it would give dots that the others hold for overwritten, and its writes would vanish."""
    cluster = Cluster(9)
    client = cluster.client()
    wiped = cluster.primaries("k")[0]
    for i in range(3):
        client.put("k", f"v{i}", client.get("k").context, at=wiped.name)
    cluster.run(0.5)
    epoch = wiped.epoch
    wiped.wipe()
    wiped.come_back()
    assert wiped.epoch != epoch
    client.put("k", "new", at=wiped.name)
    assert sorted(client.get("k", r="all").values) == ["new", "v2"]
    cluster.settle()
    assert [sorted(node.holds("k")) for node in cluster.primaries("k")] == [["new", "v2"]] * 3


def test_c8_a_wiped_node_is_filled_again_by_what_is_read() -> None:
    cluster = Cluster(10)
    client = cluster.client()
    keys = [f"k{i}" for i in range(20)]
    for key in keys:
        client.put(key, "v", w="all")
    node = cluster.node("n1")
    node.wipe()
    node.restart()
    cluster.settle()
    assert [client.get(key).values for key in keys] == [["v"]] * 20
    for key in keys:
        client.get(key, r="all")
    cluster.run(0.1)
    assert all(cluster.equal(key) for key in keys)


def test_an_acknowledged_write_outlives_w_minus_1_disks() -> None:
    cluster = Cluster(11, w=3)
    client = cluster.client()
    first, second, _ = cluster.primaries("k")
    client.put("k", "v")
    first.wipe(), second.wipe()
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]


def test_three_copies_are_three_disks_and_not_a_primary_and_its_own_hint() -> None:
    """W=3, one replica slow, one away: the slow one and whoever stood in for it meanwhile are one copy, since hints go home."""
    cluster = Cluster(12, nodes=4)
    client = cluster.client()
    client.connected()
    first, second, third = cluster.primaries("k")
    cluster.network.conditions.notice_s = float("inf")
    cluster.cut(first, third)
    cluster.cut(third, first)
    cluster.slow(second, 0.15)
    call = client.begin_put("k", "v", at=first.name, w="all", timeout=0.4)
    cluster.run(0.39)
    assert second.holds("k") == ["v"]
    if call.done:
        assert third.holds("k") == ["v"], "what was acknowledged is on three disks"
        assert call.request.error is None
    cluster.settle()
    assert cluster.equal("k")
    assert cluster.history.broken == []


def test_s2_commits_lost_with_the_power_cost_no_acknowledged_write_and_no_dot() -> None:
    cluster = Cluster(13, sync="normal")
    client = cluster.client()
    node = cluster.primaries("k")[0]
    client.put("k", "v0", w="all")
    node.process.disk.checkpoint()
    for i in range(1, 6):
        client.put("k", f"v{i}", client.get("k").context, at=node.name)
    cluster.run(0.5)
    epoch = node.epoch
    node.lose_power(all_since_the_checkpoint=True)
    node.come_back()
    assert node.epoch != epoch
    assert node.holds("k") == ["v0"]
    client.put("k", "beside", at=node.name)
    cluster.settle()
    assert sorted(client.get("k", r="all").values) == ["beside", "v5"]
    assert cluster.history.broken == []


def test_c11_a_fallback_that_dies_for_good_with_its_hints_takes_no_acknowledged_write_with_it() -> None:
    cluster = Cluster(16)
    client = cluster.client()
    target = cluster.primaries("k")[0]
    target.crash()
    client.put("k", "v")
    cluster.run(1.0)
    (holder,) = [node for node in cluster.nodes if node.hints(target)]
    holder.wipe()
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]
    cluster.run(0.1)
    assert cluster.equal("k")


def test_a_disk_that_can_neither_be_written_nor_read_ends_its_process_and_not_the_cluster() -> None:
    cluster = Cluster(17)
    client = cluster.client()
    dead = cluster.primaries("k")[0]
    dead.process.disk.fail_commits = dead.process.disk.fail_reads = True
    try:
        client.put("k", "v", timeout=1.0)
    except WriteTimeout:
        raise AssertionError("the others can take it") from None
    assert client.get("k").values == ["v"]
    cluster.settle()
    assert dead.holds("k") == ["v"]


def test_a_disk_that_stays_full_makes_no_node_busy() -> None:
    cluster = Cluster(seed=60)
    client = cluster.client()
    full = cluster.primaries("k")[0]
    full.process.disk.fail_commits = True
    client.put("k", "v")
    before, events = full.counters["commits_failed"], cluster.world.events
    cluster.run(5.0)
    assert 0 < full.counters["commits_failed"] - before < 500, "it says anew what could not be stored, some times a second"
    assert cluster.world.events - events < 20_000
    full.process.disk.fail_commits = False
    cluster.settle()
    assert cluster.equal("k")
