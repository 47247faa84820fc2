"""One run from beginning to end: load and faults, peace, the verdict.

Whatever ends it, what was done to the cluster is undone. Interrupted once, it heals and judges what there is; interrupted again,
it heals and says "unknown". While it heals it cannot be interrupted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq.chaos import evidence as evidence_of
from dynazmq.chaos.hands import Hands, missing_of
from dynazmq.chaos.interrupts import uninterrupted
from dynazmq.chaos.load import LWW_BUCKET, Load
from dynazmq.chaos.nemesis import Chronicle, Nemesis
from dynazmq.chaos.plan import strikes
from dynazmq.chaos.record import Gap, Record, longest_gap
from dynazmq.chaos.resources import Most, Watch
from dynazmq.chaos.users import plan as users_plan
from dynazmq.chaos.users.beside import Beside
from dynazmq.chaos.users.large import LargeValues, counted
from dynazmq.chaos.users.sweep import sweep
from dynazmq.chaos.verdict import INVALID, Verdict, judge_all
from dynazmq.client.api.sync import Client
from dynazmq.config import LWW
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.paths import ClusterFile
from dynazmq.simulator.cluster.history import History

SETTLE_S = 120.0
_STEP_S = 0.2
_WHOLE_S = 30.0
_POLICY_S = 15.0


@dataclass(slots=True, kw_only=True)
class Settings:
    directory: Path
    seconds: float
    seed: int
    kinds: tuple[str, ...]
    users: bool = False
    shared: bool = False
    """Others use the cluster: what the abuse has written is taken away in the end, but for what is evidence."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """phase: chaos | settling | judging | tidying up."""

    phase: str
    elapsed_s: float
    acked: int
    on: list[str]
    done: Counter[str]


@dataclass(slots=True)
class Outcome:
    """What came of a run. gap: the longest time without a success while there was a load."""

    settings: Settings
    record: Record
    chronicle: Chronicle
    verdict: Verdict
    gap: Gap
    load_s: float
    settled_s: float = 0.0
    interrupted: bool = False
    not_undone: list[str] = field(default_factory=list)
    abuse: Abuse | None = None


@dataclass(slots=True)
class Abuse:
    """tally: what users tried, and how often (users/tally.py). most: what it did to the nodes at most."""

    tally: Counter[str]
    most: Most


Tell = Callable[[Progress], None]


class Run:
    """tell: told of progress, several times a second."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        """Raises NoSuchCluster, ClusterError when the cluster is not whole: what is broken before cannot be judged."""
        self._settings = settings
        self._tell = tell
        self._cluster = ClusterFile.load(settings.directory)
        self._end = threading.Event()
        history = History(self._cluster.secret, sees_commits=False)
        self.record = Record(history, frozenset([users_plan.LARGE_BUCKET]))
        self.chronicle = Chronicle(self.record)
        self._hands = Hands(settings.directory, lambda: not self._end.is_set())
        prefix = f"{time.time_ns():x}"
        self._load = Load(self.record, settings.seed, prefix, self._endpoints)
        self._abuse = _Users(settings, self.record, self.chronicle, prefix, self._endpoints) if settings.users else None

    def play(self) -> Outcome:
        """Raises ClusterError before anything was done."""
        try:
            if missing := self._hands.await_whole(_WHOLE_S):
                raise ClusterError(f"the cluster is not whole, and is left alone: {missing}")
            self._set_policy()
            return self._play()
        finally:
            self._hands.close()

    def _endpoints(self) -> list[str]:
        return list(ClusterFile.load(self._settings.directory).members.values())

    def _set_policy(self) -> None:
        """Of some buckets it is told that the last write wins there, and all nodes have heard of it."""
        with Client(self._settings.directory, timeout=_POLICY_S) as client:
            for bucket in self._lww_buckets:
                client.bucket(bucket).configure(conflict=LWW)
        deadline = time.monotonic() + _POLICY_S
        for endpoint in self._cluster.members.values():
            while True:
                with Client(endpoints=[endpoint], timeout=_POLICY_S) as client:
                    if client.view.policies.keys() >= self._lww_buckets:
                        break
                if time.monotonic() > deadline:
                    where = " and ".join(sorted(self._lww_buckets))
                    raise ClusterError(f"not all nodes know after {_POLICY_S:.0f} s that the last write wins in {where}")
                time.sleep(_STEP_S)

    @property
    def _lww_buckets(self) -> set[str]:
        return {LWW_BUCKET, users_plan.BUCKET} if self._abuse is not None else {LWW_BUCKET}

    def _play(self) -> Outcome:
        cluster, settings = self._cluster, self._settings
        self.record.began, self.record.began_wall = time.monotonic(), time.time()
        until = self.record.began + settings.seconds
        plan = strikes(settings.seed, settings.kinds, settings.seconds)
        nemesis = Nemesis(self._hands, plan, self.chronicle, n=cluster.n, r=cluster.r, w=cluster.w, until=until)
        load_s, not_undone = 0.0, list[str]()
        interrupted = again = False
        try:
            try:
                self._load.start()
                nemesis.start()
                if self._abuse is not None:
                    self._abuse.start()
                while time.monotonic() < until and not self._bugs(nemesis):
                    self._say("chaos")
                    time.sleep(_STEP_S)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                with uninterrupted():
                    load_s = self.record.now
                    self._undo(nemesis, not_undone)
        except KeyboardInterrupt:
            again, interrupted = interrupted, True
        if bugs := self._bugs(nemesis):
            raise bugs[0]
        gap = longest_gap(self.record.successes, 0.0, load_s)
        abuse = self._abuse.outcome() if self._abuse is not None else None
        verdict, settled_s = Verdict(open=["interrupted before it could be judged"]), 0.0
        began = time.monotonic()
        try:
            if not again:
                unsettled = self._settle()
                settled_s = time.monotonic() - began
                verdict = self._judge(unsettled)
            if abuse is not None and settings.shared and verdict.word != INVALID:
                self._say("tidying up")
                not_undone += _sweep(settings.directory)
        except KeyboardInterrupt:
            interrupted = True
        return Outcome(
            settings, self.record, self.chronicle, verdict, gap, load_s, settled_s, interrupted, not_undone, abuse
        )  # fmt: skip

    def _undo(self, nemesis: Nemesis, not_undone: list[str]) -> None:
        """not_undone: takes what could not be, in words."""
        self._end.set()
        if self._abuse is not None:
            self._abuse.stop()
        self._load.stop()
        if nemesis.ident is not None:  # it was started
            nemesis.join()
        not_undone += self._hands.restore(nemesis.faults, nemesis.away)

    def _bugs(self, nemesis: Nemesis) -> list[BaseException]:
        """What has ended a part of the run although it is no error of the cluster's."""
        found = [*self._load.bugs, *(self._abuse.bugs if self._abuse is not None else ())]
        return found if nemesis.bug is None else [nemesis.bug, *found]

    def _say(self, phase: str) -> None:
        chronicle = self.chronicle
        self._tell(
            Progress(phase=phase, elapsed_s=self.record.now, acked=self.record.acked, on=chronicle.on, done=chronicle.done.copy())
        )

    def _settle(self) -> str:
        deadline = time.monotonic() + SETTLE_S
        while (missing := missing_of(self._hands.look())) and time.monotonic() < deadline:
            self._say("settling")
            time.sleep(_STEP_S)
        return missing

    def _judge(self, unsettled: str) -> Verdict:
        self._say("judging")
        history = self.record.history
        buckets: dict[str, list[bytes]] = {}
        for bucket, key in dict.fromkeys((op.bucket, op.key) for op in history.ops):
            buckets.setdefault(bucket, []).append(key)
        keys = [(bucket, key) for bucket, those in buckets.items() for key in those]
        try:
            evidence = evidence_of.gather(self._settings.directory, keys, self.record.began_wall)
            reads = evidence_of.final_reads(self._settings.directory, buckets)
        except DynazmqError as error:
            return Verdict(open=[f"what is stored could not be read: {error}"])
        return judge_all(history, evidence, reads, unsettled)


