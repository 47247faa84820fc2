"""Many threads at one client, and threads that are cut off: Ctrl-C, close, fork, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from client_fakes import Fakes, good, silent
from client_nodes import eventually

import dynazmq
from dynazmq.client.core import core
from dynazmq.client.values.write_ids import new_write_id
from dynazmq.errors import ClientClosed, DynazmqError, InvalidRequest, ReadTimeout

THREADS = 8


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes("n1", "n2", "n3") as fakes:
        yield fakes


@pytest.fixture
def client(fakes: Fakes) -> Iterator[dynazmq.Client]:
    with dynazmq.connect(endpoints=list(fakes.endpoints.values()), timeout=10.0) as client:
        yield client


def heard(fakes: Fakes, key: str) -> bool:
    return any(message.key == key.encode() for _, message in list(fakes.heard))


def slow(fakes: Fakes) -> None:
    """From now on, nodes answer only keys that begin with "quick"."""
    fakes.behaviour = lambda name, message: good(name, message) if message.key.startswith(b"quick") else silent(name, message)


class Call(threading.Thread):
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self.outcome: Any = None
        self._call = call
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._call()
        except BaseException as error:
            self.outcome = error

    def result(self) -> Any:
        self.join(10.0)
        assert not self.is_alive()
        return self.outcome


# --- many -----------------------------------------------------------------------------------------------------------------


def test_each_of_many_threads_gets_its_own_answers(fakes: Fakes, client: dynazmq.Client) -> None:
    def work(thread: int) -> None:
        for i in range(100):
            key = f"{thread}/{i}"
            assert client.get(key).value == key.encode()
        found = client.get_many([f"{thread}/{i}" for i in range(1500)])
        assert all(result.value == key.encode() for key, result in found.ok.items())
        assert len(found.ok) == 1500

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, thread) for thread in range(THREADS)]:
            done.result()
    assert client._driver._connection._followers == {}


def test_a_thread_that_has_its_answer_does_not_wait_for_the_leader(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    leader = Call(lambda: client.get("slow", timeout=10.0))
    eventually(lambda: heard(fakes, "slow"), "the leader has asked")

    for i in range(50):
        assert client.get(f"quick{i}").found
    assert client._driver._connection._followers == {}
    client.close()
    assert isinstance(leader.result(), ClientClosed)


def test_the_lead_is_handed_to_one_that_still_waits(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    leader = Call(lambda: client.get("slow1", timeout=0.25))
    eventually(lambda: heard(fakes, "slow1"), "the leader has asked")
    followers = [Call(lambda i=i: client.get(f"slow{i}", timeout=0.5)) for i in range(2, 5)]  # type: ignore[misc]
    eventually(lambda: heard(fakes, "slow4"), "all have asked")

    for call in (leader, *followers):
        assert isinstance(call.result(), ReadTimeout)
    fakes.behaviour = good
    assert client.get("after").found


# --- closing --------------------------------------------------------------------------------------------------------------


def test_closing_ends_the_calls_of_all_threads_and_again_does_nothing(fakes: Fakes, client: dynazmq.Client) -> None:
    fakes.behaviour = silent
    calls = [Call(lambda: client.put_many({f"k{i}": b"" for i in range(2000)})), Call(lambda: client.get("a"))]
    eventually(lambda: heard(fakes, "k1") and heard(fakes, "a"), "both have asked")

    began = time.monotonic()
    client.close()
    client.close()

    first = calls[0].result()
    assert {type(error) for error in first.failed.values()} == {ClientClosed}
    assert len(first) == 2000
    assert isinstance(calls[1].result(), ClientClosed)
    assert time.monotonic() - began < 5.0
    bucket = client.bucket("b")
    for call in (lambda: client.get("k"), lambda: bucket.put("k", b""), lambda: list(client.keys()), lambda: client.view):
        with pytest.raises(ClientClosed):
            call()


def test_threads_that_close_and_call_at_the_same_time_never_hang(fakes: Fakes) -> None:
    for _ in range(20):
        client = dynazmq.connect(endpoints=list(fakes.endpoints.values()))
        begun = threading.Barrier(4)

        def work(client: dynazmq.Client = client, begun: threading.Barrier = begun) -> None:
            begun.wait()
            for i in range(1000):
                client.get(f"k{i}", timeout=1.0)

        calls = [Call(work) for _ in range(3)]
        begun.wait()
        client.close()
        assert {type(call.result()) for call in calls} == {ClientClosed}


# --- being cut off --------------------------------------------------------------------------------------------------------


@contextmanager
def interrupt_when(condition: Callable[[], Any]) -> Iterator[None]:
    """Ctrl-C for the main thread as soon as the condition holds."""
    main = threading.main_thread().ident
    assert main is not None

    def wait() -> None:
        eventually(condition, "the moment to interrupt")
        signal.pthread_kill(main, signal.SIGINT)

    thread = Call(wait)
    try:
        yield
    finally:
        assert thread.result() is None


def test_ctrl_c_in_the_thread_that_leads_leaves_the_others_their_answers(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    others: list[Call] = []

    def all_wait() -> bool:
        if heard(fakes, "slow0") and not others:
            others.extend(Call(lambda i=i: client.get(f"slow{i}", timeout=5.0)) for i in (1, 2, 3))  # type: ignore[misc]
        return all(heard(fakes, f"slow{i}") for i in range(4))

    with interrupt_when(all_wait), pytest.raises(KeyboardInterrupt):
        client.get("slow0", timeout=5.0)
    fakes.behaviour = good

    assert [call.result().value for call in others] == [b"slow1", b"slow2", b"slow3"]
    assert client.get("slow0").found


def test_ctrl_c_in_a_thread_that_follows_leaves_the_others_their_answers(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    leader = Call(lambda: client.get("slow0", timeout=5.0))
    eventually(lambda: heard(fakes, "slow0"), "the leader has asked")

    with interrupt_when(lambda: heard(fakes, "slow1")), pytest.raises(KeyboardInterrupt):
        client.get("slow1", timeout=5.0)
    assert client._driver._connection._followers == {}
    fakes.behaviour = good

    assert leader.result().value == b"slow0"
    assert client.get("slow1").found


class _CutOff(BaseException):
    pass


def cut_off_at(event_number: int, call: Callable[[], Any]) -> bool:
    """Make the call, and raise where a signal handler could have: at the nth entry to, or return of C to, the client's code.

    False when the call has fewer of these.
    """
    left = event_number

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal left
        if event in ("call", "c_return") and CLIENT in frame.f_code.co_filename:
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise _CutOff

    sys.setprofile(profile)
    try:
        call()
    except _CutOff:
        return True
    finally:
        sys.setprofile(None)
    return left <= 0


CLIENT = os.path.join("dynazmq", "client")


class Round:
    """A leader and three followers: the node answers the leader last, so that all answers go through its hands."""

    def __init__(self, fakes: Fakes) -> None:
        self.led = threading.Event()
        self._held: list[bytes] = []
        self._answered: set[bytes] = set()
        fakes.behaviour = self._behave

    def _behave(self, name: str, message: Any) -> list[bytes]:
        if message.key == b"leader":
            self._held = good(name, message)
            self.led.set()
            return self._held if len(self._answered) == 3 else []
        self._answered.add(message.key)
        return [*good(name, message), *(self._held if len(self._answered) == 3 else [])]

    def follow(self, client: dynazmq.Client, key: str) -> bool:
        self.led.wait()
        began = time.monotonic()
        return client.get(key, timeout=5.0).value == key.encode() and time.monotonic() - began < 2.0


def test_a_leader_cut_off_anywhere_leaves_the_followers_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "ATTEMPT_S", 0.03)  # what was in the hand of the thread that was cut off is asked for again
    with Fakes("n1") as fakes, dynazmq.connect(endpoints=list(fakes.endpoints.values())) as client:
        connection = client._driver._connection
        number, cut_off = 0, True
        while cut_off:
            number += 1
            this = Round(fakes)
            followers = [Call(lambda key=key: this.follow(client, key)) for key in "abc"]  # type: ignore[misc]  # noqa: B023
            cut_off = cut_off_at(number, lambda: client.get("leader", timeout=5.0))
            this.led.set()
            assert [call.result() for call in followers] == [True] * 3, number
            assert (connection._leader, connection._followers, len(connection.core)) == (None, {}, 0), number
        assert number > 30


@contextmanager
def on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_handler_may_close_the_client_under_the_call_that_it_interrupts(fakes: Fakes, client: dynazmq.Client) -> None:
    fakes.behaviour = silent
    with on_interrupt(lambda *_: client.close()), interrupt_when(lambda: heard(fakes, "k")), pytest.raises(ClientClosed):
        client.get("k")
    assert client._driver._connection._links.sockets() == []


def test_a_signal_handler_cannot_call_the_client_whose_call_it_interrupts(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    refused: list[InvalidRequest] = []

    def handler(*_: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            client.get("quick")
        refused.append(caught.value)
        fakes.behaviour = good

    with on_interrupt(handler), interrupt_when(lambda: heard(fakes, "k")):
        assert client.get("k", timeout=5.0).found  # the retry finds it
    assert "signal handler" in str(refused[0])


def test_a_signal_that_raises_nothing_costs_a_call_nothing(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)

    def handler(*_: Any) -> None:
        fakes.behaviour = good

    with on_interrupt(handler), interrupt_when(lambda: heard(fakes, "k")):
        assert client.get("k", timeout=5.0).found


# --- fork -----------------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], Any]) -> str:
    """What `work` returned in a forked child, or raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def test_a_forked_child_gives_none_of_its_parents_write_ids() -> None:
    new_write_id()  # so that there are some in stock
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(new_write_id() for _ in range(500)))
        os._exit(0)
    ours = {new_write_id() for _ in range(500)}
    os.waitpid(child, 0)
    given = os.read(reading, 16 * 500)
    os.close(reading)
    os.close(writing)
    theirs = {given[at : at + 16] for at in range(0, len(given), 16)}
    assert len(ours) == len(theirs) == 500
    assert not ours & theirs


