"""What `cluster up` says while the cluster comes up, and in the end: each line when it is proven, not when it is hoped for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dynazmq.cli import FAILED, OK
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, columns, emit, note, paint, say
from dynazmq.cli.words import many
from dynazmq.cluster.operations import launch
from dynazmq.faults import Fault
from dynazmq.paths import ClusterFile, where

if TYPE_CHECKING:
    import subprocess

    from dynazmq.cli.up import Start
    from dynazmq.cluster.operations import readiness


class Report:
    """What `up` prints while the cluster comes up, and in the end."""

    def __init__(
        self,
        start: Start,
        cluster: ClusterFile,
        *,
        running: bool = False,
        attached: bool = False,
        started: list[str] | None = None,
        adopted: list[str] | None = None,
        supervisor: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """supervisor: a child of this process; else nobody here hears of its end."""
        self._start = start
        self._cluster = cluster
        self._running = running
        self._attached = attached
        self._started = started or []
        self._adopted = adopted or []
        self._supervisor = supervisor
        self._pids: dict[str, int] = {}
        self._cells = 0
        self._line_open = False
        self._culprit = ""
        self._canary_ms: float | None = None
        self._faults: tuple[Fault, ...] = ()

    def head(self) -> None:
        cluster = self._cluster
        sync = "fsync" if cluster.sync == "full" else "no fsync"
        quorum = f"N={cluster.n} R={cluster.r} W={cluster.w}"
        rest = f"{many(cluster.partitions, 'partition')}   {sync}   {cluster.transport}"
        rest += "   anti-entropy off" if cluster.anti_entropy == "off" else ""
        self._out(f"  cluster  {paint(cluster.name, BOLD)}   {quorum}   {rest}")
        if self._running:
            self._out("  it runs already" + (f"; starting {' '.join(self._started)}" if self._started else ""))
        if self._adopted:
            self._out(f"  took over {' '.join(self._adopted)}, which kept running without a supervisor")

    def follow(self) -> int:
        """Tell each step until ready; OK or FAILED."""
        from dynazmq.cluster.operations import readiness

        for step in readiness.await_ready(self._start.directory, self._start.deadline, supervised=self._supervised):
            match step:
                case readiness.Up(name, pid):
                    self._up(name, pid)
                case readiness.Agreed(version, nodes):
                    self._close_line()
                    self._proven(f"ring v{version} agreed by {nodes}/{nodes}")
                case readiness.Meshed(0):
                    pass
                case readiness.Meshed(peers):
                    self._proven(f"every node sees {many(peers, 'peer')}")
                case readiness.Canary(quorum, elapsed_ms):
                    self._canary_ms = elapsed_ms
                    self._proven(f"canary put/get W={quorum} {elapsed_ms:.1f} ms")
                case readiness.Faulty(faults):
                    self._faulty(faults)
                case readiness.Ready(away):
                    return self._ready(away)
                case readiness.Failed():
                    return self._failed(step)
                case readiness.Unsupervised():
                    return self._unsupervised()
                case readiness.Late(missing):
                    return self._late(missing)
        return FAILED

    def take_back(self) -> None:
        """A start that failed leaves nothing running; nodes that ran before it go on."""
        stopped = ""
        if not self._adopted:
            ended = launch.end_cluster(self._start.directory)
            stopped = f"stopped {' '.join(ended.nodes)} again.    " if ended.nodes else ""
        culprit = f" {self._culprit}" if self._culprit else ""
        note(f"  {stopped}look  dynazmq logs{culprit}{where(self._start.directory)}")

    def not_waited(self, facts: dict[str, Any]) -> int:
        pids = {name: fact["pid"] for name, fact in facts["nodes"].items()}
        if self._start.as_json:
            self._emit(pids, ready=None)
        else:
            said = "   ".join(f"{name}  pid {pid}" for name, pid in pids.items() if pid)
            self._out(f"  started  {said}")
            self._out(f"  wait     dynazmq cluster wait --for ready{where(self._start.directory)}")
        return OK

    # --- lines ------------------------------------------------------------------------------------------------------------

    def _up(self, name: str, pid: int) -> None:
        """Cells of a table, in the order of the names: one that was up before its neighbour waits for it."""
        self._pids[name] = pid
        width = max(map(len, self._cluster.members))
        per_row = max(1, (columns() - 2) // (width + 24))
        names = [each for each in self._cluster.members if each in self._pids]
        while self._cells < len(names) and list(self._cluster.members)[self._cells] == names[self._cells]:
            each = names[self._cells]
            self._cells += 1
            self._cell(f"{self._tick()} {each:<{width}}  pid {self._pids[each]:<7} up", last=self._cells % per_row == 0)

    def _cell(self, text: str, *, last: bool) -> None:
        if not self._start.as_json:
            lead = "     " if self._line_open else "  "
            print(lead + text, end="\n" if last else "", flush=True)
            self._line_open = not last

    def _proven(self, text: str) -> None:
        """Facts, two or three to a row."""
        self._out(f"  {self._tick()} {text}")

    def _faulty(self, faults: tuple[Fault, ...]) -> None:
        from dynazmq.cli.faults import status_line

        self._close_line()
        self._faults = faults
        for fault in faults:
            self._out(f"  {paint('!', YELLOW)} {status_line(fault, time.time())}")

    def _ready(self, away: tuple[str, ...]) -> int:
        took = time.monotonic() - self._start.began
        at = where(self._start.directory)
        if self._start.as_json:
            self._emit(self._pids, ready=None if self._faults else True)
            return OK
        word = paint("up", YELLOW, BOLD) if self._faults else paint("ready", GREEN, BOLD)
        self._out(f"  {word}" + ("" if self._running and not self._started else f" in {took:.1f} s"))
        if self._faults:
            self._out(f"  that the nodes see each other was not waited for    next  dynazmq heal{at}")
        for name in away:
            self._out(f"  {paint(name, YELLOW)} was ended or paused by hand and stays so    next  dynazmq node start {name}{at}")
        if not self._running:
            self._hints(at)
        return OK

    def _hints(self, at: str) -> None:
        victim = list(self._cluster.members)[len(self._cluster.members) // 2]
        proposals = [
            ("try", "dynazmq put greeting hello && dynazmq get greeting"),
            ("watch", "dynazmq tui"),
            ("break", f"dynazmq kill {victim}        then  dynazmq node start {victim}"),
            ("stop", "Ctrl-C" if self._attached else "dynazmq down           (data kept; --purge removes it)"),
        ]
        if at:  # named once, and not in every line
            proposals.insert(0, ("first", f"export DYNAZMQ_DIR={at.removeprefix(' --dir ')}"))
        self._out()
        for word, text in proposals:
            self._out(f"  {paint(f'{word:<6}', DIM)} {text}")

    def _late(self, missing: str) -> int:
        self._close_line()
        note(f"  {self._cross()} not ready after {self._start.timeout_s:g} s: {missing}")
        if self._start.as_json:
            self._emit(self._pids, ready=False, failure={"node": None, "what": "not ready in time", "reason": missing})
        return FAILED

    def _failed(self, step: readiness.Failed) -> int:
        self._close_line()
        self._culprit = step.name
        note(f"  {self._cross()} {step.name}  {step.what}" + (f": {step.reason}" if step.reason else ""))
        for line in step.log:
            if not step.reason or not line.endswith(step.reason):
                note(f"        {line}")
        if self._start.as_json:
            self._emit(self._pids, ready=False, failure={"node": step.name, "what": step.what, "reason": step.reason})
        return FAILED

    def _supervised(self) -> bool:
        return self._supervisor is None or self._supervisor.poll() is None

    def _unsupervised(self) -> int:
        assert self._supervisor is not None
        self._close_line()
        reason = launch.why_ended(self._start.directory, self._supervisor)
        note(f"  {self._cross()} the supervisor ended: {reason}")
        if self._start.as_json:
            self._emit(self._pids, ready=False, failure={"node": None, "what": "the supervisor ended", "reason": reason})
        return FAILED

    def _emit(self, pids: dict[str, int], ready: bool | None, failure: dict[str, str | None] | None = None) -> None:
        members = self._cluster.members
        emit(
            "up",
            {
                "name": self._cluster.name,
                "dir": str(self._start.directory),
                "ready": ready,
                "was_running": self._running,
                "adopted": self._adopted,
                "elapsed_s": round(time.monotonic() - self._start.began, 3),
                "canary_ms": self._canary_ms and round(self._canary_ms, 3),
                "faults": [fault.document() for fault in self._faults],
                "nodes": [{"name": name, "pid": pids.get(name), "endpoint": members[name]} for name in members],
                **({"failure": failure} if failure else {}),
            },
        )

    def _out(self, text: str = "") -> None:
        if not self._start.as_json:
            self._close_line()
            say(text)

    def _close_line(self) -> None:
        if self._line_open:
            print(flush=True)
            self._line_open = False

    def _tick(self) -> str:
        return paint("✓", GREEN)

    def _cross(self) -> str:
        return paint("✗", RED, BOLD)
