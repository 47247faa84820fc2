"""What an exchange costs on the wire: in proportion to what differs, not to what there is."""

from __future__ import annotations

from pathlib import Path
from random import Random

from dynazmq.config import NodeConfig
from dynazmq.dynamo.messages import Mend, MendReply, Message, RowsAsk, RowsTell, TreeAsk, TreeTell
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.dynamo.values.versions import EMPTY, encode, put
from dynazmq.storage.sqlite import SqliteStorage
from dynazmq.wire import codec

NAMES = ("a", "b")
OF_AN_EXCHANGE = (TreeAsk, TreeTell, RowsAsk, RowsTell, Mend, MendReply)
STATE = encode(put(EMPTY, EMPTY.context, "a~e", bytes(100), b"w" * 16, 1)[0])


def a_node(name: str, directory: Path, keys: list[bytes]) -> Node:
    members = {each: f"ipc://{each}" for each in NAMES}
    config = NodeConfig(
        name=name, cluster="c", cluster_id=1, secret=bytes(32), data_dir="", endpoint=members[name], members=members,
        partitions=8, n=2, r=1, w=1,
    )  # fmt: skip
    store = SqliteStorage(directory / f"{name}.db", "normal")
    node = Node(config, store, Random(1), 100.0, 0)
    for key in keys:
        store.write(place("default", key), "default", key, STATE)
    store.commit()
    return node


def test_of_20_000_keys_of_a_partition_the_10_that_differ_are_shipped_in_40_kib(tmp_path: Path) -> None:
    partition_of = Ring(1, ("n",) * 8).partition_of
    candidates = (b"key-%d" % i for i in range(1_000_000))
    keys = [key for key, _ in zip((k for k in candidates if not partition_of(place("default", k))), range(20_000), strict=False)]
    nodes = {"a": a_node("a", tmp_path, keys), "b": a_node("b", tmp_path, keys[10:])}
    moved, now = 0, 100.0
    while any(node.trees.known < 8 or node.anti_entropy.open_with() for node in nodes.values()) or now < 102.0:
        assert now < 200.0, "they do not come to an end"
        now += 0.01
        for name, node in nodes.items():
            node.tick(now, int(now * 1000) + 10**9)
            node.runtime.store.commit()  # type: ignore[attr-defined]
            for to, messages in node.drain().items():
                assert isinstance(to, str)
                told: list[Message] = [message for message in messages if isinstance(message, OF_AN_EXCHANGE)]
                moved += sum(map(len, codec.encode(codec.Envelope(codec.FROM_NODE, 1, 1, 1, 1), told)))
                for message in messages:
                    nodes[to].receive(name, message)

    assert sum(node.runtime.counters["keys_exchanged"] for node in nodes.values()) == 10
    assert all(nodes["b"].runtime.store.read(place("default", key), "default", key) == STATE for key in keys[:10])
    assert moved < 40 << 10
    for node in nodes.values():
        node.runtime.store.close()  # type: ignore[attr-defined]