def test_threads_share_no_write_id() -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        each = pool.map(lambda _: [new_write_id() for _ in range(2_000)], range(THREADS))
        given = [write_id for ids in each for write_id in ids]
    assert len(set(given)) == len(given) == THREADS * 2_000
    assert {len(write_id) for write_id in given} == {16}


def test_a_forked_child_uses_the_client_and_so_does_its_parent(fakes: Fakes, client: dynazmq.Client) -> None:
    bucket = client.bucket("b")
    assert client.get("before").found
    assert in_child(lambda: (bucket.get("child").value, client.get("child2").value)) == "(b'child', b'child2')"
    assert bucket.get("parent").value == b"parent"


def test_a_child_of_a_child_uses_it_too(client: dynazmq.Client) -> None:
    assert in_child(lambda: client.get("c").value and in_child(lambda: client.get("cc").value)) == repr("b'cc'")


def test_a_fork_while_another_thread_leads_leaves_both_sides_working(fakes: Fakes, client: dynazmq.Client) -> None:
    slow(fakes)
    leader = Call(lambda: client.get("slow", timeout=5.0))
    eventually(lambda: heard(fakes, "slow"), "a thread leads")

    with client._driver._connection._mutex:  # even if it holds the lock at this moment
        said = in_child(lambda: client.get("quick").value)

    assert said == "b'quick'"
    fakes.behaviour = good
    assert leader.result().value == b"slow"


