"""What a client knows of its cluster: how it learns it, what it does not believe, and when it asks again."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from client_bench import Bench, link_of, topology

from dynazmq.client.core.core import ATTEMPT_S, ClientCore
from dynazmq.dynamo.messages import STORAGE, TopologyRequest


def seeds(*names: str, cluster_id: int | None = None) -> ClientCore:
    return ClientCore([link_of(name) for name in names], cluster_id, Random(1), 0.0)


def asked(core: ClientCore) -> list[str]:
    return sorted(link for link, messages in core.drain().items() if any(type(m) is TopologyRequest for m in messages))


def test_at_first_all_seeds_are_asked_and_again_as_long_as_they_cannot_be_reached() -> None:
    core = seeds("n1", "n2")
    core.tick(0.0)
    outbox = core.drain()
    assert set(outbox) == {link_of("n1"), link_of("n2")}
    core.undeliverable(link_of("n1"), outbox[link_of("n1")], 0.0)

    core.tick(0.01)

    assert asked(core) == [link_of("n1")]
    assert core.tried == {link_of("n1"): "no answer", link_of("n2"): "no answer"}
    core.tick(ATTEMPT_S + 0.01)
    assert asked(core) == [link_of("n1"), link_of("n2")]  # it may have been restarted since


def test_seeds_are_asked_often_enough_that_connecting_is_not_felt() -> None:
    core = seeds("n1")
    now, times = 0.0, 0
    while now < 0.1:
        core.tick(now)
        for link, messages in core.drain().items():
            times += 1
            core.undeliverable(link, messages, now)
        due = core.next_deadline()
        assert due is not None
        assert due - now <= 0.005
        now = due
    assert times <= 100
    assert core.tried == {link_of("n1"): "no connection"}


def test_a_node_that_was_asked_before_its_connection_was_there_is_not_avoided_for_that() -> None:
    core = seeds("n1", "n2")
    core.tick(0.0)
    for link, messages in core.drain().items():
        core.undeliverable(link, messages, 0.0)

    core.receive(link_of("n1"), [topology(["n1", "n2"])], 0.01)

    assert core.standing(link_of("n1"))
    assert core.standing(link_of("n2"))


def test_another_cluster_at_the_endpoint_is_not_believed() -> None:
    core = seeds("n1", "n2", cluster_id=7)
    core.tick(0.0)

    core.receive(link_of("n1"), [topology(["n1"], cluster_id=8)], 0.0)

    assert core.view is None
    assert core.tried[link_of("n1")] == "belongs to another cluster, 'tested'"
    core.receive(link_of("n2"), [topology(["n1"], cluster_id=7)], 0.0)
    assert core.view is not None


def test_the_first_answer_decides_which_cluster_it_is_when_only_endpoints_are_known() -> None:
    bench = Bench()
    before = bench.view
    bench.learn(cluster_id=9, version=5)
    assert bench.view is before


@pytest.mark.parametrize(
    "changes",
    [
        {"ring": [1, ["n1"], [0] * 7]},
        {"ring": []},
        {"members": [["n1", "ipc://n1"]]},
        {"members": [5]},
        {"members": [["n1", "carrier pigeon", 1, "up"]]},
        {"members": [["n1", 5, 1, "up"]]},
        {"buckets": [["b", 3, 2]]},
        {"buckets": [["b", 3, 4, 2]]},
        {"buckets": [["b", 3, 2, 2, "crdt"]]},
        {"buckets": [["b", 3, 2, 2, ["lww"]]]},
        {"n": 0},
        {"w": 4},
    ],
)
def test_an_answer_that_makes_no_sense_is_not_taken(changes: dict[str, object]) -> None:
    core = seeds("n1")
    core.tick(0.0)
    message = topology(["n1", "n2", "n3"])
    for name, value in changes.items():
        setattr(message, name, value)

    core.receive(link_of("n1"), [message], 0.0)

    assert core.view is None
    assert core.tried[link_of("n1")].startswith("an answer that makes no sense")


def test_the_ring_never_goes_back() -> None:
    bench = Bench(version=5)
    newer = bench.view
    bench.learn(version=4)
    assert bench.view is newer
    bench.learn(version=5, away=("n2",))
    assert bench.view.away == {link_of("n2")}
    bench.learn(version=6)
    assert bench.view.ring.version == 6


def test_the_topology_is_asked_for_again_every_five_seconds_by_whoever_comes_then() -> None:
    bench = Bench()
    for _ in range(1500):
        bench.wait(0.01)
        request = bench.get()
        bench.answer(bench.only_sent()[0], request)

    assert [at for at, _ in bench.asked] == pytest.approx([105.0, 110.0, 115.0], abs=0.05)


def test_failures_bring_the_refresh_forward_but_never_a_storm_of_them() -> None:
    bench = Bench()
    bench.wait(1.0)
    for _ in range(1000):
        request = bench.put()
        bench.refuse(bench.only_sent()[0], request, STORAGE)
        bench.answer(bench.only_sent()[0], request)
        bench.wait(0.001)

    seen = [at for at, _ in bench.asked]
    assert seen[0] <= 101.01
    assert all(later - earlier >= 0.199 for earlier, later in pairwise(seen))
    assert 4 <= len(seen) <= 6


def test_a_new_view_moves_requests_to_the_new_place_of_a_node() -> None:
    bench = Bench(nodes=1)
    moved = topology(["n1"], version=2)
    moved.members = [["n1", "ipc://elsewhere", 2, "up"]]
    bench.core.receive(link_of("n1"), [moved], bench.now)

    bench.put()

    assert bench.only_sent()[0] == "ipc://elsewhere"
