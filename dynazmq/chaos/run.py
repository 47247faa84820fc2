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
from dynazmq.chaos.judge import Verdict, judge_all
from dynazmq.chaos.load import BUCKET, LWW_BUCKET, Load
from dynazmq.chaos.nemesis import Chronicle, Nemesis
from dynazmq.chaos.plan import strikes
from dynazmq.chaos.record import Gap, Record, longest_gap
from dynazmq.client.sync import Client
from dynazmq.config import LWW
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.paths import ClusterFile
from dynazmq.simulator.history import History

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


@dataclass(slots=True, kw_only=True)
class Progress:
    """phase: chaos | settling | judging."""

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
        self.record = Record(history)
        self.chronicle = Chronicle(self.record)
        self._hands = Hands(settings.directory, lambda: not self._end.is_set())
        self._load = Load(self.record, settings.seed, f"{time.time_ns():x}", self._endpoints)

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
        """The one bucket is told that the last write wins there, and all nodes have heard of it."""
        with Client(self._settings.directory, timeout=_POLICY_S) as client:
            client.bucket(LWW_BUCKET).configure(conflict=LWW)
        deadline = time.monotonic() + _POLICY_S
        for endpoint in self._cluster.members.values():
            while True:
                with Client(endpoints=[endpoint], timeout=_POLICY_S) as client:
                    if LWW_BUCKET in client.view.policies:
                        break
                if time.monotonic() > deadline:
                    raise ClusterError(f"not all nodes know after {_POLICY_S:.0f} s that the last write wins in {LWW_BUCKET}")
                time.sleep(_STEP_S)

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
        verdict, settled_s = Verdict(open=["interrupted before it could be judged"]), 0.0
        began = time.monotonic()
        try:
            if not again:
                unsettled = self._settle()
                settled_s = time.monotonic() - began
                verdict = self._judge(unsettled)
        except KeyboardInterrupt:
            interrupted = True
        return Outcome(settings, self.record, self.chronicle, verdict, gap, load_s, settled_s, interrupted, not_undone)

    def _undo(self, nemesis: Nemesis, not_undone: list[str]) -> None:
        """not_undone: takes what could not be, in words."""
        self._end.set()
        self._load.stop()
        if nemesis.ident is not None:  # it was started
            nemesis.join()
        not_undone += self._hands.restore(nemesis.faults, nemesis.away)

    def _bugs(self, nemesis: Nemesis) -> list[BaseException]:
        """What has ended a part of the run although it is no error of the cluster's."""
        return self._load.bugs if nemesis.bug is None else [nemesis.bug, *self._load.bugs]

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
        buckets: dict[str, list[bytes]] = {BUCKET: [], LWW_BUCKET: []}
        for key in dict.fromkeys((op.bucket, op.key) for op in history.ops):
            buckets[key[0]].append(key[1])
        keys = [(bucket, key) for bucket, those in buckets.items() for key in those]
        try:
            evidence = evidence_of.gather(self._settings.directory, keys, self.record.began_wall)
            reads = evidence_of.final_reads(self._settings.directory, buckets)
        except DynazmqError as error:
            return Verdict(open=[f"what is stored could not be read: {error}"])
        return judge_all(history, evidence, reads, unsettled)
