"""§4.4 Versions: dotted version vectors, the causal state of one key, and the context that a client carries.

The paper tags each version with a vector clock of its coordinators. A plain vector can say "everything that n1 wrote up to 5"
but not "n1's 5th write and not its 4th", so two clients that write through one coordinator either overwrite each other or make
siblings that were never concurrent. Dots mend it (Preguiça, Baquero, Almeida, Fonte, Gonçalves 2010, 2012): each write is one
event, named by a *dot* (actor, counter), and a version knows its own dot beside the history that it replaces.

    Siblings    what a replica stores for a key: the live versions, each with its dot, and the context
    Context     a set of dots: a vector (actor → all up to this counter) and a cloud (single dots beyond the vector);
                and the ids of writes that were retried

Laws, kept by every function here and tested as such:
  1. The dot of each live sibling is in the context. A dot in the context without its sibling has been overwritten.
  2. A dot names one write for ever: counters of an actor rise by one for each write of the key, and an actor is a node *and the
     life of its data directory*, so that a lost disk cannot give a number twice (riak_kv #679).
  3. `sync` is commutative, associative and idempotent: replicas that saw the same writes in any order are equal, to the byte.
     (But for a write with two dots that has been overwritten under one of them: see below.)
  4. A put removes exactly what its context covers (promise 3), a put without one removes nothing.

**A retried write may have two dots.** Its first try was stored by a coordinator that its second could not ask. Both siblings
carry the same write id, and where they meet one stays, that with the smaller dot. But a dot says nothing of the other: who has
read and overwritten the write under the one covers the other nowhere, and when the node that holds that one is back, the write
would be back (promise 4). So a retry puts its write id into the context, where it is stored, sent, merged and shown to clients
like the dots beside it. It says of a write that no single dot tells what became of it:

    live and in `retried`        there may be more copies of it under other dots
    not live and in `retried`    overwritten, under whatever dot: a sibling with this write id goes wherever the two meet

Where two tries of such a write meet while it is live, the state keeps the dot that went as well (`tries`). A client may have been
shown the write under that dot before anybody knew of another; so who has seen any of its dots has seen the write, and a state in
which any of them is overwritten has overwritten it.

Writes that are never retried pay nothing. What a retry costs, 18 bytes in a state and its other dot while it is live, goes when
no copy of another try can be left anywhere (tombstone_gc.py). When a retry is suspected, and what is left, is said in
suspected_retries.py. Replicas that meet are equal all the same. What nobody has overwritten always stays.

Everything here is a value: nothing is changed in place.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack

from dynazmq.config import CONTEXT_BYTES_MAX, MESSAGES_PER_FRAME_MAX
from dynazmq.dynamo.messages.fields import ACTOR_BYTES_MAX, COUNTER_MAX, WRITE_ID_BYTES

Dot = tuple[str, int]
Try = tuple[bytes, str, int]  # write id and dot


class MalformedVersion(ValueError):
    """Bytes that are no causal state, or one that breaks a law."""


class BadContext(ValueError):
    """A context token that is garbled, cut, forged, or another key's."""


def actor_id(name: str, epoch: str) -> str:
    """Who issues dots: a node in one life of its data directory. `~` is in no node's name."""
    return f"{name}~{epoch}"


def node_of(actor: str) -> str:
    """The node's name, for people."""
    return actor.partition("~")[0]


class Sibling(NamedTuple):
    """One live version. value None is a tombstone.

    wall_ms: when it was written, for people. No decision rests on it, but in an lww bucket it is the write's stamp (lww.py).
    """

    actor: str
    counter: int
    value: bytes | None
    write_id: bytes
    wall_ms: int

    @property
    def dot(self) -> Dot:
        return self.actor, self.counter


NONE: frozenset[bytes] = frozenset()
NO_TRIES: frozenset[Try] = frozenset()


