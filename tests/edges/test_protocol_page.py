"""docs/protocol.md against the code: what others build clients from must not drift.

`make protocol` writes the tables of messages anew.
"""

from __future__ import annotations

import json
import re
from random import Random

import pytest

from dynazmq import config
from dynazmq.config import NodeConfig
from dynazmq.dynamo import messages
from dynazmq.dynamo.messages import StatusReply, StatusRequest
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.values.ring import place
from dynazmq.storage.memory import MemoryStorage
from dynazmq.wire import codec, sockets
from tools import protocol_page
from tools.protocol_page import PAGE


def text() -> str:
    return PAGE.read_text()


def test_the_tables_of_messages_are_those_of_the_declarations() -> None:
    assert text() == protocol_page.page(), "run: make protocol"


def test_the_example_frame_is_what_the_code_sends() -> None:
    envelope = codec.Envelope(codec.FROM_CLIENT, 0x1122334455667788, 0, 0, (1 << 64) - 1)
    (frame,) = codec.encode(envelope, [StatusRequest(9)])
    (example,) = re.findall(r"^    (445a .*)$", text(), re.MULTILINE)
    assert bytes.fromhex(example) == frame


def test_the_example_places_are_what_the_code_computes() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (?:`(\w+)`|00 ff \(two bytes\)) \| ([0-9a-f]{16}) \| (\d+) \|$", text(), re.MULTILINE)
    assert len(rows) == 4
    for bucket, key, number, partition in rows:
        assert place(bucket, key.encode() or b"\x00\xff") == int(number, 16)
        assert int(number, 16) * 120 >> 64 == int(partition)


def heartbeats(interval_ms: int) -> str:
    return f"{interval_ms}, {interval_ms * sockets._HEARTBEATS_MISSED} ms"


def keepalives() -> str:
    return f"{sockets._KEEPALIVE_IDLE_S} s, {sockets._KEEPALIVE_EVERY_S} s, {sockets._KEEPALIVES}"


@pytest.mark.parametrize(
    "row",
    [
        f"| frame | {config.FRAME_BYTES_MAX:,} bytes |",
        f"| MAXMSGSIZE | {config.FRAME_BYTES_MAX:,} |",
        f"| SNDHWM, RCVHWM | {sockets._FRAMES_QUEUED_MAX} |",
        f"| HEARTBEAT_IVL, HEARTBEAT_TIMEOUT, from node to node | {heartbeats(sockets._PEER_HEARTBEAT_MS)} |",
        f"| the same, of a client (advised) | {heartbeats(sockets.CLIENT_HEARTBEAT_MS)} |",
        f"| TCP_KEEPALIVE, _IDLE, _INTVL, _CNT, of a node's ROUTER | 1, {keepalives()} |",
        f"| HANDSHAKE_IVL | {sockets._HANDSHAKE_MS} ms |",
        f"messages in a frame among them | {config.MESSAGES_PER_FRAME_MAX:,} |",
        f"| arrays in a frame, nested ones counted | {codec.CONTAINERS_MAX:,} |",
        f"| elements of all arrays of a frame | {codec.ELEMENTS_MAX:,} |",
        f"| key | 1 to {config.KEY_BYTES_MAX:,} bytes |",
        f"| bucket's name | 1 to {config.BUCKET_BYTES_MAX} bytes of UTF-8",
        f"| value | {config.VALUE_BYTES_MAX:,} bytes by default",
        f"| all siblings of a key | {config.STATE_BYTES_MAX:,} bytes |",
        f"| budget | {config.BUDGET_MS_MAX:,} ms",
        f"past {config.FRAME_BYTES_TARGET:,} bytes or {codec._MESSAGES_TARGET:,} messages",
        f"Version {codec.PROTOCOL_VERSION}. ",
        f"| protocol version: {codec.PROTOCOL_VERSION} |",
        f"| {codec.HEADER.size} | | body |",
    ],
)
def test_each_limit_on_the_page_is_that_of_the_code(row: str) -> None:
    assert row in text()


@pytest.mark.parametrize("name", ["INVALID", "UNAVAILABLE", "TIMEOUT", "OVERLOADED", "STORAGE", "NOT_YET"])
def test_each_failure_code_on_the_page_is_that_of_the_code(name: str) -> None:
    assert f"| {getattr(messages, name)} | {name} |" in text()


def test_each_field_of_the_status_document_is_on_the_page() -> None:
    config = NodeConfig(
        name="a", cluster="t", cluster_id=1, secret=b"", data_dir="", endpoint="ipc://a", members={"a": "ipc://a", "b": "ipc://b"}
    )
    node = Node(config, MemoryStorage(), Random(1), 0.0, 1)
    node.receive(b"client", StatusRequest(1))
    (reply,) = [message for message in node.drain()[b"client"] if isinstance(message, StatusReply)]
    document = json.loads(reply.status)
    section = text().split("## The status document")[1]
    assert f'"schema": "{document["schema"]}"' in section
    assert {field for field in document if f"`{field}`" not in section} == set()
