"""One node under supervision: its process, what was asked of it, and what shall happen next.

    spawned ──▶ running ⇄ paused
                   │ ended by itself ──▶ countdown ──▶ spawned      (give up after too many deaths in a row)
                   │ asked: kill, stop, wipe ──▶ stays so until somebody asks for a start

Nothing here waits: a stop is a signal and a deadline, and `notice` does whatever is due. Times are of the monotonic clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dynazmq import paths
from dynazmq.cluster import processes
from dynazmq.cluster.directory import removal
from dynazmq.cluster.directory.rebuild import set_aside
from dynazmq.cluster.directory.state import NodeRecord
from dynazmq.cluster.observe.node_health import NodeFact
from dynazmq.cluster.processes import STOP_GRACE_S, Identity
from dynazmq.cluster.supervisor.back_off import Restarts
from dynazmq.errors import ClusterError, Expelled, OldDisk, UnusableDisk
from dynazmq.logs import parse
from dynazmq.storage import health

REASON_BYTES = 4096


class Child:
    """`tell(name, text, kind)` is told of everything that happens to it."""

    def __init__(self, directory: Path, name: str, restarts: Restarts, tell: Callable[[str, str, str], None]) -> None:
        self.name = name
        self.restarts = restarts
        self.again = True  # whether it is started again when it dies by itself
        self.answered = False
        self.changed_at = time.time()
        self._directory = directory
        self._tell = tell
        self._identity: Identity | None = None
        self._popen: subprocess.Popen[bytes] | None = None  # None for one that was adopted: it is not ours to reap
        self._pidfd: int | None = None
        self._spawned_at = 0.0
        self._log_from = 0
        self._process = "stopped"
        self._purpose = ""
        self._exits = 0
        self._reason = ""
        self._gave_up = False
        self._restart_at: float | None = None
        self._kill_at: float | None = None
        self._start_when_ended = False

    # --- looking at it ----------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self._identity is not None

    @property
    def pid(self) -> int | None:
        return self._identity.pid if self._identity else None

    @property
    def descriptor(self) -> int | None:
        """Becomes readable when the process ends."""
        return self._pidfd

    def next_due(self) -> float | None:
        return min((at for at in (self._restart_at, self._kill_at) if at is not None), default=None)

    def fact(self, now: float) -> NodeFact:
        """Call `notice` first."""
        process = self._process
        if self._identity:
            process = processes.state_of(self._identity) or "running"
        return NodeFact(
            pid=self.pid,
            process=process,
            purpose=self._purpose,
            answered=self.answered,
            restart_in_s=max(0.0, round(self._restart_at - now, 3)) if self._restart_at is not None else None,
            gave_up=self._gave_up,
            exits=self._exits,
            reason=self._reason,
            log_from=self._log_from,
            adopted=self._identity is not None and self._popen is None,
        )

    def record(self) -> NodeRecord:
        # One that is stopped only to be started again is not to stay away when another supervisor reads this meanwhile.
        purpose = "" if self._start_when_ended else self._purpose
        return NodeRecord(identity=self._identity, process=self._process, purpose=purpose, changed_at=self.changed_at)

    # --- what is asked of it ----------------------------------------------------------------------------------------------
    # Each returns what was done, for a person, or raises ClusterError when that cannot be done to this node now.

    def adopt(self, identity: Identity) -> None:
        """Take over a process that an earlier supervisor left."""
        self._identity = identity
        self._pidfd = processes.open_pidfd(identity.pid)
        self._spawned_at = float("-inf")  # it may have lived long: its next death is the first of its row
        self._process = "running"
        self._changed(f"adopted, pid {identity.pid}", "adopted")

    def keep_away(self, record: NodeRecord) -> None:
        """It has no process because somebody asked for that, of an earlier supervisor."""
        self._process, self._purpose, self.changed_at = record.process, record.purpose, record.changed_at

    def start(self, now: float) -> str:
        if self._identity:
            if processes.state_of(self._identity) == "paused":
                return self.resume(now)
            if self._kill_at is not None or self._purpose:
                self._start_when_ended = True
                return "starts as soon as it has stopped"
            return f"runs already, pid {self.pid}"
        self.restarts.forgive()
        self.spawn(now)
        return f"started, pid {self.pid}" if self._identity else f"cannot be started: {self._reason}"

    def rebuild(self, now: float) -> str:
        """Start it with an empty disk. Only one that is down: a running one has the disk in use."""
        if self._identity:
            raise ClusterError(f"{self.name} runs; a node is rebuilt when it is down: dynazmq node stop {self.name}")
        self._forget_plans()
        aside = set_aside(paths.node_dir(self._directory, self.name))
        self._changed(f"starts empty: {aside}", "wiped")
        return f"{aside}; {self.start(now)}"

    def kill(self, now: float) -> str:
        return self._end("killed", signal.SIGKILL, now)

    def stop(self, now: float) -> str:
        if not self._identity and self._restart_at is None:
            if self._purpose in ("stopped", "wiped"):
                return "was stopped already"
            self._forget_plans()
            self._purpose = "stopped"
            self._changed("down already; it stays so", "stopped")
            return "was down already, and stays so until it is started"
        return self._end("stopped", signal.SIGTERM, now)

    def wipe(self, now: float) -> str:
        place = paths.node_dir(self._directory, self.name)
        if health.read_only(place):
            raise ClusterError(f"{self.name} is not wiped: {place} is on a file system that is read-only; it goes on as it is")
        if self._identity:
            self._end("wiped", signal.SIGTERM, now)
            return f"is stopped (pid {self.pid}) and then wiped"
        self._forget_plans()
        self._purpose = "wiped"
        self._wipe()
        return "wiped"

    def restart(self, now: float) -> str:
        if not self._identity:
            return self.start(now)
        place = paths.node_dir(self._directory, self.name)
        if refused := health.refusal(place):  # it writes when it starts, and until then it reads, and answers
            why = f"nothing can be written in {place} ({refused.strerror})"
            raise ClusterError(f"{self.name} is not restarted: {why}, so it could not start again; it goes on as it is")
        self._end("stopped", signal.SIGTERM, now)
        self._start_when_ended = True
        return f"is stopped (pid {self.pid}) and started again"

    def pause(self, now: float) -> str:
        del now
        if not self._identity or not processes.send_signal(self._identity, signal.SIGSTOP):
            raise ClusterError(f"{self.name} is not running")
        self._changed("paused (SIGSTOP)", "paused")
        return f"paused, pid {self.pid}"

    def resume(self, now: float) -> str:
        del now
        if not self._identity:
            raise ClusterError(f"{self.name} is not running; start it with: dynazmq node start {self.name}")
        if processes.state_of(self._identity) != "paused":
            return "was not paused"
        processes.send_signal(self._identity, signal.SIGCONT)
        self._changed("resumed (SIGCONT)", "resumed")
        return f"resumed, pid {self.pid}"

    def leave(self, now: float) -> None:
        """It belongs to the cluster no more: it is ended, and nobody starts it again."""
        self._purpose = "removed"
        self.end(now)

    def end(self, now: float) -> None:
        """The whole cluster is ended: like `stop`, whatever was planned."""
        self._forget_plans()
        self._start_when_ended = False
        if self._identity and self._kill_at is None:
            self._purpose = self._purpose or "stopped"
            processes.terminate(self._identity)
            self._kill_at = now + STOP_GRACE_S

    # --- what happens by itself -------------------------------------------------------------------------------------------

    def notice(self, now: float) -> bool:
        """See whether it has ended, and do what is due. True when anything has changed."""
        before = self.changed_at
        if self._popen is not None:
            returncode = self._popen.poll()
            if returncode is not None:
                self._ended(now, returncode)
        elif self._identity is not None and processes.state_of(self._identity) is None:
            self._ended(now, None)
        if self._kill_at is not None and now >= self._kill_at and self._identity:
            self._kill_at = now + STOP_GRACE_S
            processes.send_signal(self._identity, signal.SIGKILL)
            self._changed(f"did not stop within {STOP_GRACE_S:.0f} s: KILL sent", "killed")
        if self._restart_at is not None and now >= self._restart_at:
            self.spawn(now)
        return self.changed_at != before

    def spawn(self, now: float) -> None:
        self._forget_plans()
        self._purpose = self._reason = ""
        self.answered = False
        try:
            self._popen, self._log_from = processes.spawn_node(self._directory, self.name)
        except OSError as error:
            self._process, self._reason = "failed", f"cannot start a process: {error}"
            self._changed(self._reason, "failed")
            self._plan_restart(0.0, now)
            return
        pid = self._popen.pid
        self._identity = processes.identify(pid) or Identity(pid, "")  # "": it has ended already, `notice` will see it
        self._pidfd = processes.open_pidfd(pid)
        self._spawned_at = now
        self._process = "running"
        self._changed(f"started, pid {pid}", "started")

    def _end(self, purpose: str, number: int, now: float) -> str:
        if not self._identity:
            if self._restart_at is None:
                raise ClusterError(f"{self.name} is not running")
            self._forget_plans()
            self._purpose = purpose
            self._changed("will not be started again", purpose)
            return "is down already, and stays so until it is started"
        self._purpose = purpose
        self._start_when_ended = False
        if number == signal.SIGKILL:
            processes.send_signal(self._identity, number)
            return f"KILL sent to pid {self.pid}"
        processes.terminate(self._identity)
        self._kill_at = now + STOP_GRACE_S
        return f"TERM sent to pid {self.pid}"

    def _ended(self, now: float, returncode: int | None) -> None:
        lived = now - self._spawned_at
        purpose, start = self._purpose, self._start_when_ended
        forced = self._kill_at is not None and returncode == -signal.SIGKILL
        self._let_go()
        self._forget_plans()
        self._start_when_ended = False
        if purpose == "killed":
            self._process = "killed (9)"
            self._changed("process gone, signal 9 (asked for)", "killed")
        elif purpose:
            self._process = purpose
            self._changed("killed, it did not stop in time" if forced else "stopped", "stopped")
            if purpose == "wiped":
                self._wipe()
        else:
            self._died(lived, returncode, now)
        if start:
            self.start(now)

    def _died(self, lived: float, returncode: int | None, now: float) -> None:
        self._exits += 1
        self._process = "gone" if returncode is None else processes.exit_text(returncode)
        if returncode == 0:  # somebody's SIGTERM: a clean end is no failure
            self._process = self._purpose = "stopped"
            self._changed("ended in good order by a signal from outside; it stays so", "stopped")
            return
        if returncode is None or returncode < 0:
            text = "process gone" if returncode is None else f"process gone, signal {-returncode}"
        else:
            self._reason = last_words(paths.node_log(self._directory, self.name), self._log_from)
            text = f"exited with code {returncode} after {lived:.1f} s" + (f": {self._reason}" if self._reason else "")
        self._changed(text, "died")
        if returncode == Expelled.exit_code:
            self._process = self._purpose = "removed"
            self._changed("was removed from the cluster: not started again", "removed")
            return
        if returncode == UnusableDisk.exit_code:  # it would find the same again
            self._gave_up = True
            self._changed("cannot use its disk: not started again", "failed")
            return
        if returncode == OldDisk.exit_code:
            self._replace_old_disk(now)
            return
        self._plan_restart(lived, now)

    def _replace_old_disk(self, now: float) -> None:
        """Its peers know of a newer one, of which this is a copy: what is on it is kept, and the peers fill an empty one."""
        try:
            aside = set_aside(paths.node_dir(self._directory, self.name), keep_older=True)
        except ClusterError as error:
            self._gave_up = True
            self._changed(f"its disk is an old copy, and it is not started again: {error}", "failed")
            return
        self._changed(f"its disk was an old copy, from before a deletion was forgotten: starts empty, {aside}", "wiped")
        self.spawn(now)

    def _plan_restart(self, lived: float, now: float) -> None:
        if not self.again:
            return
        wait = self.restarts.died(lived)
        if wait is None:
            self._gave_up = True
            self._changed(f"died {self.restarts.deaths} times in a row: given up; dynazmq node start {self.name}", "failed")
            return
        self._restart_at = now + wait
        self._changed(f"starts again in {wait:g} s", "restarting")

    def _wipe(self) -> None:
        """Lose the disk: everything that the storage keeps; log and configuration stay."""
        node_dir = paths.node_dir(self._directory, self.name).resolve()
        try:
            removed = removal.remove(node_dir, removal.DATABASE, itself=False)
        except OSError as error:  # a file system that is read-only, or fails: it is not the end of the others' supervisor
            self._process = "failed"
            self._changed(f"could not be wiped: {error.strerror}", "failed")
            return
        self._process = "wiped"
        self._changed(f"wiped: {removed.bytes:,} bytes of data removed", "wiped")

    def _forget_plans(self) -> None:
        self._restart_at = self._kill_at = None
        self._gave_up = False

    def _let_go(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._identity = self._popen = self._pidfd = None

    def _changed(self, text: str, kind: str) -> None:
        self.changed_at = time.time()
        self._tell(self.name, text, kind)


def last_words(log: Path, begin: int) -> str:
    """Why it ended, as its last line says it; "" when it said nothing in this life."""
    lines = tail(log, begin)
    if not lines:
        return ""
    line = parse(lines[-1])
    return (line.text if line else lines[-1].removeprefix("error: ")).strip()


def tail(log: Path, begin: int = 0, lines_max: int = 5) -> list[str]:
    """The last lines that were written at or after this place."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin if begin <= size else 0, size - REASON_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines_max:]
