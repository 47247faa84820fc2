"""From what the nodes tell of a key to an `Explanation` (explained.py). Pure.

Nothing is guessed that the nodes compute themselves: places, preference lists and stand-ins are `dynamo/values/ring.py`'s and
`dynamo/replica/preference_list.py`'s, merges are `dynamo/values/versions.py`'s. What a get would return is worked out for each
node that could serve it, as that node sees its peers. What a node holds that does not answer is not known, and is said to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b

from dynazmq.client.inspect.explained import Answer, Copy, Explanation, Hint, Quorum, State, Version
from dynazmq.client.inspect.healing import Healing
from dynazmq.client.inspect.looked import Node, Told, merged, node_of, raw_of
from dynazmq.client.values.view import View
from dynazmq.config import LWW
from dynazmq.dynamo.replica.preference_list import Copies, copies_of
from dynazmq.dynamo.values.ring import Quorums, Ring, place
from dynazmq.dynamo.values.versions import Siblings, decode


def explain(view: View, bucket: str, key: bytes, told: Mapping[str, Told]) -> Explanation:
    """view: the client's own, for when nobody answers. told: by node, all members among them."""
    view = _newest(view, told)
    nodes = {name: node_of(name, each) for name, each in told.items()}
    ring, policy, at = view.ring, view.policy(bucket), place(bucket, key)
    partition = ring.partition_of(at)
    level = ring.level(bucket, Quorums(*view.default[:3]))
    walk, extras = ring.walk(partition), ring.extras(partition, level)
    holders = ring.holders(partition, level)
    up = [node for node in nodes.values() if node.answers and node.sees]
    by_node = {node.name: copies_of(ring, partition, policy.n, node.name, node.reaches) for node in up}
    guide = next((node for name in walk if (node := nodes.get(name)) in up), None)  # who would mostly be asked
    stands_in = dict(by_node[guide.name].targets) if guide else {}
    names = [*walk, *(name for name in (*extras, *nodes) if name not in walk)]
    copies = [
        _copy(nodes.get(name) or node_of(name, Told(error="not asked")), rank, nodes, ring, policy.n, holders, extras, stands_in)
        for rank, name in enumerate(dict.fromkeys(names), 1)
    ]
    answers = _answers(by_node, nodes, policy.r, lww=policy.conflict == LWW)
    reached = [node for node in up if node.name in walk and guide.reaches(node.name)] if guide else []
    reachable = min(policy.n, len(reached))
    storing = min(policy.n, sum(not node.cannot_store for node in reached))
    return Explanation(
        bucket=bucket, key=key, place=at, partition=partition, owners=ring.owners, ring_version=ring.version,
        phase="rest" if ring.at_rest else "filling" if ring.filling else "flipped",
        n=policy.n, r=policy.r, w=policy.w, conflict=policy.conflict, copies=tuple(copies),
        reads=Quorum(policy.r, reachable), writes=Quorum(policy.w, storing),
        answers=tuple(answer for answer, _ in answers),
        repair=tuple(Healing(ring, partition, policy.n, nodes).steps(answers)),
    )  # fmt: skip


def _newest(view: View, told: Mapping[str, Told]) -> View:
    for each in told.values():
        if each.topology is not None:
            try:
                other = View.of(each.topology)
            except (ValueError, TypeError):
                continue
            if other.cluster_id == view.cluster_id and other.ring.version >= view.ring.version:
                view = other
    return view


# --- who holds what -------------------------------------------------------------------------------------------------------


def _copy(
    node: Node,
    rank: int,
    nodes: Mapping[str, Node],
    ring: Ring,
    n: int,
    holders: tuple[str, ...],
    extras: tuple[str, ...],
    stands_in: Mapping[str, str],
) -> Copy:
    seen_by = {peer: other.sees[node.name] for peer, other in nodes.items() if peer != node.name and node.name in other.sees}
    held = None if node.own is None or not node.raw else state_of(node.own, node.raw)
    in_walk = node.name in ring.owners
    role = "primary" if in_walk and rank <= n else "fallback" if in_walk else "none"
    if node.name in extras:
        role = "new owner" if ring.filling else "old owner"
    return Copy(
        node=node.name, rank=rank if in_walk else 0, role=role, state=_word(node, seen_by), seen_by=seen_by, answers=node.answers,
        error=node.error, cannot_store=node.cannot_store, stands_in_for=stands_in.get(node.name, ""),
        held=held, damaged=node.damaged,
        hints=tuple(
            Hint(target, state_of(decode(raw), raw) if raw else None, None if age < 0 else age / 1000)
            for target, raw, age in node.hints
        ),
        stray=(held is not None or node.damaged) and node.name not in holders,
    )  # fmt: skip


def _word(node: Node, seen_by: Mapping[str, str]) -> str:
    """A node that answers is up, whatever is said of it; of another one, what most of its peers say."""
    if node.answers:
        return "up"
    words = Counter(seen_by.values()).most_common(1)
    return "unknown" if not words else "silent" if words[0][0] == "up" else words[0][0]


def state_of(siblings: Siblings, raw: bytes) -> State:
    live = tuple(Version(s.actor, s.counter, s.value, s.wall_ms / 1000) for s in siblings.live)
    context = siblings.context
    digest = blake2b(raw, digest_size=8).hexdigest()
    return State(live, dict(sorted(context.vector.items())), tuple(sorted(context.cloud)), len(raw), digest)


# --- what a get would return ----------------------------------------------------------------------------------------------


def _answers(by_node: Mapping[str, Copies], nodes: Mapping[str, Node], r: int, *, lww: bool) -> list[tuple[Answer, list[str]]]:
    """By coordinator, and whom that get would send what it lacks: the targets that clients ask, else any node that answers."""
    targets = [name for name, copies in by_node.items() if (name, "") in copies.targets]
    found = []
    for via in targets or by_node:
        copies = by_node[via]
        if len(copies.targets) < r:
            continue
        candidates = [name for name, _ in reversed(copies.readers)]
        able = [name for name in candidates if (node := nodes.get(name)) and node.answers and not node.error]
        asks = _asked(able, r, copies.primaries, nodes, lww=lww)
        if not asks:
            continue
        state = merged((nodes[name].all for name in asks), lww=lww)
        raw = raw_of(state)
        passed = tuple(name for name in candidates[: candidates.index(asks[-1])] if name not in able)
        serve = dict(copies.targets)
        behind = [name for name in asks if name in serve and raw_of(nodes[name].all) != raw]
        found.append((Answer(via, tuple(asks), passed, state_of(state, raw)), behind))
    return found


def _asked(able: list[str], r: int, primaries: tuple[str, ...], nodes: Mapping[str, Node], *, lww: bool) -> list[str]:
    """On whom a get rests; [] if it must fail. That a key is absent rests on R primaries (dynamo/coordinator/get.py)."""
    for count in range(r, len(able) + 1):
        asks = able[:count]
        if merged((nodes[name].all for name in asks), lww=lww).values or sum(name in primaries for name in asks) >= r:
            return asks
    return []
