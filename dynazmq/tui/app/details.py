"""The thread that fetches what a screen shows beyond the model: a node's own account, its settings, logs, a key's versions.

It has its own lines to the nodes and its own pace: one that does not answer delays this screen's figures, and no frame.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dynazmq import paths
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.paths import ClusterFile
from dynazmq.tui.panels.node_view import Line
from dynazmq.tui.panels.views import FETCHED, OVERVIEW, Detail, View

EVERY_S = 1.0
ANSWER_S = 0.5
LINES_MAX = 2_000
"""So many of the last lines of all logs are kept."""


class Source(Protocol):
    """Where details come from: `Fetcher`, or a test's."""

    def fetch(self, view: View) -> Detail: ...

    def close(self) -> None: ...


class Details:
    def __init__(self, source: Source, show: Callable[[Detail], None]) -> None:
        self._source = source
        self._show = show
        self._view = OVERVIEW
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="details", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look_at(self, view: View) -> None:
        if (view.kind, view.subject, view.bucket) != (self._view.kind, self._view.subject, self._view.bucket):
            self._view = view
            self._wake.set()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        shown: Detail | None = None
        while not self._stopped.is_set():
            view = self._view
            self._wake.clear()
            if view.kind in FETCHED:
                detail = self._fetch(view)
                if detail != shown and view == self._view:
                    self._show(detail)
                    shown = detail
            self._wake.wait(EVERY_S if view.kind in FETCHED else None)
        self._source.close()

    def _fetch(self, view: View) -> Detail:
        try:
            return self._source.fetch(view)
        except DynazmqError as error:
            said = str(error)
        except Exception as error:  # the edge of a thread: without it the screen would stand still and nobody knew why
            said = f"cannot look at it: {type(error).__name__}: {error}"
        return Detail(kind=view.kind, subject=view.subject, error=said)


class Fetcher:
    """For one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._asker: Any = None
        self._client: Any = None
        self._logs = Logs(directory)
        self._logs_of = ""

    def fetch(self, view: View) -> Detail:
        if self._logs_of != f"{view.kind} {view.subject}":
            self._logs, self._logs_of = Logs(self._directory), f"{view.kind} {view.subject}"
        if view.kind == "logs":
            return Detail(kind="logs", logs=self._logs.read(view.subject.split()))
        return self._node(view.subject) if view.kind == "node" else self._key(view)

    def close(self) -> None:
        for each in (self._asker, self._client):
            if each is not None:
                each.close()

    def _node(self, name: str) -> Detail:
        from dynazmq.cluster.observe.asking import Asker

        cluster = ClusterFile.load(self._directory)
        if self._asker is None:
            self._asker = Asker(cluster.cluster_id, cluster.members)
        self._asker.follow(cluster.members)
        answers = self._asker.gather([name], time.monotonic() + ANSWER_S, rings=False) if name in cluster.members else {}
        document = answers[name].status if name in answers else {}
        return Detail(kind="node", subject=name, document=document, settings=self._settings(name), logs=self._logs.read([name]))

    def _settings(self, name: str) -> dict[str, Any]:
        try:
            config = paths.load_node_config(paths.config_path(self._directory, name))
        except (ClusterError, OSError):
            return {}
        return {"N": config.n, "R": config.r, "W": config.w, "partitions": config.partitions, "sync": config.sync,
                "value_bytes_max": config.max_value_bytes, "data_dir": config.data_dir}  # fmt: skip

    def _key(self, view: View) -> Detail:
        if self._client is None:
            self._client = import_module("dynazmq").connect(dir=self._directory, timeout=ANSWER_S)
        found = self._client.bucket(view.bucket).explain(view.subject)
        return Detail(kind="key", subject=view.subject, explained=found)


class Nothing:
    """The source for a replay: what a screen shows beyond the model was not recorded."""

    def fetch(self, view: View) -> Detail:
        return Detail(kind=view.kind, subject=view.subject, error="this is not in a recording")

    def close(self) -> None:
        pass


class Logs:
    """The ends of all logs, merged by time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tails: dict[str, Any] = {}
        self._lines: dict[str, deque[Any]] = {}

    def read(self, names: list[str]) -> tuple[Line, ...]:
        """Of these, of all if none is named. Members that come are read from their beginning."""
        from dynazmq.cli.logs import SUPERVISOR, Tail, merge, path_of, shown

        for name in names or [*ClusterFile.load(self._directory).members, SUPERVISOR]:
            if name not in self._tails:
                self._tails[name] = Tail(name, path_of(self._directory, name))
                self._lines[name] = deque(maxlen=LINES_MAX)
            self._lines[name].extend(self._tails[name].read())
        merged = merge([list(lines) for lines in self._lines.values()])[-LINES_MAX:]
        return tuple(Line(said.node, shown(said), said.level) for said in merged)
