"""The asynchronous client: against real nodes, and against ones that misbehave."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from client_fakes import Fakes, good, sealed, silent
from client_nodes import Nodes
from patience import PATIENCE_S

import dynazmq
from dynazmq import aio, resolvers
from dynazmq.errors import (
    ClientClosed,
    ClusterUnreachable,
    ConflictError,
    InvalidRequest,
    NoSuchCluster,
    ReadTimeout,
    ValueTooLarge,
    WriteTimeout,
)


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
def fakes() -> Iterator[Fakes]:
    with Fakes("n1", "n2", "n3") as fakes:
        yield fakes


def connect(fakes: Fakes, timeout: float = 5.0) -> aio.AsyncClient:
    return aio.connect(endpoints=list(fakes.endpoints.values()), timeout=timeout)


def on(cluster: Nodes | Fakes, work: Callable[[aio.AsyncClient], Awaitable[Any]]) -> Any:
    """Run this with a client of the cluster, in a loop of its own."""

    async def run() -> Any:
        client = aio.connect(cluster.dir, timeout=5.0) if isinstance(cluster, Nodes) else connect(cluster)
        async with client:
            return await work(client)

    return asyncio.run(run())


async def eventually(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.002)


def heard(fakes: Fakes, key: str) -> bool:
    return any(message.key == key.encode() for _, message in list(fakes.heard))


# --- with nodes -----------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got_and_what_is_deleted_is_gone(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        done = await client.put("greeting", "hello")
        found = await client.get("greeting")
        assert (done.acked != (), found.value) == (True, b"hello")
        await client.delete("greeting", found.context)
        assert not (await client.get("greeting")).found
        assert (await client.delete("greeting")).acked == ()

    on(nodes, work)


def test_siblings_are_shown_or_resolved(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        carts = client.bucket("carts", codec="json")
        await asyncio.gather(carts.put("a", ["milk"]), carts.put("a", ["eggs"]))
        found = await carts.get("a")
        assert sorted(found.values) == [["eggs"], ["milk"]]
        with pytest.raises(ConflictError):
            _ = found.value
        assert (await carts.with_options(resolver=resolvers.union).get("a")).value == ["eggs", "milk"]
        assert (await carts.get("a")).value == ["eggs", "milk"]

    on(nodes, work)


def test_thousands_of_keys_go_in_one_call(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        bucket = client.bucket("many")
        items = {f"k{i}": b"%d" % i for i in range(3000)}
        assert len((await bucket.put_many(items)).ok) == 3000
        assert {key: result.value for key, result in (await bucket.get_many(items)).ok.items()} == items
        assert len((await bucket.delete_many([f"k{i}" for i in range(2990)])).ok) == 2990
        left = bucket.keys()
        assert {key async for key in left} == {f"k{i}" for i in range(2990, 3000)}

    on(nodes, work)


def test_a_thousand_calls_at_once_each_get_their_own_answer(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        bucket = client.bucket("group")
        async with asyncio.TaskGroup() as group:
            for i in range(1000):
                group.create_task(bucket.put(f"k{i}", b"%d" % i))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bucket.get(f"k{i}")) for i in range(1000)]
        assert [task.result().value for task in tasks] == [b"%d" % i for i in range(1000)]

    on(nodes, work)


def test_a_policy_may_be_set(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        await client.bucket("policy").configure(n=2, r=1, w=1)
        with pytest.raises(InvalidRequest):
            await client.bucket("policy").configure(n=2, r=3)
        with pytest.raises(InvalidRequest, match="conflict='last' is not one of siblings, lww"):
            await client.bucket("policy").configure(conflict="last")
        await client.bucket("policy").configure(n=2, r=1, w=1, conflict="lww")

    on(nodes, work)


def test_a_node_killed_under_load_fails_no_operation(nodes: Nodes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        bucket, stop, done = client.bucket("load"), asyncio.Event(), 0

        async def load(task: int) -> None:
            nonlocal done
            number = 0
            while not stop.is_set():
                await bucket.put(f"{task}/{number}", b"%d" % number)
                assert (await bucket.get(f"{task}/{number}")).value == b"%d" % number
                number += 1
                done += 1

        async with asyncio.TaskGroup() as group:
            for task in range(16):
                group.create_task(load(task))
            await eventually(lambda: done > 50, "the load runs")
            nodes.kill("n2")
            killed, before = time.monotonic(), done
            await eventually(lambda: time.monotonic() - killed > 0.7 and done > before + 50, "the load goes on")
            stop.set()

    nodes.wait_grown()
    try:
        on(nodes, work)
    finally:
        nodes.start("n2")
        nodes.wait_ready()


# --- opening and closing --------------------------------------------------------------------------------------------------


def test_a_client_that_is_not_open_says_so(fakes: Fakes) -> None:
    async def run() -> None:
        client = connect(fakes)
        with pytest.raises(ClientClosed, match="async with"):
            await client.get("k")
        with pytest.raises(ClientClosed, match="async with"):
            _ = client.view
        async with client:
            assert (await client.get("k")).found
            assert client.view.ring.partitions == 12
            with pytest.raises(ClientClosed, match="opened before"):
                await client.__aenter__()
            assert (await client.get("k")).found
        for call in (client.get("k"), client.put("k", b""), client.get_many(["k"])):
            with pytest.raises(ClientClosed, match="is closed"):
                await call
        with pytest.raises(ClientClosed):
            async with client:
                pass

    asyncio.run(run())


@pytest.mark.parametrize("own_loop_runs", [True, False])
def test_a_client_that_is_used_in_another_event_loop_says_so_and_goes_on_in_its_own(fakes: Fakes, own_loop_runs: bool) -> None:
    """In another thread's, or in that of a second asyncio.run: it would wait for ever there, or break asyncio's own state."""

    async def elsewhere(client: aio.AsyncClient) -> None:
        for call in (client.get("k"), client.put("k", b"v"), client.get_many(["k"]), client.put_many({"k": b"v"})):
            with pytest.raises(InvalidRequest, match="another event loop"):
                await call

    async def opened() -> aio.AsyncClient:
        client = await connect(fakes).__aenter__()
        if own_loop_runs:
            await asyncio.to_thread(asyncio.run, elsewhere(client))
            assert (await client.get("k")).found
            client.close()
        return client

    client = asyncio.run(opened())
    if not own_loop_runs:
        asyncio.run(elsewhere(client))
        client.close()


def test_a_client_closed_before_it_was_opened_stays_closed(fakes: Fakes) -> None:
    client = connect(fakes)
    client.close()
    with pytest.raises(ClientClosed):
        asyncio.run(client.__aenter__())


def test_closing_ends_the_calls_of_all_tasks(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        fakes.behaviour = silent
        one = asyncio.create_task(client.get("a"))
        many = asyncio.create_task(client.put_many({f"k{i}": b"" for i in range(2000)}))
        await eventually(lambda: heard(fakes, "a") and heard(fakes, "k1"), "both have asked")
        client.close()
        client.close()
        with pytest.raises(ClientClosed):
            await one
        assert {type(error) for error in (await many).failed.values()} == {ClientClosed}
        assert len(await many) == 2000

    on(fakes, work)


def test_an_endpoint_nobody_listens_at_is_told_within_the_timeout(tmp_path: Any) -> None:
    async def run() -> None:
        with pytest.raises(ClusterUnreachable) as caught:
            async with aio.connect(endpoints=[f"ipc://{tmp_path}/nobody"], timeout=0.1):
                pass
        assert caught.value.tried == {f"ipc://{tmp_path}/nobody": "no connection"}

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 1.5
    with pytest.raises(NoSuchCluster):
        aio.connect(tmp_path)


def test_cancelled_while_it_connects_it_leaves_nothing(tmp_path: Any) -> None:
    async def run() -> None:
        client = aio.connect(endpoints=[f"ipc://{tmp_path}/nobody"], timeout=30.0)
        opening = asyncio.create_task(client.__aenter__())
        await eventually(lambda: client._driver._links is not None, "it connects")
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert client._driver.closed

    asyncio.run(run())


def test_loops_one_after_the_other_have_clients_of_their_own(fakes: Fakes) -> None:
    for i in range(5):
        assert on(fakes, lambda client, i=i: client.get(f"k{i}")).value == b"k%d" % i  # type: ignore[misc]


@pytest.mark.parametrize("ending", ["", "del client; gc.collect()"])
def test_a_client_that_nobody_closed_ends_with_its_program_and_without_a_word(fakes: Fakes, ending: str) -> None:
    script = f"""
