"""The blocking client against real nodes."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq import resolvers
from dynazmq.errors import ConflictError, InvalidRequest, KeyNotFound, Unavailable


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes("n1", "n2", "n3")
    try:
        nodes.start()
        nodes.wait_ready()
        yield nodes
    finally:
        nodes.close()


@pytest.fixture
def client(nodes: Nodes) -> Iterator[dynazmq.Client]:
    with dynazmq.connect(nodes.dir, timeout=5.0) as client:
        yield client


def test_what_is_put_is_got_and_what_is_deleted_is_gone(client: dynazmq.Client) -> None:
    assert not client.get("greeting").found

    done = client.put("greeting", "hello")
    assert len(done.acked) >= 2
    assert done.stand_ins == ()
    found = client.get("greeting")
    assert (found.found, found.value) == (True, b"hello")
    assert len(found.responders) >= 2

    gone = client.delete("greeting", found.context)
    assert client.get("greeting").value is None
    with pytest.raises(KeyNotFound):
        client.get("greeting").unwrap()
    client.put("greeting", "again", gone.context)
    assert client.get("greeting").unwrap() == b"again"


def test_an_empty_value_is_a_value(client: dynazmq.Client) -> None:
    client.put("empty", b"")
    assert client.get("empty").values == [b""]


def test_a_context_replaces_what_it_covers_and_no_context_replaces_nothing(client: dynazmq.Client) -> None:
    cart = client.bucket("carts", codec="json")
    first = cart.put("alice", ["milk"])
    cart.put("alice", ["eggs"])
    found = cart.get("alice")

    assert sorted(found.values) == [["eggs"], ["milk"]]
    assert {sibling.node for sibling in found.siblings} <= {"n1", "n2", "n3"}
    with pytest.raises(ConflictError) as caught:
        _ = found.value
    assert caught.value.result is found
    cart.put("alice", ["bread"], first.context)  # which has seen the milk and nothing else
    assert sorted(cart.get("alice").values) == [["bread"], ["eggs"]]
    cart.put("alice", ["all"], cart.get("alice").context)
    assert cart.get("alice").value == ["all"]


def test_a_context_outlives_text_json_and_pickle(client: dynazmq.Client) -> None:
    context = client.put("kept", b"1").context
    for carried in (
        dynazmq.Context.parse(str(context)),
        pickle.loads(pickle.dumps(context)),
        json.loads(json.dumps(str(context))),
    ):
        assert client.put("kept", b"2", carried).context
    assert client.get("kept").values.count(b"1") == 0


def test_a_context_of_another_key_or_forged_is_refused_by_the_nodes(client: dynazmq.Client) -> None:
    context = client.put("mine", b"1").context
    forged = dynazmq.Context(context.token[:-1] + bytes([context.token[-1] ^ 1]))
    for key, given in (("other", context), ("mine", forged), ("mine", str(forged))):
        with pytest.raises(InvalidRequest, match="not a context of this cluster and key"):
            client.put(key, b"2", given)
    assert not client.get("other").found
    assert client.get("mine").value == b"1"


def test_a_resolver_merges_siblings_and_writes_the_merge_back(client: dynazmq.Client) -> None:
    client.bucket("merged", codec="json").put("k", ["milk"])
    client.bucket("merged", codec="json").put("k", ["eggs"])
    bucket = client.bucket("merged", codec="json", resolver=resolvers.union)

    found = bucket.get("k")

    assert found.value == ["eggs", "milk"]
    plain = client.bucket("merged", codec="json").get("k")
    assert plain.values == [["eggs", "milk"]]
    # Not the same bytes, maybe: where a node was silent for a moment, a reader is told that a write may have been retried.
    client.bucket("merged", codec="json").put("k", ["eggs", "milk"], found.context)
    assert client.bucket("merged", codec="json").get("k").values == [["eggs", "milk"]]
    client.bucket("merged", codec="json").put("k", ["bread"])
    assert bucket.get_many(["k", "absent"])["k"].value == ["bread", "eggs", "milk"]
    assert client.bucket("merged", codec="json").get("k").values == [["bread", "eggs", "milk"]]


def test_a_resolver_that_fails_leaves_the_siblings_and_the_client_as_they_were(client: dynazmq.Client) -> None:
    client.put("broken", b"1")
    client.put("broken", b"2")
    bucket = client.bucket(resolver=lambda values: values[5])
    with pytest.raises(ConflictError) as caught:
        bucket.get("broken")
    assert isinstance(caught.value.__cause__, IndexError)
    client.put("broken", b"3", caught.value.result.context)
    assert bucket.get("broken").value == b"3"


def test_every_codec_brings_its_values_back(client: dynazmq.Client) -> None:
    values = {"raw": b"\x00\xff", "text": "grün", "json": {"a": [1, None, "ü"]}, "msgpack": {"a": b"\x00", "b": [1.5, -3]}}
    for codec, value in values.items():
        bucket = client.bucket("typed", codec=codec)
        bucket.put(codec, value)
        assert bucket.get(codec).value == value


def test_thousands_of_keys_go_in_one_call(client: dynazmq.Client) -> None:
    bucket = client.bucket("many")
    items = {f"k{i}": b"%d" % i for i in range(5000)}

    put = bucket.put_many(items)
    assert (len(put.ok), put.failed) == (5000, {})
    found = bucket.get_many(items)
    assert {key: result.value for key, result in found.ok.items()} == items
    again = bucket.put_many({"k1": b"new"}, {"k1": put.ok["k1"].context})
    again.raise_for_errors()
    assert bucket.get("k1").value == b"new"

    deleted = bucket.delete_many([f"k{i}" for i in range(0, 5000, 2)])
    assert (len(deleted.ok), deleted.failed) == (2500, {})
    left = bucket.get_many(items)
    assert sum(result.found for result in left.ok.values()) == 2500
    assert set(bucket.keys()) == {f"k{i}" for i in range(1, 5000, 2)}


def test_large_values_go_in_batches_of_many_frames(client: dynazmq.Client) -> None:
    bucket = client.bucket("large")
    items = {f"k{i}": bytes([i]) * (1 << 20) for i in range(12)}
    assert bucket.put_many(items, timeout=20.0).failed == {}
    assert {key: result.value for key, result in bucket.get_many(items, timeout=20.0).ok.items()} == items


def test_keys_shows_what_lives_in_its_bucket_alone(client: dynazmq.Client) -> None:
    one, other = client.bucket("one"), client.bucket("other")
    one.put_many({"a": b"", "grün": b"", b"\xff": b"", "gone": b""})
    other.put("b", b"")
    one.delete("gone")

    keys = list(one.keys())

    assert len(keys) == 3
    assert set(keys) == {"a", "grün", b"\xff"}
    assert list(client.bucket("none").keys()) == []
    assert set(one.keys(replicas=3)) == set(keys)


def test_a_policy_of_ones_own_holds_for_the_bucket(client: dynazmq.Client, nodes: Nodes) -> None:
    bucket = client.bucket("single")
    bucket.configure(n=1, r=1, w=1)

    def known_everywhere() -> bool:
        with dynazmq.connect(nodes.dir) as fresh:
            return all(
                len(fresh.bucket("single").put(f"k{i}", b"", timeout=20.0).acked) == 1 for i in range(6)
            ) and fresh.view.policy("single")[:3] == (1, 1, 1)

    eventually(known_everywhere, "all nodes know the policy")
    with pytest.raises(InvalidRequest, match="is not in"):
        bucket.configure(n=4)
    with dynazmq.connect(nodes.dir) as fresh:
        eventually(lambda: fresh.view.policy("single").n == 1 or fresh.put("k", b""), "the view")
        with pytest.raises(InvalidRequest, match="n=2 is not in 1"):
            fresh.bucket("single").get("k", n=2)


def test_where_the_last_write_wins_a_get_finds_one_value_whoever_has_written(client: dynazmq.Client) -> None:
    bucket = client.bucket("positions", codec="text")
    with pytest.raises(InvalidRequest, match="conflict='last' is not one of siblings, lww"):
        bucket.configure(conflict="last")
    bucket.configure(conflict="lww")

    def known_everywhere() -> bool:
        links = client.view.links.values()
        return all(_policies_at(link).get("positions") == (3, 2, 2, "lww") for link in links)

    eventually(known_everywhere, "all nodes know the policy")
    for i in range(5):
        bucket.put("car", f"place {i}")
    assert bucket.get("car", r="all").value == "place 4"
    assert [sibling.value for sibling in bucket.get("car").siblings] == ["place 4"]
    bucket.delete("car")
    assert not bucket.get("car").found


def _policies_at(endpoint: str) -> dict[str, Any]:
    with dynazmq.connect(endpoints=[endpoint]) as one:
        return dict(one.view.policies)


def test_quorums_may_be_named_or_numbered(client: dynazmq.Client) -> None:
    assert len(client.put("q", b"1", w="all").acked) == 3
    assert len(client.get("q", r="all").responders) == 3
    assert len(client.get("q", r="one").responders) >= 1
    assert client.put("q", b"2", client.get("q").context, w="quorum", pw=2).context
    assert client.get("q", n=1, r=1).found
    fast = client.with_options(r=1, w=1, timeout=1.0)
    assert fast.get("q").value == b"2"


def test_clients_find_the_cluster_by_any_of_its_endpoints(nodes: Nodes) -> None:
    with dynazmq.connect(endpoints=[nodes.endpoints["n2"]]) as client:
        client.put("found", b"")
        assert len(client.view.links) == 3
        assert len(client.get("found", r="all").responders) == 3


def test_many_threads_share_one_client(client: dynazmq.Client) -> None:
    bucket = client.bucket("threads", codec="json")

    def work(thread: int) -> int:
        for i in range(40):
            bucket.put(f"{thread}/{i}", [thread, i])
            assert bucket.get(f"{thread}/{i}").value == [thread, i]
        return sum(result.value[0] == thread for result in bucket.get_many([f"{thread}/{i}" for i in range(40)]).ok.values())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [40] * 8


def test_a_frozen_node_costs_time_but_no_operation(nodes: Nodes, client: dynazmq.Client) -> None:
    nodes.wait_grown()
    nodes.pause("n1")
    try:
        for i in range(40):
            client.put(f"frozen{i}", b"v")
            assert client.get(f"frozen{i}").value == b"v"
    finally:
        nodes.resume("n1")
    nodes.wait_ready()


def patiently(call: Callable[[], Any]) -> Any:
    """What it returns, once enough replicas can be reached."""
    done: list[Any] = []

    def enough() -> bool:
        try:
            done.append(call())
        except Unavailable:
            return False
        return True

    eventually(enough, "enough replicas can be reached")
    return done[0]


def test_too_few_replicas_is_said_with_numbers_and_nothing_is_stored(nodes: Nodes, client: dynazmq.Client) -> None:
    nodes.kill("n3")
    try:

        def known() -> bool:
            try:
                return not client.get("k", pr=3)
            except Unavailable as error:
                return (error.required, error.alive) == (3, 2)

        eventually(known, "the nodes have seen that one is gone")
        with pytest.raises(Unavailable, match="nothing was attempted") as caught:
            client.put("unavailable", b"", w="all")
        assert caught.value.required == 3
        # On a busy machine the two that are left may suspect each other for a moment.
        assert not patiently(lambda: client.get("unavailable")).found
        assert len(patiently(lambda: client.put("available", b"")).acked) == 2
        assert "available" in patiently(lambda: set(client.keys()))
    finally:
        nodes.start("n3")
        nodes.wait_ready()


def test_a_node_killed_under_load_fails_no_operation(nodes: Nodes, client: dynazmq.Client) -> None:
    bucket = client.bucket("load")
    stop = threading.Event()

    def work(thread: int) -> int:
        done = 0
        while not stop.is_set():
            bucket.put(f"{thread}/{done}", b"%d" % done)
            assert bucket.get(f"{thread}/{done}").value == b"%d" % done
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, thread) for thread in range(4)]
        try:
            nodes.wait_grown()
            eventually(lambda: bucket.get("0/20").found, "the load runs")
            nodes.kill("n2")
            killed = time.monotonic()
            eventually(lambda: time.monotonic() - killed > 0.7, "the load goes on")
        finally:
            stop.set()
            counts = [future.result() for future in running]
            nodes.start("n2")
            nodes.wait_ready()
    for thread, count in enumerate(counts):
        found = bucket.get_many([f"{thread}/{i}" for i in range(count)])
        assert [result.value for result in found.ok.values()] == [b"%d" % i for i in range(count)]
        assert len(found.ok) == count
