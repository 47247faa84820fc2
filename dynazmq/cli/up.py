"""`cluster up`: in the background, in the foreground, or on a cluster that runs. A start that fails leaves nothing running."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq.cli import FAILED, INTERRUPTED, OK
from dynazmq.cli.asked import asked
from dynazmq.cli.progress import Report
from dynazmq.cli.terminal import note
from dynazmq.cluster import control, processes
from dynazmq.cluster.directory import creation, ownership
from dynazmq.cluster.directory.creation import Wishes
from dynazmq.cluster.operations import copies, launch
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster
from dynazmq.home import is_homeless
from dynazmq.paths import ClusterFile, has_cluster, is_meant, where


@dataclass(slots=True, kw_only=True)
class Start:
    """One `cluster up`."""

    directory: Path
    wishes: Wishes
    policy: str | None
    restart_after_s: float | None
    timeout_s: float
    as_json: bool = False
    wait: bool = True
    identity: str | None = None
    """new | same: what becomes of a copy."""
    began: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        return self.began + self.timeout_s


def run(start: Start, *, foreground: bool, tui: bool) -> int:
    if start.policy not in (None, "on-failure", "never"):
        raise InvalidRequest(f"--restart is on-failure or never, not {start.policy!r}")
    if foreground and tui:
        raise InvalidRequest("--foreground and --tui both want this terminal: choose one")
    ownership.check_own(start.directory)
    if has_cluster(start.directory):
        creation.agree(ClusterFile.load(start.directory), start.wishes, new_identity=start.identity == "new")
    elif start.identity is not None:
        raise InvalidRequest(f"--identity is for a copy of a cluster, and there is none in {start.directory}")
    else:
        creation.check(start.directory, start.wishes)
    held = launch.lock_or_supervisor(start.directory, start.deadline)
    if held is None:
        if foreground:
            raise ClusterError(f"the cluster in {start.directory} has a supervisor already; stop it with: dynazmq down")
        code = _join_running(start)
    else:
        cluster = _open(start, held)
        asked(start.directory)
        if foreground:
            return _in_foreground(start, cluster, held)
        code = _in_background(start, cluster, held)
    if tui and code == OK:
        from dynazmq.tui import run_tui
        from dynazmq.tui.settings import Settings

        return run_tui(start.directory, Settings())
    return code


def _open(start: Start, held: int) -> ClusterFile:
    """Create the cluster, or open the one that is there."""
    try:
        # The directory may have been deleted under processes that still run, and another been put in its place: made anew, or
        # restored from a copy. They would answer instead of the new ones, and a supervisor would start them again.
        exists = has_cluster(start.directory)
        left = processes.left_behind(start.directory) if exists else processes.strangers(start.directory)
        if left:
            processes.end_all({name: each for name, each in left.items() if name.startswith("supervisor ")})
            processes.end_all(left)
            note(f"  ended {' '.join(sorted(left))}, left from a cluster that was here before")
        if not exists:
            if is_homeless() and is_meant(start.directory) and not os.environ.get("DYNAZMQ_DIR"):
                note(f"  no home directory is known: the cluster is made in {start.directory}")
            return creation.create(start.directory, start.wishes)
        copies.settle(start.directory, start.identity, start.wishes.name)
        start.wishes.name = None  # a copy has its name now
        return creation.reopen(start.directory, start.wishes)
    except BaseException:
        os.close(held)
        raise


def _in_background(start: Start, cluster: ClusterFile, held: int) -> int:
    adopted = sorted(processes.find_nodes(start.directory, cluster.members))
    try:
        process = launch.start_supervisor(start.directory, held, start.policy, start.restart_after_s)
    finally:
        os.close(held)  # the supervisor has it now
    report = Report(start, cluster, adopted=adopted, supervisor=process)
    try:
        facts = launch.await_supervisor(start.directory, process, start.deadline)
        report.head()
        if not start.wait:
            return report.not_waited(facts)
        code = report.follow()
        if code != OK:
            report.take_back()
        return code
    except KeyboardInterrupt:
        note("  interrupted")
        report.take_back()
        return INTERRUPTED
    except Exception:  # whatever it was: nothing is left running that nobody knows of
        report.take_back()
        raise


def _join_running(start: Start) -> int:
    """The cluster has a supervisor already: start what died."""
    if start.identity is not None:
        raise InvalidRequest(f"--identity is for a copy that does not run, and the cluster in {start.directory} runs")
    cluster = _await_file(start)
    creation.agree(cluster, start.wishes)
    if start.wishes.anti_entropy not in (None, cluster.anti_entropy):
        raise InvalidRequest(
            f"anti-entropy is {cluster.anti_entropy} and switched when nodes start: dynazmq down{where(start.directory)} first; "
            "to hold it for a while: dynazmq aae pause"
        )
    asked(start.directory)
    started = control.call(start.directory, "up", restart=start.policy, restart_after_s=start.restart_after_s)["started"]
    report = Report(start, cluster, running=True, started=started)
    report.head()
    return report.follow() if start.wait else report.not_waited(control.call(start.directory, "facts"))


def _await_file(start: Start) -> ClusterFile:
    """Another `cluster up` may be creating it just now."""
    while True:
        try:
            return ClusterFile.load(start.directory)
        except NoSuchCluster:
            if time.monotonic() >= start.deadline:
                raise
            time.sleep(launch.POLL_S)


def _in_foreground(start: Start, cluster: ClusterFile, held: int) -> int:
    """This process is the supervisor; another thread watches the start, as `up` does from outside."""
    from dynazmq.cluster.supervisor.supervisor import Supervisor

    os.chdir(start.directory)  # by this it is known whose process it is (cluster/processes.py)
    codes: list[int] = []
    bugs: list[Exception] = []
    supervisor = Supervisor(start.directory, start.policy, start.restart_after_s)
    supervisor.end_on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def watch() -> None:
        try:
            launch.await_supervisor(start.directory, None, start.deadline)
            report = Report(start, cluster, attached=True)
            report.head()
            codes.append(report.follow() if start.wait else OK)
        except ClusterError as error:
            if not supervisor.signalled:
                note(f"  {error}")
            codes.append(FAILED)
        except Exception as error:  # the edge of this thread: the cluster must not stay up behind it
            bugs.append(error)
        if codes != [OK]:
            try:
                control.call(start.directory, "down")
            except ClusterError:
                pass  # it is going down already

    watcher = threading.Thread(target=watch, name="up", daemon=True)
    watcher.start()
    supervisor.run()
    os.close(held)
    if bugs:
        raise bugs[0]
    if supervisor.signalled:
        return INTERRUPTED if supervisor.signalled == signal.SIGINT else OK
    watcher.join(2.0)
    return codes[0] if codes else OK
