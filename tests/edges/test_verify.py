"""Reading and comparing what nodes hold: real cores on a virtual network, asked without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest

from dynazmq.cluster.observe.asking import Asker, Question
from dynazmq.cluster.observe.node_health import Answer
from dynazmq.cluster.observe.verify import Report, Verifier
from dynazmq.dynamo.messages import Message, RowsAsk, RowsTell, TreeAsk, TreeTell
from dynazmq.dynamo.repair import exchange
from dynazmq.dynamo.replica import hints
from dynazmq.errors import ClusterUnreachable
from dynazmq.simulator.cluster.cluster import Cluster, row_of

KEYS = [f"k{i}" for i in range(60)]
OPERATOR = b"an operator"


class Direct:
    """Stands in for an Asker: each node's core answers at once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.asked: list[tuple[str, Question]] = []
        self.changed: dict[str, Callable[[Message], Message | None]] = {}  # what becomes of a node's answers

    def gather(self, names: Iterable[str], _deadline: float, *, rings: bool = True) -> dict[str, Answer]:
        assert not rings
        alive = [name for name in names if self.cluster.node(name).process.alive]
        return {name: self._status(name) for name in alive}

    def _status(self, name: str) -> Answer:
        return Answer(name=name, status=json.loads(json.dumps(self.cluster.node(name).process.node.admin.status())))

    def question(self, questions: Sequence[tuple[str, Question]], _timeout: float) -> list[Message | None]:
        self.asked += questions
        return [self._answer(name, message) for name, message in questions]

    def _answer(self, name: str, message: Question) -> Message | None:
        process = self.cluster.node(name).process
        if not process.alive:
            return None
        message.request_id = 1  # 0 would ask for no answer
        process.node.receive(OPERATOR, message)
        (answer,) = process.node.runtime.outbox.pop(OPERATOR)
        return self.changed.get(name, lambda told: told)(answer)


def at_once() -> None:
    """No time passes between two looks."""


def verified(
    cluster: Cluster, *, deep: bool = True, pause: Callable[[], None] = at_once, direct: Direct | None = None
) -> Report:
    asker = cast(Asker, direct or Direct(cluster))
    steps: list[tuple[int, int]] = []
    report = Verifier(asker, cluster.names, deep, pause).run(lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1], "the bar comes to its end"
    return report


def a_cluster(seed: int = 1, **options: Any) -> Cluster:
    cluster = Cluster(seed, **options)
    client = cluster.client()
    for key in KEYS:
        client.put(key, f"value of {key}")
    cluster.settle()
    return cluster


def disks(cluster: Cluster) -> list[object]:
    return [node.process.disk.backup() for node in cluster.nodes]


def test_a_cluster_in_which_nothing_went_wrong_is_read_whole_and_left_as_it_was() -> None:
    cluster = a_cluster(anti_entropy_ms=200)
    cluster.run(2.0)
    before = disks(cluster)
    report = verified(cluster)
    assert (report.found, report.unsettled, report.whole) == ({}, 0, True)
    assert (report.counts.keys, report.counts.copies, report.counts.trees) == (60, 180, 360)
    assert (report.nodes, report.partitions) == (cluster.names, 120)
    assert disks(cluster) == before
    assert verified(cluster, deep=False).counts.trees == 360


def test_pages_are_followed_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = a_cluster(partitions=8)
    away = cluster.node("n2")
    away.crash()
    cluster.run(2.0)
    for key in KEYS[:20]:
        cluster.client().put(f"late {key}", "v")
    monkeypatch.setattr(exchange, "ROWS_PER_PAGE", 3)
    monkeypatch.setattr(hints, "_ROWS_PER_PAGE", 2)
    report = verified(cluster)
    assert report.counts.keys == 80
    assert report.counts.hints == sum(node.hints("n2") for node in cluster.nodes) > 8
    assert report.unread == {"n2": "it does not answer"}
    assert (report.found, report.whole) == ({}, False)


def test_a_node_without_its_disk_misses_every_key_whose_primary_it_is() -> None:
    cluster = a_cluster()
    cluster.node("n3").wipe()
    cluster.node("n3").come_back()
    its = [key for key in KEYS if cluster.node("n3") in cluster.primaries(key)]
    report = verified(cluster)
    assert report.found == {"missing": len(its)}
    assert sorted(finding.key.decode() for finding in report.findings) == sorted(its)
    assert {finding.nodes for finding in report.findings} == {("n3",)}
    assert report.off == cluster.names
    assert report.whole, "trees that nobody keeps are not missed by who reads the rows"


def test_s7_damaged_rows_are_found_and_neither_cleared_nor_counted_by_looking() -> None:
    cluster = a_cluster()
    node = cluster.primaries(KEYS[0])[1]
    node.damage(KEYS[0])
    report = verified(cluster)
    assert [(finding.kind, finding.nodes, finding.key) for finding in report.findings] == [("damaged", (str(node),), b"k0")]
    assert verified(cluster).found == {"damaged": 1}
    assert not node.counters["rows_damaged"]