class Context:
    """A set of dots. `vector`: actor → every counter up to this one. `cloud`: dots beyond the vector, one by one.

    `retried`: ids of writes among these that may have another dot as well.
    """

    __slots__ = ("cloud", "retried", "vector")

    def __init__(
        self, vector: dict[str, int] | None = None, cloud: frozenset[Dot] = frozenset(), retried: frozenset[bytes] = NONE
    ) -> None:
        self.vector: dict[str, int] = vector if vector is not None else {}
        self.cloud = cloud
        self.retried = retried

    def covers(self, actor: str, counter: int) -> bool:
        return counter <= self.vector.get(actor, 0) or (actor, counter) in self.cloud

    def last(self, actor: str) -> int:
        """The highest counter of an actor that is known here; 0 when none is."""
        highest = self.vector.get(actor, 0)
        return max(highest, max((counter for who, counter in self.cloud if who == actor), default=0)) if self.cloud else highest

    def join(self, other: Context) -> Context:
        """The union of both sets."""
        if not other.cloud and not self.cloud and other.vector == self.vector and other.retried == self.retried:
            return self
        vector = dict(self.vector)
        for actor, counter in other.vector.items():
            if counter > vector.get(actor, 0):
                vector[actor] = counter
        return Context(*_compact(vector, self.cloud | other.cloud), self.retried | other.retried)

    def add(self, actor: str, counter: int) -> Context:
        """This set and one dot more."""
        if not self.cloud and counter == self.vector.get(actor, 0) + 1:  # the usual case
            return Context({**self.vector, actor: counter}, retried=self.retried)
        return Context(*_compact(dict(self.vector), self.cloud | {(actor, counter)}), self.retried)

    def with_retried(self, write_ids: Iterable[bytes]) -> Context:
        """The same dots, of which these writes may have others as well."""
        retried = self.retried.union(write_ids)
        return self if retried == self.retried else Context(self.vector, self.cloud, retried)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self.vector == other.vector and self.cloud == other.cloud and self.retried == other.retried

    def __bool__(self) -> bool:
        return bool(self.vector or self.cloud or self.retried)

    def __repr__(self) -> str:
        beyond = "".join(f" +{actor}:{counter}" for actor, counter in sorted(self.cloud))
        again = "".join(f" again {write_id.hex()[:8]}" for write_id in sorted(self.retried))
        return "{" + ", ".join(f"{actor}:{counter}" for actor, counter in sorted(self.vector.items())) + beyond + again + "}"


def _compact(vector: dict[str, int], cloud: frozenset[Dot]) -> tuple[dict[str, int], frozenset[Dot]]:
    """Move what continues the vector from the cloud into it: one set of dots has one form (law 3 needs it)."""
    if not cloud:
        return vector, cloud
    beyond = []
    for actor, counter in sorted(cloud):
        have = vector.get(actor, 0)
        if counter == have + 1:
            vector[actor] = counter
        elif counter > have:
            beyond.append((actor, counter))
    return vector, frozenset(beyond)


class Siblings(NamedTuple):
    """The causal state of one key. `live` is in the order of dots. `tries`: of live writes that were retried, the other dots."""

    live: tuple[Sibling, ...]
    context: Context
    tries: frozenset[Try] = NO_TRIES

    @property
    def values(self) -> list[bytes]:
        """What a reader sees: tombstones left out."""
        return [sibling.value for sibling in self.live if sibling.value is not None]

    @property
    def overwritten(self) -> frozenset[bytes]:
        """Of the writes that were retried, those of which no try is live any more, nor may be again."""
        retried = self.context.retried
        return retried.difference([sibling.write_id for sibling in self.live]) if retried else NONE

    def with_retried(self, *write_ids: bytes) -> Siblings:
        """The same state, which knows of these writes that they may have other dots as well."""
        return Siblings(self.live, self.context.with_retried(write_ids), self.tries)

    def with_tries(self, more: Sequence[Try]) -> Siblings:
        """The same state, which knows of live writes that they had these dots as well."""
        context = self.context.with_retried(write_id for write_id, _, _ in more)
        for _, actor, counter in more:
            if not context.covers(actor, counter):
                context = context.add(actor, counter)
        return Siblings(self.live, context, _tries_of(self.live, self.tries.union(more)))

    def with_live(self, live: tuple[Sibling, ...]) -> Siblings:
        """The same state with these of its siblings alone."""
        return Siblings(live, self.context, _tries_of(live, self.tries))

    def knows(self, write_id: bytes) -> bool:
        """Whether it is certain from this state alone that the write is done: it is live, or known to be overwritten."""
        for sibling in self.live:  # not any(...): each put asks this, and making a generator takes longer than the loop
            if sibling.write_id == write_id:
                return True
        return write_id in self.context.retried


EMPTY = Siblings((), Context())


