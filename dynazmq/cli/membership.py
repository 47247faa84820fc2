"""`cluster add`, `remove`, `plan`, `commit`, `clear`: who belongs to the cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dynazmq.cli import INTERRUPTED, OK
from dynazmq.cli.asked import asked
from dynazmq.cli.clusters import running
from dynazmq.cli.planned import document, lines, staged_document, wish
from dynazmq.cli.terminal import DIM, confirm, emit, note, paint, say
from dynazmq.cli.words import choose, many
from dynazmq.cluster import control
from dynazmq.cluster.directory import staging
from dynazmq.cluster.directory.orphans import anybody_runs, unsupervised
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.directory.state import alone
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile, where

_PATIENCE_S, _POLL_S = 5.0, 0.1


def add(
    directory: Path,
    name: str | None,
    *,
    weight: float | None,
    replaces: str | None,
    force: bool,
    without_quorum: bool = False,
    yes: bool = False,
    as_json: bool,
    quiet: bool = False,
) -> int:
    """Stage one more member, or that one stays whose removal was decided. Raises InvalidRequest."""
    cluster = ClusterFile.load(directory)
    if without_quorum and not replaces:
        raise InvalidRequest("--without-quorum is about the member that is replaced: it goes with --replace")
    with alone(directory):
        staged = Staged.load(directory)
        removing = _removing(directory, cluster) if name in cluster.members else []
        name = staging.stage_add(
            staged, cluster, directory, name, weight=weight, replaces=replaces, sure=force, without_quorum=without_quorum,
            removing=removing,
        )  # fmt: skip
        if without_quorum and replaces:
            _confirm_alone([replaces], yes)
        if replaces and not force and (how := _runs(directory, cluster, replaces)):
            raise InvalidRequest(
                f"{replaces} {how}: --replace is for a node that is gone for good. To let it hand over its data: dynazmq cluster "
                f"remove {replaces}; to give it up all the same: --force"
            )
        staged.save(directory)
    asked(directory, [staged.changes[-1].name])
    return _staged(directory, staged, as_json, quiet)


def remove(
    directory: Path,
    patterns: Sequence[str],
    *,
    at_random: bool,
    force: bool,
    without_quorum: bool = False,
    yes: bool,
    as_json: bool,
    quiet: bool = False,
) -> int:
    """Stage that members leave: all of those named, or none. Raises InvalidRequest."""
    cluster = ClusterFile.load(directory)
    if without_quorum and not force:
        raise InvalidRequest("--without-quorum is about who is removed by force: it goes with --force")
    names = choose(patterns, list(cluster.members), all_=False, at_random=at_random)
    with alone(directory):
        staged = Staged.load(directory)
        for name in names:
            how = ""
            staging.stage_remove(staged, cluster, name, force=force, sure=False, without_quorum=without_quorum)
            if force and (how := _runs(directory, cluster, name)):
                staged.changes.pop()
                confirm(f"{name} {how}, and without --force it would hand over its data first. Give up what only it holds?", yes)
                staging.stage_remove(staged, cluster, name, force=True, sure=True, without_quorum=without_quorum)
        if without_quorum:
            _confirm_alone(names, yes)
        staged.save(directory)
    asked(directory, names)
    return _staged(directory, staged, as_json, quiet, len(names))


def _confirm_alone(names: Sequence[str], yes: bool) -> None:
    who = f"{' '.join(names)} {'is' if len(names) == 1 else 'are'}"
    confirm(
        f"{who} expelled without the consent of a majority of the members. If any of them lives and goes on there will be two "
        "clusters, and one of them, with what was written to it, is given up when they meet. Are they lost for good?",
        yes,
    )


def _removing(directory: Path, cluster: ClusterFile) -> list[str]:
    """Members of whom it was decided that they shall be none any more."""
    if not anybody_runs(directory, cluster.members):
        return []
    from dynazmq.cluster.observe.observe import PATIENT_S, Observer
    from dynazmq.cluster.operations.members import ask
    from dynazmq.dynamo.membership.change import IN

    with Observer(directory) as observer:
        known = ask(observer, observer.look(PATIENT_S, facts_timeout=PATIENT_S))
    return [name for name, intent in known.intents.items() if intent.kind != IN and name in known.ring.members]


def _staged(directory: Path, staged: Staged, as_json: bool, quiet: bool, new: int = 1) -> int:
    if as_json and not quiet:
        emit("staged", {"staged": [staged_document(change) for change in staged.changes]})
    elif not as_json:
        for change in staged.changes[-new:]:
            say(f"staged  {wish(change)}")
        if not quiet:
            rest = len(staged.changes) - new
            before = f"with {many(rest, 'change')} before    " if rest else ""
            say(f"    {before}{_next(directory, 'plan')}")
    return OK


def _next(directory: Path, verb: str) -> str:
    return f"{paint('next', DIM)}  dynazmq cluster {verb}{where(directory)}"


def _runs(directory: Path, cluster: ClusterFile, name: str) -> str:
    """ "is up", "is paused" …; "" when it has no process."""
    if not anybody_runs(directory, cluster.members):
        return ""
    from dynazmq.cluster.observe.observe import PATIENT_S, observe

    nodes = {node.name: node for node in observe(directory, PATIENT_S).nodes}
    return f"is {nodes[name].state}" if name in nodes and nodes[name].pid is not None else ""


def plan(directory: Path, as_json: bool) -> int:
    """Show what is staged, and remember for which ring it was shown."""
    running(directory)
    from dynazmq.cluster.observe.observe import Observer
    from dynazmq.cluster.operations.members import plan_of

    with Observer(directory) as observer, alone(directory):
        staged = Staged.load(directory)
        shown, _, left = plan_of(observer, staged)
        if staged.changes:
            staged.planned = shown.ring.digest().hex()
            staged.save(directory)
    if as_json:
        emit("plan", document(shown, left))
    else:
        for line in lines(shown, left):
            say(line)
        if shown.refusal:
            note(f"    {_next(directory, 'clear')}")
        elif left.changes:
            say(f"    {_next(directory, 'commit')}")
        else:
            say(f"    {_next(directory, 'add | remove NAME')}")
    if shown.refusal and left.changes:
        raise InvalidRequest(f"this cannot be done: {shown.refusal}")
    return OK


def commit(directory: Path, *, wait: bool, timeout_s: float, as_json: bool) -> int:
    """Carry out what is staged, and watch it; or watch what is under way already."""
    running(directory)
    from dynazmq.cli.change import Report
    from dynazmq.cluster.observe.observe import Observer
    from dynazmq.cluster.operations import members

    report = Report(directory, as_json)
    deadline = time.monotonic() + timeout_s
    with Observer(directory) as observer:
        try:
            with alone(directory):
                staged = Staged.load(directory)
                planned, known, left = members.plan_of(observer, staged)
                report.begin(planned, staged, left)
                _check(observer, planned, left)
                if left.changes:
                    asked(directory)
                    for step in members.commit(observer, planned, known, left, deadline):
                        if isinstance(step, members.Late):
                            return report.late(step, timeout_s)
                        report.step(step)
                elif staged.changes:  # it was decided, and the command ended before it could say so
                    staging.clear(directory)
            if not wait:
                return report.not_waited()
            begun = planned.ring.version if left.changes else None
            for step in members.follow(observer, deadline, begun):
                if isinstance(step, members.Late):
                    return report.late(step, timeout_s)
                report.step(step)
            return report.done()
        except KeyboardInterrupt:
            report.interrupted()
            return INTERRUPTED


def _check(observer: object, planned: object, left: Staged) -> None:
    """Whether this may be carried out now."""
    from dynazmq.cluster.observe.observe import Observer
    from dynazmq.cluster.operations.plan import Plan

    assert isinstance(observer, Observer)
    assert isinstance(planned, Plan)
    if left.changes and left.planned not in ("", planned.ring.digest().hex()):
        raise ClusterError("the ring is another one than the plan was shown for; look at it again: dynazmq cluster plan")
    if left.changes and planned.refusal:
        raise InvalidRequest(f"this cannot be done: {planned.refusal}; drop it with: dynazmq cluster clear")
    if observer.last_facts.supervisor_pid is None:
        raise ClusterError(unsupervised(observer.directory, where(observer.directory)))
    for name, gone in left.removed.items():
        fact = observer.last_facts.nodes.get(name)
        if gone and name not in left.gone_for_sure and fact is not None and fact.pid is not None:
            raise InvalidRequest(f"{name} runs again, and was to be given up; start anew with: dynazmq cluster clear")


def clear(directory: Path, as_json: bool) -> int:
    """Drop what is staged; nodes that were started for it and are not let in yet are ended."""
    cluster = ClusterFile.load(directory)
    with alone(directory):
        try:
            staged = Staged.load(directory)
        except ClusterError:
            staged = Staged()
        asked(directory)
        waiting = [change.name for change in staged.added if change.name in cluster.members]
        if waiting and not anybody_runs(directory, cluster.members):
            raise ClusterError(f"{' '.join(waiting)} must be ended again, by a supervisor; first: dynazmq up{where(directory)}")
        ended = _end_waiting(directory, waiting) if waiting else []
        staging.clear(directory)
    if as_json:
        emit("staged", {"staged": [], "dropped": [staged_document(change) for change in staged.changes], "ended": ended})
    else:
        for change in staged.changes:
            say(f"dropped  {wish(change)}" + ("; its process is ended" if change.name in ended else ""))
        if not staged.changes:
            say("nothing is staged")
    return OK


def _end_waiting(directory: Path, names: list[str]) -> list[str]:
    """Those of them that the nodes have not let in."""
    from dynazmq.cluster.observe.observe import PATIENT_S, Observer
    from dynazmq.cluster.operations.members import ask
    from dynazmq.dynamo.membership.change import IN

    with Observer(directory) as observer:
        known = ask(observer, observer.look(PATIENT_S, facts_timeout=PATIENT_S))
    let_in = {name for name, intent in known.intents.items() if intent.kind == IN} | set(known.ring.members)
    names = [name for name in names if name not in let_in]
    deadline = time.monotonic() + _PATIENCE_S
    for name in names:
        while not (reply := control.call(directory, "strike", name=name))["done"]:  # a supervisor that has just begun
            if time.monotonic() >= deadline:
                raise ClusterError(f"{name} still runs: {reply['text']}")
            time.sleep(_POLL_S)
    return names
