"""Real clusters that are ended and made anew in the same directory, under who looks at them and who uses them for long."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervised import Cluster, eventually

import dynazmq
import dynazmq.aio
from dynazmq.cli.metrics import Server
from dynazmq.cli.top import Meter, lines
from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.processes import environment
from dynazmq.errors import ClusterReplaced, ClusterUnreachable, DynazmqError
from dynazmq.paths import ClusterFile
from dynazmq.tui.app.poller import Poller
from dynazmq.tui.model.load import Load
from dynazmq.tui.model.model import Model


@pytest.fixture(params=["ipc", "tcp"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="dz-", dir="/tmp") as base:
        made = Cluster(Path(base) / "c")
        made.up("-n", "2", "--name", "old-one", "--transport", request.param)
        assert made.run("put", "k", "of the first").code == 0
        yield made
        made.run("down", "--purge", "--yes")


def make_anew(cluster: Cluster) -> None:
    transport = ClusterFile.load(cluster.directory).transport
    assert cluster.run("down", "--purge", "--yes").code == 0
    cluster.up("-n", "2", "--name", "new-one", "--transport", transport)


# --- who uses it ----------------------------------------------------------------------------------------------------------


def test_a_client_of_a_directory_says_that_its_cluster_is_gone_and_goes_on_with_the_next(cluster: Cluster) -> None:
    """It got no answer for ever, and said of its puts that some replicas may hold them."""
    with dynazmq.connect(dir=cluster.directory) as client:
        assert client.get("k").value == b"of the first"
        make_anew(cluster)
        with pytest.raises(ClusterUnreachable, match="not there any more, another was made there"):
            client.put("k2", b"x", client.get("k").context)
        assert not client.get("k").found
        client.put("k2", b"of the second")
        assert client.get("k2").value == b"of the second"
        assert client.view.cluster == "new-one"
        assert client.bucket("another").get_many(["a", "b"]).ok


def test_a_client_of_endpoints_says_that_its_cluster_is_gone(cluster: Cluster) -> None:
    endpoints = list(ClusterFile.load(cluster.directory).members.values())
    with dynazmq.connect(endpoints=endpoints) as client:
        client.put("k", b"v")
        make_anew(cluster)
        for _ in range(3):
            with pytest.raises(ClusterUnreachable) as raised:
                client.get("k")
            with pytest.raises(ClusterUnreachable):
                client.put("k", b"v")
        assert set(raised.value.tried) == {"n1", "n2"}


def test_an_asynchronous_client_goes_on_with_the_next_as_well(cluster: Cluster) -> None:
    async def play() -> None:
        async with dynazmq.aio.connect(dir=cluster.directory) as client:
            await client.put("k", b"v")
            await asyncio.to_thread(make_anew, cluster)
            with pytest.raises(ClusterUnreachable, match="another was made there"):
                await client.get("k")
            found = None
            while found is None:
                try:
                    found = await client.get("k")
                except ClusterUnreachable:  # none of its nodes has answered yet
                    await asyncio.sleep(0.01)
            assert not found.found
            await client.put("k", b"of the second")
            assert client.view.cluster == "new-one"

    asyncio.run(play())


def test_threads_and_streams_of_one_client_all_hear_of_it(cluster: Cluster) -> None:
    with dynazmq.connect(dir=cluster.directory) as client:
        errors: list[DynazmqError] = []
        stop = threading.Event()

        def use() -> None:
            while not stop.is_set():
                try:
                    client.get("k")
                except DynazmqError as error:
                    errors.append(error)

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        stream = client.get_iter(iter(["k"] * 100_000))
        next(stream)
        make_anew(cluster)
        with pytest.raises(DynazmqError):
            raise next(outcome for _, outcome in stream if isinstance(outcome, DynazmqError))
        eventually(lambda: _answers(client), "the next one answers")
        stop.set()
        for thread in threads:
            thread.join()
        assert errors


def _answers(client: dynazmq.Client) -> bool:
    try:
        return not client.get("k").found and client.view.cluster == "new-one"
    except DynazmqError:
        return False


# --- who looks at it ------------------------------------------------------------------------------------------------------

Look = Callable[[], str]
"""What is shown now, as a text."""


@contextmanager
def by_observer(cluster: Cluster) -> Iterator[Look]:
    with Observer(cluster.directory) as observer:

        def look() -> str:
            try:
                snapshot = observer.look(1.0)
            except ClusterReplaced as error:
                return str(error)
            return f"{snapshot.name}: {[node.answers for node in snapshot.nodes]}"

        yield look


@contextmanager
def by_top(cluster: Cluster) -> Iterator[Look]:
    with Observer(cluster.directory) as observer:
        meter = Meter(observer)
        yield lambda: "\n".join(lines(meter.look(), "name"))


@contextmanager
def by_metrics(cluster: Cluster) -> Iterator[Look]:
    with Observer(cluster.directory) as observer, Server(observer, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def scrape() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as reply:
                    return f"{observer.cluster.name}: {reply.read().decode()}"
            except urllib.error.HTTPError as error:
                with error:
                    return error.read().decode()

        yield scrape
        server.shutdown()
        thread.join()


@contextmanager
def by_console(cluster: Cluster) -> Iterator[Look]:
    shown: list[Any] = []
    poller = Poller(cluster.directory, lambda found, _progress: shown.append(found), Load(cluster.directory))
    poller.start()

    def look() -> str:
        eventually(lambda: shown, "a picture")
        found = shown.pop(0)
        shown.clear()
        return found.snapshot.name + ": " + str(found.snapshot.nodes) if isinstance(found, Model) else str(found)

    yield look
    poller.stop()


@contextmanager
def by_command(cluster: Cluster, *words: str) -> Iterator[Look]:
    command = [sys.executable, "-P", "-m", "dynazmq", *words, "--dir", str(cluster.directory)]
    with (
        tempfile.NamedTemporaryFile("r", encoding="utf-8") as output,
        open(output.name, "ab") as written,
        subprocess.Popen(command, stdout=written, stderr=written, env=environment()) as process,
    ):

        def look() -> str:
            assert process.poll() is None
            return output.read()

        yield look
        process.terminate()


def by_events(cluster: Cluster) -> Any:
    return by_command(cluster, "cluster", "events", "-f")


def by_status(cluster: Cluster) -> Any:
    return by_command(cluster, "status", "--watch", "200ms")


@pytest.mark.parametrize("observed", [by_observer, by_top, by_metrics, by_console, by_events, by_status])
def test_who_looks_for_long_says_that_another_cluster_was_made_and_shows_that_one(
    cluster: Cluster, observed: Callable[[Cluster], Any]
) -> None:
    """They asked the new nodes as the old cluster, got no answer, and showed the old one as silent for ever."""
    with observed(cluster) as look:
        eventually(lambda: "n1" in (text := look()) or "True" in text, "the first one is shown")
        make_anew(cluster)
        if observed in (by_events, by_status, by_console):
            told: list[str] = []
            said = "new-one: " if observed is by_console else f"another cluster was made in {cluster.directory}"
            eventually(lambda: told.append(look()) or said in "".join(told), "it is said")
            eventually(lambda: told.append(look()) or "n2" in "".join(told).partition(said)[2], "the second one is shown")
        else:
            said = look()
            assert f"another cluster was made in {cluster.directory}" in said
            assert "old-one" not in said
            again = look()
            assert "new-one" in again
            assert "old-one" not in again