import asyncio, dynazmq.aio, gc
async def main():
    global client
    client = dynazmq.aio.connect(endpoints={list(fakes.endpoints.values())})
    await client.__aenter__()
    await client.get("k")
asyncio.run(main())
{ending}
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


# --- cancelling -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_call_leaves_the_others_their_answers(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        fakes.behaviour = lambda name, message: good(name, message) if message.key[:1] == b"q" else []
        slow = [asyncio.create_task(client.get(f"slow{i}")) for i in range(10)]
        batch = asyncio.create_task(client.get_many([f"many{i}" for i in range(2000)]))
        await eventually(lambda: heard(fakes, "slow9") and heard(fakes, "many9"), "all have asked")
        for task in (*slow[1:], batch):
            task.cancel()
        for task in (*slow[1:], batch):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(client._driver.links.core) == 1
        assert (await client.get("quick")).value == b"quick"
        fakes.behaviour = good
        assert (await slow[0]).value == b"slow0"
        assert len(client._driver.links.core) == 0

    on(fakes, work)


def test_a_timeout_of_the_callers_own_is_a_cancellation(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        fakes.behaviour = silent
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.put("k", b"v")
        fakes.behaviour = good
        await client.put("k", b"v")

    on(fakes, work)


def test_one_that_fails_in_a_group_cancels_the_rest_and_not_the_client(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        fakes.behaviour = silent

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.get("a"))
                group.create_task(client.put("b", bytes(2 << 20)))

        with pytest.raises(ExceptionGroup) as caught:
            await both()
        assert caught.group_contains(ValueTooLarge)
        fakes.behaviour = good
        assert (await client.get("a")).found

    on(fakes, work)


# --- trouble --------------------------------------------------------------------------------------------------------------


def test_garbage_and_double_answers_are_borne(fakes: Fakes) -> None:
    fakes.behaviour = lambda name, message: [b"", b"HTTP/1.1", *sealed(cluster_id=9), *good(name, message), *good(name, message)]

    async def work(client: aio.AsyncClient) -> None:
        found = await asyncio.gather(*[client.get(f"k{i}") for i in range(100)])
        assert [result.value for result in found] == [b"k%d" % i for i in range(100)]

    on(fakes, work)


def test_silence_ends_at_the_deadline_of_each_call(fakes: Fakes) -> None:
    fakes.behaviour = silent

    async def work(client: aio.AsyncClient) -> None:
        began = time.monotonic()
        with pytest.raises(ReadTimeout):
            await client.get("k", timeout=0.05)
        with pytest.raises(WriteTimeout):
            await client.put("k", b"", timeout=1e-9)
        assert time.monotonic() - began < 1.5

    on(fakes, work)


def test_a_loop_that_was_busy_does_not_take_its_own_sleep_for_the_nodes_silence(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        calls = asyncio.gather(*[client.get(f"k{i}") for i in range(20)])
        await eventually(lambda: len(fakes.heard) == 20, "all have been asked")
        asleep = time.monotonic()
        time.sleep(0.4)  # the loop is blocked for longer than an attempt lasts, and the answers come meanwhile
        assert all(result.found for result in await calls)
        assert len(fakes.heard) == 20
        assert all(until < asleep + 0.4 for until in client._driver.links.core._routes.avoided.values())

    on(fakes, work)


def test_a_node_that_moves_is_let_go_of_at_its_old_endpoint(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        await client.get("k")
        old = fakes.endpoints["n2"]
        with Fakes("n4") as elsewhere:
            fakes.endpoints = {**fakes.endpoints, "n2": elsewhere.endpoints["n4"]}
            fakes.version = 2
            links = client._driver.links
            links._seeds[:] = [endpoint for endpoint in links._seeds if endpoint != old]
            links.core._learning.next_refresh = 0.0
            await client.get("k")
            await eventually(lambda: client.view.ring.version == 2, "the new view")
            deadline = time.monotonic() + 5.0
            while not elsewhere.heard:
                assert time.monotonic() < deadline
                await client.put_many({f"k{i}": b"" for i in range(20)})
            assert old not in client._driver._watched
            assert old not in dict(links.sockets())

    on(fakes, work)


def test_both_faces_offer_the_same_calls() -> None:
    def calls(of: type) -> set[str]:
        return {name for name in dir(of) if not name.startswith("_")}

    assert calls(aio.AsyncBucket) == calls(dynazmq.Bucket)
    assert calls(aio.AsyncClient) == calls(dynazmq.Client)
