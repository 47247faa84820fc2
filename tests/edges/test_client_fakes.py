"""The client against nodes that misbehave."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from client_fakes import Fakes, good, reply_to, sealed, silent
from client_nodes import eventually

import dynazmq
from dynazmq.dynamo.messages import OVERLOADED, Failure, Put
from dynazmq.errors import ClusterUnreachable, InvalidRequest, NoSuchCluster, Overloaded, ReadTimeout, WriteTimeout
from dynazmq.wire.codec import FROM_CLIENT, HEADER


def connect(fakes: Fakes, timeout: float = 2.0) -> dynazmq.Client:
    return dynazmq.connect(endpoints=list(fakes.endpoints.values()), timeout=timeout)


GARBAGE: dict[str, Callable[[Any], bytes]] = {
    "nothing": lambda _: b"",
    "random bytes": lambda _: b"\x00\xff" * 50,
    "an HTTP answer": lambda _: b"HTTP/1.1 200 OK\r\n\r\n",
    "half a frame": lambda message: sealed(reply_to(message))[0][: HEADER.size + 3],
    "a flipped bit": lambda message: sealed(reply_to(message))[0][:-1] + b"\x00",
    "another cluster's": lambda message: sealed(reply_to(message), cluster_id=0xBAD)[0],
    "a client's": lambda message: sealed(reply_to(message), kind=FROM_CLIENT)[0],
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_dropped_and_the_answer_behind_it_is_heard(kind: str) -> None:
    def garbage_first(_name: str, message: Any) -> list[bytes]:
        return [GARBAGE[kind](message), *sealed(reply_to(message))]

    with Fakes("n1", behaviour=garbage_first) as fakes, connect(fakes) as client:
        assert client.get("k", timeout=5.0).value == b"k"


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_alone_is_silence(kind: str) -> None:
    garbage = GARBAGE[kind]
    with Fakes("n1", behaviour=lambda _, message: [garbage(message)]) as fakes, connect(fakes, 0.5) as client:
        outcome = client.get_many(["k"], timeout=0.05)["k"]
        assert isinstance(outcome, ReadTimeout)


def test_an_answer_that_comes_twice_is_heard_once() -> None:
    with Fakes("n1", behaviour=lambda name, message: good(name, message) * 2) as fakes, connect(fakes) as client:
        for i in range(50):
            assert client.get(f"k{i}").value == b"k%d" % i
            assert client.put(f"k{i}", b"v").acked == ("n1", "n2")


def test_a_silent_node_costs_one_attempt_and_the_put_is_one_write() -> None:
    def only_the_second(_name: str, message: Any) -> list[bytes]:
        return sealed(reply_to(message)) if isinstance(message, Put) and message.age_ms else []

    with Fakes("n1", "n2", "n3", behaviour=only_the_second) as fakes, connect(fakes) as client:
        began = time.monotonic()
        client.put("k", b"v")
        assert 0.3 <= time.monotonic() - began < 2.0
        (first, one), (second, two), *_ = fakes.heard
        assert first != second
        assert one.write_id == two.write_id
        assert (one.age_ms, two.age_ms >= 300) == (0, True)


def test_a_cluster_that_only_refuses_is_told_as_that_within_the_timeout() -> None:
    def refuse(_name: str, message: Any) -> list[bytes]:
        return sealed(Failure(message.request_id, OVERLOADED, 0, 0, 70, "enough to do"))

    with Fakes("n1", "n2", behaviour=refuse) as fakes, connect(fakes) as client:
        began = time.monotonic()
        with pytest.raises(Overloaded, match="enough to do") as caught:
            client.put("k", b"v", timeout=0.3)
        assert time.monotonic() - began < 2.0
        assert caught.value.retry_after == 0.07
        assert {name for name, _ in fakes.heard} == {"n1", "n2"}


def test_a_node_that_moves_is_found_at_its_new_endpoint_and_let_go_of_at_the_old_one() -> None:
    with Fakes("n1", "n2") as fakes, connect(fakes) as client:
        before = dict(fakes.endpoints)
        client.get("k")
        with Fakes("n3") as elsewhere:
            fakes.endpoints = {"n1": before["n1"], "n2": elsewhere.endpoints["n3"]}
            fakes.version = 2
            core = client._driver._connection.core  # waits for the next refresh; here it is due at once
            core._routes.seeds[:] = [before["n1"]]
            client._driver._connection._links._seeds[:] = [before["n1"]]
            core._learning.next_refresh = 0.0
            eventually(lambda: client.get("k") and client.view.ring.version == 2, "the new view")
            eventually(lambda: client.put_many({f"k{i}": b"" for i in range(20)}) and elsewhere.heard, "the moved node is used")
            links = {link for link, _ in client._driver._connection._links.sockets()}
            assert links == {before["n1"], elsewhere.endpoints["n3"]}


def test_an_endpoint_nobody_listens_at_is_told_within_the_timeout(tmp_path: Any) -> None:
    endpoints = [f"ipc://{tmp_path}/nobody", "tcp://127.0.0.1:1"]
    began = time.monotonic()
    with pytest.raises(ClusterUnreachable) as caught:
        dynazmq.connect(endpoints=endpoints, timeout=0.1)

    assert time.monotonic() - began < 1.5
    assert caught.value.tried == dict.fromkeys(endpoints, "no connection")
    assert isinstance(caught.value, ConnectionError)


def test_something_else_at_the_endpoint_is_named() -> None:
    with Fakes("n1") as fakes:
        fakes.topology = lambda request_id: Put(request_id, "b", b"k", None, b"", b"w" * 16, 0, 0, 0, 0, 0, 0)  # type: ignore[method-assign]
        with pytest.raises(ClusterUnreachable) as caught:
            connect(fakes, timeout=0.1)
        assert caught.value.tried == {fakes.endpoints["n1"]: "no answer"}


def test_one_live_endpoint_among_dead_ones_is_enough() -> None:
    with Fakes("n1") as fakes:
        endpoints = ["ipc:///tmp/dz-nobody", *fakes.endpoints.values()]
        with dynazmq.connect(endpoints=endpoints, timeout=2.0) as client:
            assert client.get("k").value == b"k"


def test_no_cluster_in_the_directory_is_told_with_what_to_type(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSuchCluster, match="dynazmq cluster up"):
        dynazmq.connect(tmp_path)
    monkeypatch.setenv("DYNAZMQ_DIR", str(tmp_path / "other"))
    with pytest.raises(NoSuchCluster, match="other"):
        dynazmq.connect()


def test_nothing_is_sent_of_what_is_refused() -> None:
    with Fakes("n1") as fakes, connect(fakes) as client:
        for call in (
            lambda: client.put("", b"v"),
            lambda: client.put("k", bytes(2 << 20)),
            lambda: client.put("k", b"v", w=4),
            lambda: client.put("k", b"v", context="garbled"),
            lambda: client.get("k", r=4),
            lambda: client.put_many({5: b"v"}),
            lambda: client.bucket("x", codec="json").put("k", {1, 2}),
        ):
            with pytest.raises(InvalidRequest):
                call()
        assert client.put_many({"": b"v", "a": b"v"}, timeout=1.0).ok.keys() == {"a"}
        assert [message.key for _, message in fakes.heard] == [b"a"]


def test_a_timeout_shorter_than_any_answer_still_ends_in_time() -> None:
    with Fakes("n1", behaviour=silent) as fakes, connect(fakes) as client:
        for timeout in (1e-9, 0.0005, 0.02):
            began = time.monotonic()
            with pytest.raises(WriteTimeout):
                client.put("k", b"v", timeout=timeout)
            assert time.monotonic() - began < timeout + 1.5
        outcomes = client.put_many({f"k{i}": b"v" for i in range(3000)}, timeout=1e-4)
        assert all(isinstance(error, WriteTimeout | Overloaded) for error in outcomes.failed.values()), "or it was never sent"
        assert len(outcomes.failed) == 3000


def test_no_descriptor_is_left_of_clients_that_were_closed() -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    with Fakes("n1", "n2") as fakes:
        connect(fakes).close()
        before = descriptors()
        for _ in range(5):
            with connect(fakes) as client:
                client.get("k")
            client.close()
        with pytest.raises(ClusterUnreachable):
            dynazmq.connect(endpoints=["ipc:///tmp/dz-nobody"], timeout=0.02)
        eventually(lambda: descriptors() <= before, "the fakes have let go of their side, too")