def _sweep(directory: Path) -> list[str]:
    """What stays of the keys of the abuse, in words."""
    try:
        left = sweep(directory)
    except DynazmqError as error:
        return [f"what the abuse has written is still there: {error}"]
    return [f"{left:,} keys that the abuse has written could not be deleted"] if left else []


class _Users:
    """All that `--users` adds to a run."""

    def __init__(
        self, settings: Settings, record: Record, chronicle: Chronicle, prefix: str, endpoints: Callable[[], list[str]]
    ) -> None:
        self._record = record
        self._beside = Beside(settings.directory, settings.seed, settings.seconds, chronicle.note)
        self._large = LargeValues(record, settings.seed, settings.seconds, prefix, endpoints)
        self._watch = Watch(settings.directory, chronicle.was_paused)

    def start(self) -> None:
        self._watch.start()
        self._beside.start()
        self._large.start()

    def stop(self) -> None:
        self._beside.stop()
        self._large.stop()
        self._watch.stop()

    @property
    def bugs(self) -> list[BaseException]:
        found = [*self._large.bugs, self._watch.bug, RuntimeError(self._beside.failure) if self._beside.failure else None]
        return [bug for bug in found if bug is not None]

    def outcome(self) -> Abuse:
        """When it has stopped."""
        return Abuse(self._beside.tally + counted(self._record.history), self._watch.most)
