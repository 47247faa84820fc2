"""A cluster of five as status sees it, for tests of what is shown: values only."""

from __future__ import annotations

from pathlib import Path

from dynazmq.cli.shown import report
from dynazmq.cluster.observe.node_health import Answer, Facts, NodeFact, judge
from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.faults import Fault
from dynazmq.paths import ClusterFile

NAMES = ("n1", "n2", "n3", "n4", "n5")
OWNERS = tuple(NAMES[i % 5] for i in range(120))


class Seen:
    """A cluster of five as the supervisor and the nodes would describe it: healthy until something is changed."""

    def __init__(self) -> None:
        members = {name: f"ipc:///{name}.sock" for name in NAMES}
        self.cluster = ClusterFile(name="demo", cluster_id=1, secret=b"", members=members)
        self.facts = Facts(supervisor_pid=41200)
        for i, name in enumerate(NAMES):
            self.facts.nodes[name] = NodeFact(pid=41201 + i, process="running", answered=True, state="up", state_s=740.0)
        self.said = {name: self._says(name) for name in NAMES}
        self.faults: list[Fault] = []

    def _says(self, name: str) -> dict[str, object]:
        return {
            "uptime_s": 740.0,
            "keys": 30_100,
            "owned": 24,
            "ops_per_s": 1100.0,
            "latency": {"put": {"count": 9, "p50_ms": 1.0, "p99_ms": 3.2}},
            "ring": {"version": 5, "digest": "d"},
            "peers": {peer: {"state": "up", "for_s": 700.0} for peer in NAMES if peer != name},
        }

    def gone(self, name: str, for_s: float, word: str = "down", **fact: object) -> None:
        fact = {"process": "killed (9)", "state": "down", "state_s": for_s, **fact}
        self.facts.nodes[name] = NodeFact(**fact)  # type: ignore[arg-type]
        self.facts.degraded_s = for_s
        del self.said[name]
        for said in self.said.values():
            said["peers"][name] = {"state": word, "for_s": for_s}  # type: ignore[index]

    def hold(self, holder: str, target: str, count: int, oldest_s: float) -> None:
        self.said[holder] |= {"hints_for": {target: count}, "hints_pending": count, "hints_oldest_s": {target: oldest_s}}

    @property
    def snapshot(self) -> Snapshot:
        answers = {name: Answer(name=name, status=said) for name, said in self.said.items()}
        return judge(self.cluster, Path("/c"), self.facts, answers, owners=OWNERS, now=0.0, faults=self.faults)

    @property
    def lines(self) -> list[str]:
        return report(self.snapshot, self.facts, "")
