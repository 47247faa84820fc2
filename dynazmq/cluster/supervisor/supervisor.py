"""The supervisor: starts a cluster's nodes, watches them, does what is asked, and is the only one who does (docs/decisions/0032).

    poll control socket, pidfds, signals → see who has ended, do what is due → write down what changed → ask the nodes at times

One thread, and nothing in it waits: a stop is a signal and a deadline, a question to a node is sent and its answer taken when it
is there. If this process dies its nodes keep serving; the next one adopts them by pid *and* start time.

Run as `python -m dynazmq.cluster.supervisor.supervisor DIR POLICY RESTART_AFTER_S LOCK`; `dynazmq cluster up` does. POLICY and
RESTART_AFTER_S may be empty: as it was. LOCK is an inherited descriptor, the flock on supervisor.lock: whoever holds it is the
supervisor, so there is no gap in which two could be.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynazmq import inherited, paths
from dynazmq.cluster import processes
from dynazmq.cluster.control import ControlServer, Document
from dynazmq.cluster.directory import roster, state
from dynazmq.cluster.directory.orphans import remove_sockets
from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.node_health import Facts
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.cluster.supervisor.back_off import Restarts
from dynazmq.cluster.supervisor.children import Child
from dynazmq.cluster.supervisor.monitor import Watch
from dynazmq.errors import ClusterError, DynazmqError, InvalidRequest
from dynazmq.logs import Log
from dynazmq.paths import ClusterFile
from dynazmq.place import Place

EVENTS_MAX = 200
_WARNINGS = ("died", "killed", "failed", "overload")
POLICIES = ("on-failure", "never")
AGAIN_S = 5.0
"""A member that could not be struck off (a full disk) is tried again after this long."""


class Supervisor:
    """Owns every process of one cluster. `run` returns when the cluster is down."""

    def __init__(self, directory: Path, policy: str | None = None, restart_after_s: float | None = None) -> None:
        """None: as it was for the nodes that are taken over, the default where there are none."""
        self._directory = directory
        self._cluster = ClusterFile.load(directory)
        self._place = Place(directory)
        self._lock = state.OwnLock(directory)
        self._lost = False
        """Its directory was deleted, and what may be at its path now is another's: nothing is written any more."""
        self._before = state.StateFile.load(directory)
        self._surviving = processes.find_nodes(directory, self._cluster.members)
        kept = self._before if self._surviving else state.StateFile()
        self._policy = kept.restart if policy is None else policy
        self._restart_after_s = kept.restart_after_s if restart_after_s is None else restart_after_s
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._children = {name: Child(directory, name, Restarts(), self._tell) for name in self._cluster.members}
        self._apply_policy()
        self._leaving: dict[str, float] = {}  # members that are none any more → when to strike them off, once they have ended
        self._ending = False
        self.signalled = 0
        """The signal that asked for the end, if one did."""
        self._changed = True
        self._log = Log(paths.supervisor_log(directory), place=self._place)
        self._wake, waker = socket.socketpair()
        self._wake.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        paths.make_private(paths.runtime_dir(directory))
        self._control = ControlServer(paths.supervisor_socket(directory), self._answer, directory)
        self._watch = Watch(self._cluster, directory, self._emit, adopted=bool(self._surviving))

    def run(self) -> None:
        self._tidy()
        self._take_over()
        while not (self._ending and not any(child.runs for child in self._children.values())):
            self._wait()
            now = time.monotonic()
            if (place := self._place.now()) != self._place.path:
                self._follow(place)
            else:
                self._mend_socket()
                self._mend_lock()
            if self.signalled and not self._ending:
                self.end()
            for child in self._children.values():
                self._changed |= child.notice(now)
            if not self._ending:
                self._let_leave(now)
            if self._changed:
                self._changed = False
                self._save()
                self._watch.judge(self._facts(now))
            if not self._ending:
                self._watch.turn(now, self._children, lambda: self._facts(time.monotonic()))
            if not self._lost:
                events.retry(self._directory)
                self._log.keep()
        self._clean_up()

    def end(self) -> None:
        """End all nodes, then return from `run`."""
        if not self._ending:
            self._ending = True
            self._tell("*", "going down", "stopping")
        for child in self._children.values():
            child.end(time.monotonic())

    def _follow(self, place: Path | None) -> None:
        """The directory was moved or deleted: the nodes would go on by paths at which another cluster may be by now. So it ends.

        Of a deleted one there is nothing left to name by which a person could end it. What is still to be written goes where the
        directory is. It is started there like any other cluster that was moved.
        """
        if self._lost or place == self._directory:
            return
        self._lost, self._directory = place is None, place or self._directory
        text = "was deleted or mounted over" if place is None else f"was moved to {place}"
        self._tell("*", f"the cluster's directory {text}: going down", "stopping")
        self.end()

    def _mend_socket(self) -> None:
        """Whoever tidies up may have removed its file, and then nobody can ask anything of this process."""
        try:
            if self._control.bind_again():
                self._log("WARN", "*", "the control socket's file was removed by somebody; it is made anew")
        except (OSError, ClusterError) as error:
            self._log.rarely("ERROR", "*", f"the control socket's file was removed by somebody, and cannot be made anew: {error}")

    def _mend_lock(self) -> None:
        """Whoever finds its file removed, or none that is held, would be a second supervisor of the same nodes."""
        try:
            if self._lock.take_again():
                self._log("WARN", "*", "supervisor.lock was removed or replaced by somebody; it is made anew")
        except OSError as error:
            self._log.rarely("ERROR", "*", f"supervisor.lock was removed by somebody, and cannot be made anew: {error.strerror}")

    def end_on_signals(self, *numbers: int) -> None:
        """These signals end the cluster in good order."""

        def note(number: int, _frame: object) -> None:
            self.signalled = number  # no more than that: it may come in the middle of a spawn

        for number in numbers:
            signal.signal(number, note)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only so that it wakes the loop
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    # --- the loop's parts -------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Adopt what runs, start the rest. Who was ended by hand stays so, unless nothing runs: then this is a new start."""
        now = time.monotonic()
        for name, identity in self._surviving.items():
            self._children[name].adopt(identity)
        for name, child in self._children.items():
            record = self._before.nodes.get(name)
            if name in self._surviving:
                continue
            if self._surviving and record and record.purpose:
                child.keep_away(record)
            else:
                child.spawn(now)
        self._save()

    def _tidy(self) -> None:
        """Finish what an earlier supervisor had begun with members that come or go."""
        try:
            for line in roster.tidy(self._cluster, self._directory):
                self._log("INFO", "*", f"no member any more: {line}")
        except OSError as error:
            self._log("ERROR", "*", f"cannot clear away what is left of former members: {error}")

    def _let_leave(self, now: float) -> None:
        """Members that have left the ring and hold nothing any more are ended, and then struck off."""
        for name in self._watch.departed():
            if name not in self._leaving:
                self._begin_to_leave(name, now)
        for name, at in list(self._leaving.items()):
            if now >= at and not self._children[name].runs:
                self._strike(name, now)

    def _begin_to_leave(self, name: str, now: float) -> None:
        self._leaving[name] = now
        self._tell(name, "left the cluster", "leaving")
        self._children[name].leave(now)

    def _strike(self, name: str, now: float) -> None:
        try:
            rest = roster.strike(self._cluster, self._directory, name)
        except OSError as error:
            self._leaving[name] = now + AGAIN_S
            self._log("ERROR", name, f"cannot be struck off: {error}")
            return
        del self._leaving[name], self._children[name]
        self._watch.members_changed()
        self._tell(name, f"no member any more; {rest}", "removed")

    def _apply_policy(self) -> None:
        for child in self._children.values():
            child.again = self._policy == "on-failure"
            child.restarts.first_s = self._restart_after_s

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for descriptor, also_write in self._control.descriptors():
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if also_write else 0))
        for child in self._children.values():
            if child.descriptor is not None:
                poll.register(child.descriptor, select.POLLIN)
        due = [at for name, at in self._leaving.items() if not self._children[name].runs]
        due += [at for child in self._children.values() if (at := child.next_due()) is not None]
        wait_s = min([self._watch.next_due, *due]) - time.monotonic()
        for descriptor, _ in poll.poll(max(0, int(wait_s * 1000) + 1)):
            if descriptor == self._wake.fileno():
                self._wake.recv(4096)
            else:
                self._control.serve(descriptor)

    def _facts(self, now: float) -> Facts:
        facts = Facts(supervisor_pid=os.getpid(), restart=self._policy, stopping=self._ending)
        facts.nodes = {name: child.fact(now) for name, child in self._children.items()}
        facts.events = list(self._events)
        self._watch.add_to(facts, now)
        return facts

    def _save(self) -> None:
        if self._lost:
            return
        document = state.StateFile(
            supervisor=processes.identify(os.getpid()),
            restart=self._policy,
            restart_after_s=self._restart_after_s,
            nodes={name: child.record() for name, child in self._children.items()},
        )
        try:
            document.save(self._directory)
        except OSError as error:  # a full disk: the processes can still be found by their command lines
            self._log("ERROR", "*", f"cannot write supervisor.json: {error}")

    def _clean_up(self) -> None:
        self._watch.close()
        self._control.close()
        if not self._lost:
            remove_sockets(self._directory, self._cluster)
            state.forget(self._directory)
        elif not os.path.lexists(self._directory):
            paths.remove_private(paths.runtime_dir(self._directory))
        signal.set_wakeup_fd(-1)
        self._wake.close()
        self._waker.close()
        self._log("INFO", "*", "down")
        self._place.close()

    def _tell(self, name: str, text: str, kind: str) -> None:
        self._changed = True
        event = Event(time.time(), name, text, kind)
        self._watch.heard(event)
        self._emit(event)

    def _emit(self, event: Event) -> None:
        """To the log, to whoever asks for facts, and to the stream that outlives this process."""
        self._events.append(event)
        self._log("WARN" if event.kind in _WARNINGS else "INFO", event.node, event.text)
        if not self._lost:
            events.append(self._directory, event.node, event.kind, event.text, at=event.at, **event.details)

    # --- what is asked over the control socket ----------------------------------------------------------------------------

    def _answer(self, request: Document) -> Document:
        verb = str(request.get("verb"))
        now = time.monotonic()
        for child in self._children.values():
            self._changed |= child.notice(now)
        if verb == "facts":
            facts = self._facts(now)
            return {
                "pid": facts.supervisor_pid,
                "restart": facts.restart,
                "stopping": facts.stopping,
                "degraded_s": facts.degraded_s,
                "events": [[event.at, event.node, event.text, event.kind] for event in facts.events],
                "nodes": {name: asdict(fact) for name, fact in facts.nodes.items()},
            }
        if self._ending and verb != "down":
            raise ClusterError("the cluster is going down")
        if verb == "down":
            running = [name for name, child in self._children.items() if child.runs]
            self.end()
            return {"pid": os.getpid(), "nodes": running}
        if verb == "up":
            return self._up(request, now)
        if verb == "enrol":
            return self._enrol(str(request.get("name")), now)
        if verb == "strike":
            return self._begin_to_strike(str(request.get("name")), now)
        action = _ACTIONS.get(verb)
        if action is None:
            raise ClusterError(f"unknown verb {verb!r}")
        return self._act(action, request, now)

    def _act(self, action: Callable[[Child, float], str], request: Document, now: float) -> Document:
        names = request.get("nodes")
        if not isinstance(names, list) or not names:
            raise ClusterError("which nodes?")
        for name in names:
            if not isinstance(name, str) or name not in self._children:
                raise ClusterError(f"no node {name!r}; there are {' '.join(self._children)}")
        outcome: dict[str, Any] = {}
        errors: list[str] = []
        for name in names:
            pid, at = self._children[name].pid, time.time()
            try:
                outcome[name] = {"done": True, "text": action(self._children[name], now), "pid": pid, "at": at}
            except ClusterError as error:
                outcome[name] = {"done": False, "text": str(error), "pid": pid, "at": at}
                errors.append(str(error))
            except OSError as error:
                raise ClusterError(f"{name}: {error}") from None
        self._changed = True
        if len(errors) == len(names):
            raise ClusterError("; ".join(errors))
        return {"nodes": outcome}

    def _enrol(self, name: str, now: float) -> Document:
        """Take a node in and start it; one that is in already is started if it does not run. What it owns the nodes decide."""
        if name in self._leaving:
            raise ClusterError(f"{name} is just leaving")
        if name in self._children:
            text = self._children[name].start(now)
        else:
            try:
                roster.check_name(name)
                if name in self._cluster.former:
                    raise ClusterError(f"{name} was a member before, and no name is used twice")
                roster.enrol(self._cluster, self._directory, name)
            except InvalidRequest as error:
                raise ClusterError(str(error)) from None
            except OSError as error:
                raise ClusterError(f"{name} cannot be taken in: {error}") from None
            self._watch.members_changed()
            child = self._children[name] = Child(self._directory, name, Restarts(), self._tell)
            self._apply_policy()
            child.spawn(now)
            text = f"started, pid {child.pid}" if child.runs else "cannot be started"
        self._changed = True
        return {"text": text, "pid": self._children[name].pid, "endpoint": self._cluster.members[name]}

    def _begin_to_strike(self, name: str, now: float) -> Document:
        """End a node that waits to be let in, and strike it off. A member of the ring leaves by decision of the nodes only."""
        child = self._children.get(name)
        if child is None:
            return {"done": True, "text": "is no member"}
        belongs = self._watch.belongs(name)
        if belongs is None:
            return {"done": False, "text": "no node has told yet who is a member of the ring"}
        if belongs:
            raise ClusterError(f"{name} is a member of the ring; to remove it: dynazmq cluster remove {name}")
        if name not in self._leaving:
            self._begin_to_leave(name, now)
        return {"done": True, "text": "is ended and struck off"}

    def _up(self, request: Document, now: float) -> Document:
        """`cluster up` on a cluster that runs: start those that died by themselves; who was ended by hand stays so.

        Unless nothing runs: then this is a new start.
        """
        if request.get("restart") in POLICIES:
            self._policy = str(request["restart"])
        if isinstance(request.get("restart_after_s"), (int, float)):
            self._restart_after_s = float(request["restart_after_s"])
        self._apply_policy()
        started = []
        all_ = not any(child.runs for child in self._children.values())
        for name, child in self._children.items():
            if not child.runs and (all_ or not child.record().purpose):
                child.start(now)
                started.append(name)
        self._changed = True
        return {"started": started}


_ACTIONS: dict[str, Callable[[Child, float], str]] = {
    "start": Child.start,
    "rebuild": Child.rebuild,
    "kill": Child.kill,
    "stop": Child.stop,
    "wipe": Child.wipe,
    "restart": Child.restart,
    "pause": Child.pause,
    "resume": Child.resume,
}


# --- the process ------------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    directory, policy, after_s, lock = Path(arguments[0]), arguments[1], arguments[2], int(arguments[3])
    os.set_inheritable(lock, False)  # it is ours, not our nodes'
    try:
        os.chdir(directory)  # by this it is known whose process it is (processes.py)
        supervisor = Supervisor(directory, policy or None, float(after_s) if after_s else None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        supervisor.end_on_signals(signal.SIGTERM, signal.SIGINT)
        supervisor.run()
    except (DynazmqError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    inherited.prepare()
    sys.exit(main(sys.argv[1:]))
