"""The keys of a bucket, from the pages of several nodes none of which has them all, against a model that knows them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from client_bench import link_of, topology
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.client.core import flows
from dynazmq.client.core.requests import Options, Request
from dynazmq.client.core.scan import PAGE_KEYS, Scanner
from dynazmq.client.values.view import Link, View
from dynazmq.config import SIBLINGS
from dynazmq.dynamo.messages import ELSEWHERE, Failure, Get, GetReply, Scan, ScanReply
from dynazmq.dynamo.values.ring import place
from dynazmq.errors import DynazmqError, InvalidRequest, ProtocolError, ReadTimeout, Unavailable

BUCKET = "b"


@dataclass
class Stored:
    """One key: who of its primaries took the last write, and who the delete after it; at least W of each."""

    key: bytes
    wrote: frozenset[int]
    deleted: frozenset[int] | None

    def at(self, primary: int) -> bool | None:
        """Live, a tombstone, or not there."""
        if self.deleted is not None and primary in self.deleted:
            return False
        return True if primary in self.wrote else None


@dataclass
class Cluster:
    """Nodes that answer pages of `limit` keys until they fail."""

    view: View
    keys: list[Stored]
    limit: int = 3
    fails_after: dict[Link, int] = field(default_factory=dict)  # pages
    refuses_after: int = 1 << 30  # pages: then all go by the next ring, and say so
    turned: View | None = None  # their next ring, and what a client hears of it
    asked: list[Link] = field(default_factory=list)

    def answer(self, request: Request) -> None:
        if isinstance(request.message, Get):
            (stored,) = [stored for stored in self.keys if stored.key == request.message.key]
            values = [b"v"] if stored.deleted is None else []
            request.reply = GetReply(0, values, [["n1", 1, 0]] * len(values), b"", [])
            return
        assert request.only is not None
        self.asked.append(request.only)
        if self.turned is not None and len(self.asked) > self.refuses_after:
            self.view = self.turned
        if request.message.ring_version < self.view.ring.version:
            request.refusal = Failure(0, ELSEWHERE, 0, 0, 0, "another ring")
            request.error = Unavailable("another ring")
        elif self.asked.count(request.only) > self.fails_after.get(request.only, 1 << 30):
            request.error = ReadTimeout("the node is gone", 1, 0)
        else:
            request.reply = self.page(request.only, request.message)

    def page(self, link: Link, message: Scan) -> ScanReply:
        ring = self.view.ring
        entries = []
        for stored in self.keys:
            at = place(BUCKET, stored.key)
            partition = ring.partition_of(at)
            primaries = [link_of(name) for name in ring.primaries(partition, 3)]
            if partition not in message.partitions or link not in primaries:
                continue
            live = stored.at(primaries.index(link))
            if live is not None and (at, stored.key) > (message.after_place, message.after_key):
                entries.append([at, stored.key, live])
        entries.sort()
        page, more = entries[: self.limit], len(entries) > self.limit
        return ScanReply(0, page, more, *(page[-1][:2] if more else (-1, b"")))


def listed(cluster: Cluster, scanner: Scanner) -> Iterator[str | bytes]:
    """What `keys()` would give."""
    options = Options().with_(bucket=BUCKET)
    while not scanner.done:
        flow = flows.page(cluster.view, options, scanner)
        try:
            while True:
                for request in next(flow):
                    cluster.answer(request)
        except StopIteration as stop:
            yield from stop.value


def scan(cluster: Cluster, away: frozenset[Link] = frozenset(), replicas: int = 0) -> list[str | bytes]:
    return list(listed(cluster, Scanner(BUCKET, 1.0, lambda: cluster.view, lambda link: link not in away, replicas)))


def view(nodes: int = 5, w: int = 2, r: int = 2) -> View:
    return View.of(topology([f"n{i + 1}" for i in range(nodes)], buckets=((BUCKET, 3, r, w),)))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    w = draw(st.integers(1, 3))
    some = st.frozensets(st.integers(0, 2), min_size=w, max_size=3)
    count = draw(st.sampled_from([0, 1, 4, 16, 40]))
    keys = [Stored(b"k%d" % i, draw(some), draw(st.none() | some)) for i in range(count)]
    return Cluster(view(draw(st.integers(3, 6)), w, r=1), keys, draw(st.sampled_from([1, 2, 5])))


def live(cluster: Cluster) -> list[bytes]:
    return sorted((s.key for s in cluster.keys if s.deleted is None), key=lambda key: (place(BUCKET, key), key))


def raw(keys: list[str | bytes]) -> list[bytes]:
    return [key.encode() if isinstance(key, str) else key for key in keys]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(clusters())
def test_every_live_key_shows_once_in_the_order_of_places_and_no_deleted_one(cluster: Cluster) -> None:
    assert raw(scan(cluster)) == live(cluster)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(clusters(), st.dictionaries(st.integers(1, 6), st.integers(0, 4), max_size=3), st.sets(st.integers(1, 6), max_size=2))
def test_nodes_that_fail_half_way_cost_no_key_or_it_is_said(
    cluster: Cluster, fails: dict[int, int], thought_away: set[int]
) -> None:
    cluster.fails_after = {link_of(f"n{node}"): pages for node, pages in fails.items()}
    needed = 3 - cluster.view.policy(BUCKET).w + 1
    alive = [
        sum(link_of(name) not in cluster.fails_after for name in cluster.view.ring.primaries(partition, 3))
        for partition in range(cluster.view.ring.partitions)
    ]
    try:
        keys = raw(scan(cluster, frozenset(link_of(f"n{node}") for node in thought_away)))
    except Unavailable as error:
        said = (error.required, error.alive)
    else:
        assert keys == live(cluster)
        return

    assert min(alive) < needed
    assert said in {(needed, count) for count in range(needed)}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(clusters(), st.integers(0, 30), st.integers(3, 6))
def test_a_walk_that_is_refused_by_another_ring_goes_on_by_that_where_it_was(cluster: Cluster, pages: int, nodes: int) -> None:
    """Each copy of before is one of afterwards, at whoever has this place in the preference list then."""
    turned = view(nodes, cluster.view.policy(BUCKET).w, r=1)
    cluster.turned = replace(turned, ring=replace(turned.ring, version=turned.ring.version + 3))
    cluster.refuses_after = pages
    assert raw(scan(cluster)) == live(cluster)


def test_a_node_that_goes_by_an_older_ring_is_given_up_and_others_are_asked() -> None:
    keys = [Stored(b"k%d" % i, frozenset({0, 1, 2}), None) for i in range(20)]
    cluster = Cluster(view(), keys)
    frozen, page = link_of("n3"), cluster.answer

    def answer(request: Request) -> None:
        page(request)
        if request.only == frozen:
            request.reply = None
            request.refusal = Failure(0, ELSEWHERE, 0, 0, 0, "another ring")
            request.error = Unavailable("another ring")

    cluster.answer = answer  # type: ignore[method-assign]
    assert raw(scan(cluster)) == live(cluster)
    assert cluster.asked.count(frozen) == 1


def test_all_are_asked_for_one_page_at_the_same_time() -> None:
    scanner = Scanner(BUCKET, 1.0, view, lambda _link: True)
    requests = scanner.wanted()

    assert len({request.only for request in requests}) == len(requests) == 5
    assert {request.message.limit for request in requests} == {PAGE_KEYS}


def test_so_many_primaries_are_asked_that_no_acknowledged_write_is_with_none_of_them() -> None:
    for r, w, replicas in ((1, 1, 3), (2, 2, 2), (1, 3, 1)):
        assert asked_of_each(view(r=r, w=w)) == replicas


def asked_of_each(known: View) -> float:
    """How many primaries of a partition a walk begins with."""
    requests = Scanner(BUCKET, 1.0, lambda: known, lambda _link: True).wanted()
    return sum(len(request.message.partitions) for request in requests) / known.ring.partitions


@pytest.mark.parametrize(
    ("r", "w", "replicas"), [(1, 1, 3), (1, 2, 2), (1, 3, 1), (2, 1, 3), (2, 2, 2), (2, 3, 2), (3, 1, 3), (3, 2, 3), (3, 3, 3)]
)
def test_so_many_primaries_are_asked_that_w_of_three_have_one_among_them_and_no_fewer_than_a_get_asks(
    r: int, w: int, replicas: int
) -> None:
    assert asked_of_each(view(w=w, r=r)) == replicas


@pytest.mark.parametrize(
    ("held", "in_force", "wanted", "replicas"),
    [
        ((2, 2), (2, 3), (2, 3), 2),  # some acknowledge by 2 still
        ((2, 3), (2, 3), (2, 3), 2),  # by 2 it was acknowledged before
        ((2, 2), (2, 3), (1, 3), 2),  # reads by 1 have to wait as well
        ((1, 3), (1, 3), (1, 3), 1),  # now they may
        ((1, 1), (1, 3), (1, 3), 3),
        ((1, 3), (2, 3), (2, 2), 2),  # some acknowledge by 2 already
    ],
)
def test_while_a_bucket_gets_another_w_the_primaries_asked_are_enough_for_both(
    held: tuple[int, int], in_force: tuple[int, int], wanted: tuple[int, int], replicas: int
) -> None:
    buckets = ((BUCKET, 3, *in_force, SIBLINGS, 3, *wanted),)
    told = topology([f"n{i + 1}" for i in range(5)], buckets=buckets, held=((BUCKET, 3, *held),))
    assert asked_of_each(View.of(told)) == replicas


def test_a_primary_that_is_thought_to_be_away_is_asked_only_if_it_must_be() -> None:
    away = link_of("n2")
    requests = Scanner(BUCKET, 1.0, view, lambda link: link != away).wanted()
    assert away not in {request.only for request in requests}
    requests = Scanner(BUCKET, 1.0, partial(view, 3, 1), lambda link: link != away).wanted()
    assert away in {request.only for request in requests}


def test_a_doubtful_page_is_decided_by_gets_that_go_together() -> None:
    keys = [Stored(b"k%d" % i, frozenset({0, 1, 2}), frozenset({1, 2})) for i in range(5)]
    cluster = Cluster(view(), keys, limit=100)
    scanner = Scanner(BUCKET, 1.0, lambda: cluster.view, lambda _link: True)
    flow = flows.page(cluster.view, Options().with_(bucket=BUCKET), scanner)
    for request in next(flow):
        cluster.answer(request)

    assert {request.key for request in next(flow)} == {stored.key for stored in keys}


def test_keys_are_text_where_they_are_utf_8() -> None:
    everywhere = frozenset({0, 1, 2})
    keys = [Stored(name, everywhere, None) for name in (b"plain", "grün".encode(), b"\xff\x00")]
    assert set(scan(Cluster(view(), keys))) == {"plain", "grün", b"\xff\x00"}


def test_too_few_primaries_to_begin_with_are_an_error_with_numbers() -> None:
    cluster = Cluster(view(nodes=3, w=2), [], fails_after={link_of("n1"): 0, link_of("n2"): 0})
    with pytest.raises(Unavailable) as caught:
        scan(cluster)
    assert (caught.value.required, caught.value.alive) == (2, 1)


def test_a_node_that_does_not_come_on_is_given_up() -> None:
    keys = [Stored(b"k%d" % i, frozenset({0, 1, 2}), None) for i in range(20)]
    cluster = Cluster(view(), keys)
    stuck = link_of("n3")
    page = cluster.page

    def answer(link: Link, message: Scan) -> ScanReply:
        return ScanReply(0, [], True, message.after_place, message.after_key) if link == stuck else page(link, message)

    cluster.page = answer  # type: ignore[method-assign]
    assert raw(scan(cluster)) == live(cluster)
    assert cluster.asked.count(stuck) == 1


def test_a_node_that_is_stuck_where_no_other_has_the_keys_is_an_error() -> None:
    cluster = Cluster(view(nodes=1, w=1), [])
    cluster.page = lambda _link, m: ScanReply(0, [], True, m.after_place, m.after_key)  # type: ignore[method-assign]
    with pytest.raises((Unavailable, ProtocolError)):
        scan(cluster)


@pytest.mark.parametrize("replicas", [-1, 4, True, "2", 1.0])
def test_a_number_of_replicas_that_there_is_not_is_refused(replicas: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"is not in 0\.\.3"):
        scan(Cluster(view(), []), replicas=replicas)


def test_a_get_that_fails_ends_the_walk_with_its_error() -> None:
    cluster = Cluster(view(), [Stored(b"k", frozenset({0, 1, 2}), frozenset({0, 2}))])
    scanner = Scanner(BUCKET, 1.0, lambda: cluster.view, lambda _link: True)
    flow = flows.page(cluster.view, Options().with_(bucket=BUCKET), scanner)
    for request in next(flow):
        cluster.answer(request)
    (reading,) = next(flow)
    reading.error = Unavailable("no", 2, 1)
    with pytest.raises(DynazmqError):
        next(flow)
