"""What a change of the members would come to, before anybody decides it: who owns what then, and what has to be copied for it.

Pure: the same computation that the nodes do (dynamo/membership/change.py), from what they have told of their ring. Keys and
bytes are estimates from the nodes' counts: places are hashes, so partitions hold about equally much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dynazmq.cluster.directory.staging import Staged
from dynazmq.dynamo.membership.change import BY_FORCE, EXPEL, GONE, IN, LEFT, Intent, concerned, goal, refusal
from dynazmq.dynamo.membership.expulsion import objection
from dynazmq.dynamo.values.claim import moves, violations
from dynazmq.dynamo.values.ring import Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the nodes say: the newest ring, what was decided of members so far, and how many replicas are asked for."""

    ring: Ring
    intents: Mapping[str, Intent]
    n: int
    quorum: int = 1
    """The largest R or W of any bucket; `bucket` is whose, "" for the default."""
    bucket: str = ""
    up: frozenset[str] = frozenset()
    """Who answers."""
    keys: Mapping[str, int] = field(default_factory=dict)
    """Rows of those who answer."""
    row_bytes: float | None = None
    """An average row's; None: not known."""
    anti_entropy: bool = True

    def weights(self) -> dict[str, float]:
        """Of the present members: who was never spoken of has 1."""
        return {name: self.intents[name].weight if name in self.intents else 1.0 for name in self.ring.owners}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """before, after: owners by partition. gains: node → partitions of which it gets a copy."""

    ring: Ring
    n: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    gains: Mapping[str, tuple[int, ...]]
    keys: int
    bytes: int | None
    refusal: str
    holds_up: tuple[str, ...]
    """Members that do not answer, and without whom the ring makes no step."""
    gone: tuple[str, ...]
    """Members that are expelled."""
    without_quorum: tuple[str, ...] = ()
    """Those of them that are expelled without anybody's consent."""
    lost: tuple[int, ...] = ()
    """Partitions that nobody else holds: what is in them is lost, but for what others keep of it by chance."""

    @property
    def moves(self) -> tuple[tuple[int, str | None, str], ...]:
        """(partition, old owner, new owner)."""
        return moves(self.before, self.after)

    @property
    def flows(self) -> Counter[tuple[str, str]]:
        """(old owner, new owner) → partitions."""
        return Counter((str(old), new) for _, old, new in self.moves)

    @property
    def copies(self) -> int:
        """Of partitions, that have to be made."""
        return sum(map(len, self.gains.values()))

    @property
    def repeats(self) -> tuple[int, int]:
        """Preference lists that name a node twice among N in a row, before and after."""
        return _repeats(self.before, self.n), _repeats(self.after, self.n)

    @property
    def members(self) -> tuple[list[str], list[str]]:
        """Who owns something, before and after."""
        return sorted({*self.before}, key=_natural), sorted({*self.after}, key=_natural)


def make_plan(known: Known, staged: Staged) -> Plan:
    """What the staged changes come to, together with those that were decided before."""
    ring, told = known.ring, staged.intents(known.weights())
    intents = with_decisions(known.intents, told)
    why = refusal(ring, intents, known.quorum)
    if why and known.bucket:
        why += f" (bucket {known.bucket!r})"
    if not why and any(kind == EXPEL for _, kind, *_ in told) and (why := objection(ring, intents, known.up)):
        why += "; if the others are lost for good: --without-quorum"
    if not known.anti_entropy:
        why = "anti-entropy is off, and without it nobody knows what there is to copy; start with --anti-entropy on"
    # As it will be when the expulsions have taken effect.
    intents = {name: intent._replace(kind=GONE) if intent.kind == EXPEL else intent for name, intent in intents.items()}
    after = ring.owners if why else goal(ring, intents, known.n)
    gains = _gains(ring.owners, after, known.n)
    keys = _keys_per_copy(known) * sum(map(len, gains.values()))
    gone = tuple(sorted((name for name, intent in intents.items() if intent.kind == GONE and name in ring.members), key=_natural))
    awaited = set(concerned(ring, intents)) - known.up - {change.name for change in staged.added}
    return Plan(
        ring=ring,
        n=known.n,
        before=ring.owners,
        after=after,
        gains=gains,
        keys=round(keys),
        bytes=None if known.row_bytes is None else round(keys * known.row_bytes),
        refusal=why,
        holds_up=tuple(sorted(awaited, key=_natural)),
        gone=gone,
        without_quorum=tuple(staged.without_quorum),
        lost=() if why else tuple(p for p in range(ring.partitions) if set(ring.primaries(p, known.n)).issubset(gone)),
    )


def with_decisions(intents: Mapping[str, Intent], told: Sequence[tuple[str, str, float, str]]) -> dict[str, Intent]:
    """The intents after these, too, were decided."""
    after = dict(intents)
    for name, kind, weight, replaces in told:
        version = after[name].version + 1 if name in after else 1
        after[name] = Intent(name, kind, weight, replaces, version, name)
    return after


def undecided(staged: Staged, known: Known) -> Staged:
    """Without what the nodes know already: a command may have died after it was decided."""
    told = {name: (kind, weight, replaces) for name, kind, weight, replaces in staged.intents(known.weights())}
    there = {name for name, (kind, _, replaces) in told.items() if _decided(known.intents.get(name), kind, replaces)}
    left = [change for change in staged.changes if not {change.name, *filter(None, [change.replaces])} <= there]
    return Staged(left, staged.planned)


def _decided(intent: Intent | None, kind: str, replaces: str) -> bool:
    if intent is None or (kind == IN and intent.replaces != replaces):
        return False
    return intent.kind == kind or (intent.kind == LEFT and kind != IN) or (intent.kind == GONE and kind in BY_FORCE)


def _gains(before: Sequence[str], after: Sequence[str], n: int) -> dict[str, tuple[int, ...]]:
    old, new = Ring(1, tuple(before)), Ring(1, tuple(after))
    found: dict[str, list[int]] = {}
    for partition in range(old.partitions):
        had = old.primaries(partition, n)
        for name in new.primaries(partition, n):
            if name not in had:
                found.setdefault(name, []).append(partition)
    return {name: tuple(found[name]) for name in sorted(found, key=_natural)}


def _keys_per_copy(known: Known) -> float:
    """Keys of a partition, from what those hold who answer."""
    held = Counter(name for partition in range(known.ring.partitions) for name in known.ring.primaries(partition, known.n))
    copies = sum(held[name] for name in known.keys)
    return sum(known.keys[name] for name in known.keys if held[name]) / copies if copies else 0.0


def _repeats(owners: Sequence[str], n: int) -> int:
    return violations(owners, min(n, len(set(owners))))


def _natural(name: str) -> tuple[int, str]:
    """n2 before n10."""
    return len(name), name
