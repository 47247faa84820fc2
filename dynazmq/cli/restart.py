"""`cluster restart`: `down` and `up` in one, the supervisor included, with the same settings; or, rolling, node after node."""

from __future__ import annotations

from pathlib import Path

from dynazmq.cli import up
from dynazmq.cli.asked import asked
from dynazmq.cli.rolling import run_rolling
from dynazmq.cli.terminal import say
from dynazmq.cli.words import many
from dynazmq.cluster.directory.creation import Wishes
from dynazmq.cluster.directory.state import StateFile, alone
from dynazmq.cluster.operations import launch
from dynazmq.errors import ClusterError
from dynazmq.paths import ClusterFile, node_dir, where
from dynazmq.storage.health import refusal


def run(directory: Path, timeout_s: float, *, rolling: bool, as_json: bool) -> int:
    members = ClusterFile.load(directory).members  # one that could not be started again is not ended
    for place in (directory, *(node_dir(directory, name) for name in members)):
        if refused := refusal(place):
            why = f"nothing can be written in {place} ({refused.strerror}): no node could start again there, so nothing was ended"
            raise ClusterError(f"{why}; to end it: dynazmq down{where(directory)}")
    with alone(directory):
        return run_rolling(directory, timeout_s, as_json) if rolling else _all_at_once(directory, timeout_s, as_json)


def _all_at_once(directory: Path, timeout_s: float, as_json: bool) -> int:
    asked(directory)
    before = StateFile.load(directory)  # `down` forgets it
    ended = launch.end_cluster(directory)
    if not as_json:
        say(f"stopped {many(len(ended.nodes), 'node')}" if ended.was_running else "it was not running")
    wishes, after_s = Wishes(), before.restart_after_s
    start = up.Start(
        directory=directory, wishes=wishes, policy=before.restart, restart_after_s=after_s, timeout_s=timeout_s, as_json=as_json
    )
    return up.run(start, foreground=False, tui=False)