def test_what_is_mended_between_two_looks_is_no_finding() -> None:
    cluster = a_cluster(anti_entropy_ms=100)
    cluster.node("n3").wipe()
    cluster.node("n3").restart()
    report = verified(cluster, pause=lambda: cluster.run(5.0))
    assert report.found == {}
    assert report.unsettled > 0


def test_a_key_that_is_written_between_the_looks_is_no_finding_although_it_differs_at_both() -> None:
    cluster = a_cluster()
    at = row_of(KEYS[0])
    node = cluster.primaries(KEYS[0])[2]
    old = node.process.disk.committed()[at]

    def fall_back() -> None:
        """This node is behind, once more."""
        node.process.disk.write(*at, old)
        node.process.disk.commit()

    def write() -> None:
        cluster.client().put(KEYS[0], "again", cluster.client().get(KEYS[0]).context)
        cluster.run(1.0)
        fall_back()

    write()
    report = verified(cluster, pause=write)
    assert (report.found, report.unsettled) == ({}, 1)
    assert verified(cluster).found == {"differs": 1}, "when the writes have ended it is one"


def test_a_tree_that_is_not_that_of_its_rows_is_found_and_the_quick_look_sees_that_roots_differ() -> None:
    cluster = a_cluster(anti_entropy_ms=200)
    cluster.run(2.0)
    node = cluster.primaries(KEYS[0])[0]
    for each in cluster.nodes:
        each.process.node.anti_entropy.paused = True
    ring = cluster.nodes[0].process.node.membership.ring
    tree = node.process.node.trees.of(ring.partition_of(row_of(KEYS[0])[0]), 3)
    assert tree is not None
    tree.change(33, 12345)
    report = verified(cluster)
    assert [(finding.kind, finding.nodes) for finding in report.findings] == [("tree", (str(node),))]
    assert "3 of 1,057 nodes differ" in report.findings[0].text
    quick = verified(cluster, deep=False)
    assert quick.found == {"roots": 1}


def test_a_node_that_goes_away_while_it_is_read_is_named_and_the_others_are_read_on() -> None:
    cluster = a_cluster()
    direct = Direct(cluster)

    def silent_in_the_end(told: Message) -> Message | None:
        return told if len(direct.asked) < 200 else None

    direct.changed["n4"] = silent_in_the_end
    report = verified(cluster, direct=direct)
    assert report.unread == {"n4": "it stopped answering"}
    assert (report.found, report.nodes) == ({}, ["n1", "n2", "n3", "n5"])
    assert direct.asked[-1][0] == "n5"


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda told: RowsTell(1, [["default", b"k", 1, 1]], False, -1, "", b""),
        lambda told: RowsTell(1, [7], False, -1, "", b""),
        lambda told: RowsTell(1, [], True, -1, "", b""),
    ],
    ids=["a row of elsewhere", "no row", "a page that does not go forward"],
)
def test_w17_a_node_that_tells_nonsense_is_named_and_nothing_of_it_is_believed(nonsense: Callable[[Message], Message]) -> None:
    cluster = a_cluster()
    direct = Direct(cluster)
    direct.changed["n4"] = lambda told: nonsense(told) if isinstance(told, RowsTell) else told
    report = verified(cluster, direct=direct)
    assert report.unread["n4"].startswith("it tells what makes no sense")
    assert report.found == {}


def test_s6_a_node_whose_disk_cannot_be_read_says_so() -> None:
    cluster = a_cluster()
    cluster.node("n4").process.disk.fail_reads = True
    direct = Direct(cluster)
    report = verified(cluster, direct=direct)
    assert report.unread == {"n4": "it refuses: disk I/O error"}


def test_without_trees_the_quick_look_says_that_it_has_seen_nothing() -> None:
    report = verified(a_cluster(), deep=False)
    assert report.counts.trees == 0
    assert not report.whole


def test_a_cluster_of_which_nobody_answers_is_an_error() -> None:
    cluster = a_cluster()
    for node in cluster.nodes:
        node.crash()
    with pytest.raises(ClusterUnreachable):
        verified(cluster)


def test_no_question_is_beyond_what_a_node_answers_in_one_turn() -> None:
    cluster = a_cluster(anti_entropy_ms=200)
    direct = Direct(cluster)
    verified(cluster, direct=direct)
    assert max(len(question.nodes) for _, question in direct.asked if isinstance(question, TreeAsk)) == 3 * 1024
    assert all(question.after_place == -1 for _, question in direct.asked if isinstance(question, RowsAsk))
    assert TreeTell in {type(answer) for answer in direct.question([("n1", TreeAsk(0, [0, 3, 0] * 1024))], 1.0)}