def test_threads_of_a_child_share_one_new_connection(client: dynazmq.Client) -> None:
    def work() -> int:
        connections = set()

        def call() -> None:
            client.get("k")
            connections.add(client._driver._connection)

        calls = [Call(call) for _ in range(6)]
        assert [thread.result() for thread in calls] == [None] * 6
        return len(connections)

    assert in_child(work) == "1"


def test_a_child_that_closes_its_client_closes_nothing_of_its_parents(client: dynazmq.Client) -> None:
    assert in_child(client.close) == "None"
    assert client.get("k").found


def test_a_client_closed_before_the_fork_stays_closed(client: dynazmq.Client) -> None:
    client.close()
    assert in_child(lambda: client.get("k")).startswith("ClientClosed")


# --- the end --------------------------------------------------------------------------------------------------------------

ENDINGS = {
    "at the end of the program": "client.get('k')",
    "collected": "client.get('k'); del client; gc.collect()",
    "in a cycle": "client.get('k'); client.me = client; del client; gc.collect()",
    "with a daemon thread that waits": """
fakes_are_silent = threading.Thread(target=client.get, args=('slow',), kwargs={'timeout': 50}, daemon=True)
fakes_are_silent.start()
while client._driver._connection._leader is None: time.sleep(0.001)
""",
    "after a fork": """
client.get('k')
if (child := os.fork()) == 0:
    client.get('k')
else:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
    "in a child that did not use it": """
if (child := os.fork()) != 0:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_client_that_nobody_closed_ends_with_its_program_and_without_a_word(fakes: Fakes, ending: str) -> None:
    slow(fakes)
    fakes.behaviour = lambda name, message: good(name, message) if message.key == b"k" else []
    script = f"import dynazmq, gc, os, threading, time\nclient = dynazmq.connect(endpoints={list(fakes.endpoints.values())})\n"
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script + ENDINGS[ending]], capture_output=True, text=True, timeout=20
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_collected_client_lets_go_of_its_sockets(fakes: Fakes) -> None:
    client = dynazmq.connect(endpoints=list(fakes.endpoints.values()))
    links = client._driver._connection._links
    with pytest.raises(DynazmqError):
        client.get("")
    del client
    gc.collect()
    assert links.sockets() == []
