"""The verdict: what clients were told, held against what is stored in the end. Pure.

What a history proves of an answer and of a key is judged as in the simulator (simulator/cluster/judge.py). Beside that:

    diverged     primaries that do not hold the same though all is at rest; whatever else `verify --deep` finds
    dishonest    acknowledged by fewer nodes than were asked for; reported as not attempted, and stored
    sets         an element whose addition was acknowledged is in the union of the siblings: judged without any context
    lww          one value, of a write that no acknowledged one has overwritten; and one at all, unless a delete may be the last
    died         a node ended by itself, and nobody had killed it

Let off, and counted, is an *echo*, as in the simulator (dynamo/coordinator/suspected_retries.py): a put was tried twice, its
first try was read before its client had been told of either, with a context that suspects no other, and overwritten; and the
second brings it back.

"unknown": nothing of that is so, and it could not all be found out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce

from dynazmq.chaos.evidence import Evidence
from dynazmq.chaos.load import LWW_BUCKET, SETS, added_by, elements_of
from dynazmq.dynamo.values.versions import EMPTY, Siblings, decode, sync
from dynazmq.errors import DynazmqError
from dynazmq.simulator.cluster import judge
from dynazmq.simulator.cluster.history import FAILED, OK, UNKNOWN, History, Op
from dynazmq.simulator.cluster.judge import FALSE_SIBLING, INVENTED, LOST, RESURRECTED, Breach

VALID, INVALID, UNKNOWN_VERDICT = "valid", "invalid", "unknown"
DIVERGED, DISHONEST, DIED = "diverged", "dishonest", "died"
KINDS = (LOST, RESURRECTED, DIVERGED, FALSE_SIBLING, INVENTED, DISHONEST, DIED)


@dataclass(slots=True)
class Broken:
    """One thing that is not as promised. bucket, key: "" and b"" where it is of no key."""

    kind: str
    text: str
    bucket: str = ""
    key: bytes = b""
    breach: Breach | None = None


@dataclass(slots=True)
class Verdict:
    """open: what could not be found out, in words. late: how keys differed that became equal soon after all seemed at rest."""

    broken: list[Broken] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    keys: int = 0
    late: list[str] = field(default_factory=list)
    echoes: int = 0

    @property
    def word(self) -> str:
        return INVALID if self.broken else UNKNOWN_VERDICT if self.open else VALID

    def count(self, kind: str) -> int:
        return sum(each.kind == kind for each in self.broken)


def judge_all(
    history: History, evidence: Evidence, reads: Mapping[tuple[str, bytes], list[bytes] | DynazmqError], unsettled: str
) -> Verdict:
    """reads: what the client finds of each key in the end. unsettled: why the cluster did not come to rest; "" when it did."""
    verdict = Verdict(keys=len(evidence.held), late=evidence.late)
    broken = verdict.broken
    for op in history.ops:
        if op.outcome == OK:
            breaches = judge.of_answer(history, op) if op.kind == "get" else _of_acknowledgement(op)
            broken += [_broken(op.bucket, op.key, breach) for breach in breaches]
    for (bucket, key), held in evidence.held.items():
        if held.unread:
            continue  # the verdict is open for it (below): what nobody has shown is not lost
        if not held.equal:
            holders = ", ".join(f"{name} {_short(raw)}" for name, raw in held.states.items())
            text = f"the primaries of {bucket}/{_text(key)} differ: {holders}"
            broken.append(Broken(DIVERGED, text, bucket, key))
        state = reduce(sync, (decode(raw) for raw in held.states.values()), EMPTY)
        broken += [_broken(bucket, key, breach) for breach in _of_state(history, bucket, key, state)]
        if held.equal and (difference := _reads_otherwise(state, bucket, reads.get((bucket, key)))):
            broken.append(Broken(DIVERGED, f"{bucket}/{_text(key)}: {difference}", bucket, key))
    echoes = [each for each in broken if _is_echo(history, each.breach)]
    verdict.echoes = len(_each_once(echoes))
    broken = [each for each in broken if each not in echoes]
    unequal = {(each.bucket, each.key) for each in broken if each.kind == DIVERGED}
    for finding in evidence.findings:
        if (finding.bucket, finding.key) not in unequal or not finding.key:
            broken.append(Broken(DIVERGED, f"{finding.kind}: {finding.text}", finding.bucket, finding.key))
    broken += [Broken(DIED, text) for text in evidence.died]
    verdict.broken = _each_once(broken)
    if unsettled:
        verdict.open.append(f"the cluster did not come to rest: {unsettled}")
    verdict.open += [f"{name} could not be read: {why}" for name, why in evidence.unread.items()]
    failed = [error for error in reads.values() if isinstance(error, DynazmqError)]
    if failed:
        verdict.open.append(f"{len(failed):,} keys could not be read in the end: {failed[0]}")
    return verdict


def _is_echo(history: History, breach: Breach | None) -> bool:
    if breach is None or breach.kind != RESURRECTED or breach.write is None or breach.by is None:
        return False
    return history.seen_too_early(breach.by, breach.write)


def _of_acknowledgement(op: Op) -> Iterator[Breach]:
    if len(set(op.acked)) < op.needed:
        yield Breach("I15", DISHONEST, f"acknowledged by {' '.join(op.acked) or 'nobody'}, {op.needed} were asked for: {op}", op)


def _of_state(history: History, bucket: str, key: bytes, state: Siblings) -> Iterator[Breach]:
    if bucket == LWW_BUCKET:
        yield from of_lww_key(history, key, state)
    else:
        yield from judge.of_key(history, key, state, collected=False)
        if f"-{SETS}-" in _text(key):
            yield from of_set(history, key, state)
    for sibling in state.live:
        write = history.writes.get(sibling.write_id)
        if write is not None and write.outcome == FAILED:
            yield Breach("I15", DISHONEST, f"reported as not attempted, and stored: {write}", write)


def of_set(history: History, key: bytes, state: Siblings) -> Iterator[Breach]:
    """Nobody removes an element."""
    there = elements_of(state.values)
    for op in history.writes_of.get(key, []):
        if op.outcome == OK and op.value is not None and added_by(op.value) not in there:
            yield Breach("I1", LOST, f"lost: {added_by(op.value)} is in no sibling of the set: {op}", op)


def of_lww_key(history: History, key: bytes, state: Siblings) -> Iterator[Breach]:
    """A stamp is later than those of all that its writer has seen: so what is there was overwritten by nobody who had seen it."""
    writes = history.writes_of.get(key, [])
    values = [sibling for sibling in state.live if sibling.value is not None]
    for sibling in state.live:
        write = history.writes.get(sibling.write_id)
        if write is None:
            yield Breach("I6", INVENTED, f"{_text(key)} holds {sibling}, which nobody wrote")
            continue
        for other in writes:
            if other.outcome == OK and other.covers & write.bit:
                yield Breach("I4", RESURRECTED, f"{write} is there, and {other} covers it", write, other)
    if values:
        return
    deletes = [op for op in writes if op.kind == "delete" and op.outcome in (OK, UNKNOWN)]
    for op in writes:
        if op.kind == "put" and op.outcome == OK and all(op.covers & delete.bit for delete in deletes):
            yield Breach("I1", LOST, f"lost: nothing is there of {_text(key)}, and no delete can be later than {op}", op)
            return  # one of them would be enough


def _reads_otherwise(state: Siblings, bucket: str, found: list[bytes] | DynazmqError | None) -> str:
    """Whether the client finds something else than what all primaries hold; "" when not."""
    if found is None or isinstance(found, DynazmqError) or (bucket == LWW_BUCKET and len(state.values) > 1):
        return ""
    if sorted(found) == sorted(state.values):
        return ""
    return f"a get finds {found!r:.200}, the primaries hold {state.values!r:.200}"


def _each_once(broken: list[Broken]) -> list[Broken]:
    """A write that was seen to come back by many gets came back once."""
    seen: set[tuple[str, bytes | str]] = set()
    kept = []
    for each in broken:
        write = each.breach.write if each.breach is not None else None
        name = (each.kind, write.write_id if write is not None else each.text)
        if name not in seen:
            seen.add(name)
            kept.append(each)
    return kept


def _broken(bucket: str, key: bytes, breach: Breach) -> Broken:
    return Broken(breach.kind, str(breach), bucket, key, breach)


def _text(key: bytes) -> str:
    return key.decode(errors="replace")


def _short(raw: bytes) -> str:
    values = [f"{value[:24]!r}" for value in decode(raw).values]
    return f"[{', '.join(values)}]" if raw else "nothing"