def sync(a: Siblings, b: Siblings) -> Siblings:
    """What a replica that saw both holds. A sibling goes when the other side has seen its dot and no longer has it."""
    if a is b or not b.context:
        return a
    if not a.context or _supersedes(b, a):
        return b
    in_a = {sibling.dot for sibling in a.live}
    in_b = {sibling.dot for sibling in b.live}
    kept = [s for s in a.live if s.dot in in_b or not b.context.covers(s.actor, s.counter)]
    kept += [s for s in b.live if s.dot not in in_a and not a.context.covers(s.actor, s.counter)]
    context = a.context.join(b.context)
    if not context.retried:  # the usual case
        return Siblings(_one_per_write(kept), context)
    marked = [(s.write_id, s.actor, s.counter) for s in (*a.live, *b.live) if s.write_id in context.retried]
    tries = a.tries.union(b.tries, marked)
    gone = _overwritten(a, tries) | _overwritten(b, tries)
    live = _one_per_write(sibling for sibling in kept if sibling.write_id not in gone)
    return Siblings(live, context, _tries_of(live, tries))


def _overwritten(state: Siblings, tries: Iterable[Try]) -> frozenset[bytes]:
    """The writes that are overwritten in this state: those that it knows to be, and those of which it knows a try to be."""
    there = {sibling.write_id for sibling in state.live}
    covers = state.context.covers
    return state.overwritten.union({each for each, actor, counter in tries if each not in there and covers(actor, counter)})


def _tries_of(live: tuple[Sibling, ...], tries: frozenset[Try]) -> frozenset[Try]:
    """Those of live writes, but for the dots under which they are live: of what is overwritten its id says enough."""
    if not tries:
        return tries
    dots = {sibling.write_id: sibling.dot for sibling in live}
    return frozenset([each for each in tries if each[0] in dots and each[1:] != dots[each[0]]])


def _supersedes(b: Siblings, a: Siblings) -> bool:
    """Whether b has seen all that a has and has lost nothing that a lost: then b is what becomes of both. The usual case."""
    mine, theirs = b.context, a.context
    if mine.cloud or theirs.cloud or mine.retried or theirs.retried:
        return False
    vector = mine.vector
    for actor, counter in theirs.vector.items():
        if counter > vector.get(actor, 0):
            return False
    seen = theirs.vector
    lost = [new[:2] for new in b.live if new.counter <= seen.get(new.actor, 0)]  # unless a has it still
    return not lost or {old[:2] for old in a.live}.issuperset(lost)


def _one_per_write(siblings: Iterable[Sibling]) -> tuple[Sibling, ...]:
    """In the order of dots; of several tries of one put the first dot stays, in whatever order they met."""
    seen: set[bytes] = set()
    kept: list[Sibling] = []
    for sibling in sorted(siblings, key=_by_dot):
        if sibling.write_id:
            if sibling.write_id in seen:
                continue
            seen.add(sibling.write_id)
        kept.append(sibling)
    return tuple(kept)


def _by_dot(sibling: Sibling) -> Dot:
    return sibling[:2]


def put(
    state: Siblings, seen: Context, actor: str, value: bytes | None, write_id: bytes, wall_ms: int, floor: int = 0
) -> tuple[Siblings, Sibling, tuple[Sibling, ...]]:
    """One write at its coordinator (the paper's §4.4 "update"): the new state, the new sibling, and those that it overwrote.

    What the caller has seen of a write that was retried, it has seen under whatever dot it is here.

    The counter is above all that the state *or the caller* has seen: a store that was set back must not give a dot twice. And it
    is above `floor`, up to which dots of this actor may have been forgotten with their keys (tombstone_gc.py). What an actor does
    not know of its own dots of a key was overwritten and is forgotten: so the vector may cover it.
    """
    context = state.context.join(seen)
    counter = max(context.last(actor), floor) + 1
    vector = {**context.vector, actor: counter}
    new = Sibling(actor, counter, value, write_id, wall_ms)
    kept = [s for s in state.live if not seen.covers(s.actor, s.counter) and s.write_id not in seen.retried]
    if state.tries:
        met = {write_id for write_id, actor, counter in state.tries if seen.covers(actor, counter)}
        kept = [sibling for sibling in kept if sibling.write_id not in met]
    gone = tuple(s for s in state.live if s not in kept) if len(kept) < len(state.live) else ()
    after = Context(*_compact(vector, context.cloud), context.retried)
    live = tuple(sorted([*kept, new], key=_by_dot))
    return Siblings(live, after, _tries_of(live, state.tries)), new, gone


# --- bytes ----------------------------------------------------------------------------------------------------------------
# One form for one state, so that equal states are equal bytes: replicas, Merkle leaves and the fast paths compare bytes.

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
# The length of arrays is bounded far above what put.py lets grow: a key that can be written but not read again would be lost.
_LIMITS: dict[str, Any] = {"max_array_len": 1 << 16, "max_map_len": 0, "max_ext_len": 0, "strict_map_key": True}


