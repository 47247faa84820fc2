"""C24: nodes and clients of another version of the protocol. Nothing is done for them, and nobody is left to guess why."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq.cli.shown import report
from dynazmq.cluster.observe.node_health import Facts
from dynazmq.cluster.observe.observe import observe
from dynazmq.errors import ProtocolError
from dynazmq.paths import config_path, node_log
from dynazmq.wire.codec import PROTOCOL_VERSION

NEWER = PROTOCOL_VERSION + 1
SAID = f"n3 speaks protocol {NEWER}, this"

AS_NEWER = f"""
import sys
import dynazmq.wire.codec as codec
codec.PROTOCOL_VERSION = {NEWER}
from dynazmq.server import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def mixed() -> Iterator[Nodes]:
    """n1 and n2 as they are, n3 started again as one of the next version."""
    nodes = Nodes("n1", "n2", "n3")
    try:
        nodes.start()
        nodes.wait_ready()  # a first start needs all founders: nobody else can say that there was no cluster before
        nodes.kill("n3")
        with open(node_log(nodes.dir, "n3"), "ab") as log:
            command = [sys.executable, "-P", "-c", AS_NEWER, "dynazmq.server", str(config_path(nodes.dir, "n3"))]
            nodes.processes["n3"] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(lambda: "speaks protocol" in node_log(nodes.dir, "n3").read_text(), "n3 has met the others")
        yield nodes
    finally:
        nodes.close()


def test_c24_both_sides_say_so_in_their_logs_and_not_with_each_frame(mixed: Nodes) -> None:
    eventually(lambda: _counted(mixed, "n1") > 20, "many frames")
    for name, said in (
        ("n1", f"n3 speaks protocol {NEWER}, this node {PROTOCOL_VERSION}: what it sends is dropped"),
        ("n3", f"n1 speaks protocol {PROTOCOL_VERSION}, this node {NEWER}: what it sends is dropped"),
    ):
        assert 1 <= node_log(mixed.dir, name).read_text().count(said) <= 3  # one in ten seconds


def _counted(mixed: Nodes, name: str) -> int:
    (node,) = [node for node in observe(mixed.dir, timeout=1.0).nodes if node.name == name]
    return node.counters.get("frames_of_other_versions", 0)


def test_c24_status_says_which_node_speaks_which_version(mixed: Nodes) -> None:
    snapshot = observe(mixed.dir, timeout=1.0)
    assert {node.name: node.protocol for node in snapshot.nodes} == {"n1": None, "n2": None, "n3": NEWER}
    lines = report(snapshot, Facts(), "")
    assert f"{SAID} program {PROTOCOL_VERSION}" in lines
    assert "next  dynazmq cluster restart    all nodes at once: two versions cannot serve together" in lines


def test_c24_those_of_one_version_serve_and_take_the_other_for_down(mixed: Nodes) -> None:
    with dynazmq.connect(mixed.dir) as client:
        for i in range(20):
            assert "n3" not in client.put(f"k{i}", b"v").acked
            assert client.get(f"k{i}").value == b"v"
    eventually(lambda: _word(mixed, of="n3", by="n1") == "down", "n3 is down to n1")


def _word(mixed: Nodes, of: str, by: str) -> str | None:
    (node,) = [node for node in observe(mixed.dir, timeout=1.0).nodes if node.name == of]
    return node.seen_by.get(by)


def test_c24_a_client_that_no_node_understands_is_told_so_and_does_not_wait(mixed: Nodes) -> None:
    began = time.monotonic()
    with pytest.raises(ProtocolError, match=f"speaks protocol {NEWER}, this client {PROTOCOL_VERSION}"):
        dynazmq.connect(endpoints=[mixed.endpoints["n3"]], timeout=20.0)
    assert time.monotonic() - began < 5.0


def test_c24_so_is_an_asynchronous_one(mixed: Nodes) -> None:
    async def connect() -> None:
        async with dynazmq.aio.connect(endpoints=[mixed.endpoints["n3"]], timeout=20.0):
            raise AssertionError("it was understood")

    with pytest.raises(ProtocolError, match=f"speaks protocol {NEWER}, this client {PROTOCOL_VERSION}"):
        asyncio.run(asyncio.wait_for(connect(), 5.0))
