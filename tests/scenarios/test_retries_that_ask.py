"""Promise 6 for retries that ask, without their value, what became of the first try: as if the value had been sent again."""

from __future__ import annotations

import pytest
from lost_answers import lose_answers, settled

from dynazmq.errors import WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster


def asking(seed: int) -> Cluster:
    """One whose clients ask before they send any value again."""
    return settled(seed, asks=True)


def counted(cluster: Cluster, name: str) -> int:
    return sum(node.counters[name] for node in cluster.nodes)


def test_c5_a_put_whose_answer_was_lost_is_found_done_and_its_value_is_sent_once() -> None:
    cluster = asking(1)
    alice = cluster.client("alice")
    lose_answers(cluster, cluster.primaries("k")[0])
    done = alice.put("k", "v")
    assert (counted(cluster, "put_asks"), counted(cluster, "values_not_resent")) == (1, 1)
    assert alice.get("k", r="all").values == ["v"]
    alice.put("k", "w", done.context)
    assert alice.get("k", r="all").values == ["w"], "the context covers every try"
    cluster.settle()
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [1, 1, 1]


def test_the_hard_corner_a_first_try_that_was_overwritten_does_not_come_back() -> None:
    cluster = asking(2)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    lose_answers(cluster, cluster.primaries("k")[0])
    call = alice.begin_put("k", "old")
    cluster.run(0.1)
    bob.put("k", "new", bob.get("k").context)
    assert not call.done
    call.result()
    assert counted(cluster, "values_not_resent") == 1
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3


def test_a_first_try_that_was_deleted_does_not_come_back() -> None:
    cluster = asking(3)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    lose_answers(cluster, cluster.primaries("k")[0])
    call = alice.begin_put("k", "old")
    cluster.run(0.1)
    bob.delete("k")
    call.result()
    assert bob.get("k", r="all").values == []


def test_a_node_that_froze_before_it_began_leaves_the_put_to_the_next_one_who_needs_the_value() -> None:
    cluster = asking(4)
    alice = cluster.client("alice")
    first = cluster.primaries("k")[0]
    first.pause()
    alice.put("k", "v")
    assert (counted(cluster, "put_asks"), counted(cluster, "values_not_resent")) == (1, 0)
    first.resume()
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v"]] * 3


def test_a_first_try_that_only_its_dead_coordinator_holds_folds_with_its_retry() -> None:
    cluster = asking(5)
    alice = cluster.client("alice")
    first = cluster.primaries("k")[0]
    first.crash("after the commit")
    alice.put("k", "v")
    assert first.holds("k") == ["v"]
    cluster.settle()
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [1, 1, 1]
    assert alice.get("k", r="all").values == ["v"]


def test_w_is_counted_from_durable_copies_alone() -> None:
    """The first try is on two disks, and no other can store it: who finds it there must not say that three hold it."""
    cluster = asking(6)
    alice = cluster.client("alice")
    first, second, _ = cluster.primaries("k")
    lose_answers(cluster, first)
    for node in cluster.nodes:
        if node not in (first, second):
            node.process.disk.fail_commits = True
    call = alice.begin_put("k", "v", w=3)
    with pytest.raises(WriteTimeout):
        call.result()
    assert counted(cluster, "put_asks") > 0
    assert counted(cluster, "puts_ok") == 0