def encode(state: Siblings) -> bytes:
    """The bytes that are stored and sent; b"" for a key that was never written."""
    context, raw = state.context, b""
    if context.retried:
        vector, cloud, retried = _context_rows(context)
        raw = _pack((vector, cloud, state.live, retried, *([sorted(state.tries)] if state.tries else [])))
    elif context.vector or context.cloud:
        raw = _pack((*_context_rows(context), state.live))
    return raw


def _context_rows(context: Context) -> tuple[Any, ...]:
    """Vector, cloud and, where there are any, the ids of retried writes: nobody else pays for them."""
    vector = sorted(context.vector.items()) if len(context.vector) > 1 else list(context.vector.items())
    cloud = sorted(context.cloud) if context.cloud else []
    return (vector, cloud, sorted(context.retried)) if context.retried else (vector, cloud)


def decode(raw: bytes) -> Siblings:
    """The state in these bytes. Raises MalformedVersion for anything that `encode` would not have written."""
    if not raw:
        return EMPTY
    try:
        vector_rows, cloud_rows, live_rows, *more = msgpack.unpackb(raw, **_LIMITS)
        context = _context_of(vector_rows, cloud_rows, *more[:1]) if more else _context_of(vector_rows, cloud_rows)
        few = not more and len(vector_rows) + len(cloud_rows) <= _SURELY_FIT
        if live_rows.__class__ is not list or len(live_rows) > MESSAGES_PER_FRAME_MAX or not (few or context_fits(context)):
            raise MalformedVersion("more than a client could ever be told")
        if not (vector_rows or cloud_rows or more) or (len(live_rows) > 1 and not _ascending(live_rows)):
            raise MalformedVersion("not in the one form that a state has")
        vector = context.vector
        for actor, counter, value, write_id, wall_ms in live_rows:
            if (
                actor.__class__ is not str
                or counter.__class__ is not int
                or counter < 1
                or (value.__class__ is not bytes and value is not None)
                or write_id.__class__ is not bytes
                or len(write_id) > WRITE_ID_BYTES
                or wall_ms.__class__ is not int
                or not 0 <= wall_ms < COUNTER_MAX
                # As `covers` has it; for most siblings the vector says it.
                or (counter > vector.get(actor, 0) and (actor, counter) not in context.cloud)
            ):
                raise MalformedVersion("a sibling of the wrong form or outside its context")
        state = _siblings((tuple(map(_sibling, live_rows)), context, NO_TRIES))
        return _with_tries(state, *more[1:]) if len(more) > 1 else state
    except MalformedVersion:
        raise
    except Exception as error:  # msgpack raises seven kinds, rows of the wrong width two more
        raise MalformedVersion(f"not a causal state: {type(error).__name__}") from None


_sibling = partial(tuple.__new__, Sibling)  # Sibling._make counts once more, in Python
_siblings = partial(tuple.__new__, Siblings)


def decode_stored(raw: bytes) -> Siblings:
    """The same of a row of this node's own: it was checked when it came, and its storage keeps a checksum."""
    if not raw:
        return EMPTY
    vector, cloud, live, *more = msgpack.unpackb(raw, use_list=False)
    siblings = tuple(map(_sibling, live))
    if not more:
        return _siblings((siblings, Context(dict(vector), frozenset(cloud)), NO_TRIES))
    retried, *rows = more
    return Siblings(siblings, Context(dict(vector), frozenset(cloud), frozenset(retried)), frozenset(*rows))


def _with_tries(state: Siblings, rows: Any) -> Siblings:
    """The state with the tries in these rows. Raises MalformedVersion; what iterating and comparing raise is the caller's."""
    given = [(write_id, actor, counter) for write_id, actor, counter in rows]
    for write_id, actor, counter in given:
        if counter.__class__ is not int or counter < 1 or not state.context.covers(actor, counter):
            raise MalformedVersion("a try whose dot is outside the context")
        if write_id not in state.context.retried:
            raise MalformedVersion("a try of a write that was not retried")
    known = frozenset(given)
    if not given or sorted(known) != given or _tries_of(state.live, known) != known:
        raise MalformedVersion("tries out of order, or of a write that is not live, or is live under that dot")
    return Siblings(state.live, state.context, known)


def _ascending(rows: list[Any]) -> bool:
    """Whether the dots that rows begin with rise: the order that `encode` writes, and no dot twice."""
    return all(left[:2] < right[:2] for left, right in pairwise(rows))


def _is_long(actor: str) -> bool:
    if len(actor) > ACTOR_BYTES_MAX or (not actor.isascii() and len(actor.encode()) > ACTOR_BYTES_MAX):
        return True
    if len(_seen) >= _SEEN_MAX:
        _seen.clear()
    _seen.add(actor)
    return False


_SEEN_MAX = 1_024
_seen: set[str] = set()
"""Actors that are not too long: there are few, and each state has some."""


def context_fits(context: Context) -> bool:
    """Whether a client can be given it: what cannot be is never stored, or the key could not be read any more."""
    if len(context.vector) + len(context.cloud) + len(context.retried) <= _SURELY_FIT:
        return True
    return len(_pack(_context_rows(context))) + len(_TOKEN_VERSION) + _HASH_BYTES <= CONTEXT_BYTES_MAX


_SURELY_FIT = CONTEXT_BYTES_MAX // (ACTOR_BYTES_MAX + 16)


def _context_of(vector_rows: Any, cloud_rows: Any, *retried_rows: Any) -> Context:
    if vector_rows.__class__ is not list or cloud_rows.__class__ is not list:
        raise MalformedVersion("a context is two arrays")
    vector: dict[str, int] = {}
    before = ""
    for actor, counter in vector_rows:
        if (
            actor.__class__ is not str
            or not before < actor
            or counter.__class__ is not int
            or not 0 < counter < COUNTER_MAX
            or (actor not in _seen and _is_long(actor))
        ):
            raise MalformedVersion("a vector entry of the wrong form, or out of order")
        vector[actor] = counter
        before = actor
    retried = _retried_of(*retried_rows) if retried_rows else NONE
    if not cloud_rows:
        return Context(vector, retried=retried)
    for actor, counter in cloud_rows:
        if actor.__class__ is not str or counter.__class__ is not int or not 0 < counter < COUNTER_MAX or _is_long(actor):
            raise MalformedVersion("a dot of the wrong form")
    cloud = frozenset([(actor, counter) for actor, counter in cloud_rows])
    if not _ascending(cloud_rows) or _compact(dict(vector), cloud)[1] != cloud:
        raise MalformedVersion("dots out of order, or that the vector covers or continues to")
    return Context(vector, cloud, retried)


def _retried_of(rows: Any) -> frozenset[bytes]:
    if rows.__class__ is not list or not rows:
        raise MalformedVersion("where ids of retried writes are, there are some")
    if any(row.__class__ is not bytes or not 0 < len(row) <= WRITE_ID_BYTES for row in rows):
        raise MalformedVersion("an id of a retried write is bytes, and no more than an id has")
    if not all(left < right for left, right in pairwise(rows)):
        raise MalformedVersion("ids of retried writes out of order")
    return frozenset(rows)


# --- the client's token ---------------------------------------------------------------------------------------------------
# A context from the future would hide later writes, one of another key would hide unrelated ones (W12): so the token
# carries a keyed hash over bucket, key and content, under the cluster's secret, and is opaque to everybody else.

_TOKEN_VERSION = b"\x01"
_HASH_BYTES = 16


def seal_context(context: Context, bucket: str, key: bytes, secret: bytes) -> bytes:
    """The token for a client: version, content, keyed hash. b"" for the empty context."""
    if not context:
        return b""
    content: bytes = _TOKEN_VERSION + _pack(_context_rows(context))
    return content + _token_hash(content, bucket, key, secret)


def open_context(token: bytes, bucket: str, key: bytes, secret: bytes) -> Context:
    """The context in a token that this cluster gave out for this key. Raises BadContext for any other bytes."""
    if not token:
        return EMPTY.context
    content, given = token[:-_HASH_BYTES], token[-_HASH_BYTES:]
    if content[:1] != _TOKEN_VERSION or not hmac.compare_digest(given, _token_hash(content, bucket, key, secret)):
        raise BadContext("not a context of this cluster and key")
    return _context_of(*msgpack.unpackb(content[1:], **_LIMITS))


def _token_hash(content: bytes, bucket: str, key: bytes, secret: bytes) -> bytes:
    name = bucket.encode()
    hasher = _hasher(secret).copy()
    hasher.update(b"%d:%d:%b%b%b" % (len(name), len(key), name, key, content))
    return hasher.digest()


@lru_cache(maxsize=4)
def _hasher(secret: bytes) -> blake2b:
    """A copy of one that knows the key is made faster than one that is told it."""
    return blake2b(digest_size=_HASH_BYTES, key=secret, person=b"dynazmq-context")
