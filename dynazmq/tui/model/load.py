"""The load behind the B key: a steady stream of puts and gets that remembers what was acknowledged, and later looks for it.

Without load nothing moves on the screen, and without memory nobody could say that nothing was lost. Each worker thread has keys
of its own, so nobody but it writes them: its numbers only grow, and a key is intact if any sibling has the number that was
last acknowledged, or a later one (a put that timed out may have been stored all the same).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

PUTS_PER_S = 200
GETS_PER_S = 200
CHECKS_PER_S = 2_000
CHECKED_AT_ONCE = 40
KEYS_MAX = 20_000
WORKERS = 3
BUCKET = "load"
TIMEOUT_S = 2.0
RECONNECT_S = 1.0
GAPS_MAX = 600
LATENCY_S = 5.0
"""p99 is that of the last five seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Reading all acknowledged writes again, after a recovery."""

    after: float  # which recovery: when it converged
    total: int
    checked: int = 0
    lost: int = 0
    unread: int = 0  # could not be read at all
    lost_keys: tuple[str, ...] = ()  # some of them

    @property
    def done(self) -> bool:
        return self.checked + self.unread >= self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStats:
    """What the load has seen; counts since this console was opened."""

    running: bool = False
    puts_ok: int = 0
    puts_failed: int = 0
    gets_ok: int = 0
    gets_failed: int = 0
    put_p99_ms: float | None = None
    get_p99_ms: float | None = None
    last_error: str = ""  # the class's name
    gaps: tuple[tuple[float, float], ...] = ()  # (wall clock, longest time without an acknowledged put that ended then)
    acked: int = 0  # keys with an acknowledged write
    check: Check | None = None


@dataclass(slots=True)
class _Key:
    """One key of a worker. `context` is None when what is stored is not known: the next put reads first."""

    acked: int = 0  # number of the last write that was acknowledged
    context: Any = None


@dataclass(slots=True)
class _Tally:
    """One worker's figures; only its own thread changes them."""

    puts_ok: int = 0
    puts_failed: int = 0
    gets_ok: int = 0
    gets_failed: int = 0
    last_error: tuple[float, str] = (0.0, "")
    puts_s: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=5_000))  # (when, seconds)
    gets_s: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=5_000))


class Load:
    """`start` and `stop` as often as wanted; what was acknowledged stays remembered from one to the next."""

    def __init__(
        self,
        directory: Path,
        *,
        connect: Callable[[Path], Any] | None = None,
        puts_per_s: float = PUTS_PER_S,
        gets_per_s: float = GETS_PER_S,
        keys: int = KEYS_MAX,
        workers: int = WORKERS,
    ) -> None:
        self._directory = directory
        self._connect = connect or _connect
        self._per_worker = (puts_per_s / workers, gets_per_s / workers)
        self._sizes = [keys // workers] * workers
        self._gaps = _Gaps()
        self._workers = self._employ()
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._trouble = ""

    @property
    def running(self) -> bool:
        return bool(self._threads) and not self._stop.is_set()

    def start(self) -> None:
        if self.running:
            return
        self.stop()
        self._stop = threading.Event()
        self._gaps.restart()
        self._threads = [
            threading.Thread(target=self._run, args=(worker, self._stop), name=f"load-{worker.prefix}", daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, wait_s: float = TIMEOUT_S + 1) -> None:
        """Wait for the operations under way, but not longer than `wait_s` in all."""
        self._stop.set()
        deadline = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []

    def begin_anew(self) -> None:
        """In another cluster: what was acknowledged by the one before is not looked for there."""
        running = self.running
        self.stop(0.0)  # who is still at it writes under names of his own
        self._gaps = _Gaps()
        self._workers = self._employ()
        if running:
            self.start()

    def _employ(self) -> list[_Worker]:
        run = secrets.token_hex(4)  # another console's load has other keys
        return [_Worker(f"{run}-{index}", keys, self._gaps.acknowledged) for index, keys in enumerate(self._sizes)]

    def check(self, after: float) -> None:
        """Begin to read all acknowledged writes; `after` says of which recovery. Goes on beside the load."""
        for worker in self._workers:
            worker.wanted_check = after

    def stats(self) -> LoadStats:
        tallies = [worker.tally for worker in self._workers]
        checks = [worker.progress for worker in self._workers]
        return LoadStats(
            running=self.running,
            puts_ok=sum(tally.puts_ok for tally in tallies),
            puts_failed=sum(tally.puts_failed for tally in tallies),
            gets_ok=sum(tally.gets_ok for tally in tallies),
            gets_failed=sum(tally.gets_failed for tally in tallies),
            put_p99_ms=_p99_ms([tally.puts_s for tally in tallies]),
            get_p99_ms=_p99_ms([tally.gets_s for tally in tallies]),
            last_error=self._trouble or max(tally.last_error for tally in tallies)[1],
            gaps=self._gaps.seen(self.running),
            acked=sum(worker.acked for worker in self._workers),
            check=_together([check for check in checks if check is not None]),
        )

    def _run(self, worker: _Worker, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with self._connect(self._directory) as client:
                    self._trouble = ""
                    worker.run(client.bucket(BUCKET), stop, *self._per_worker)
            except Exception as error:  # the edge of a thread: whatever it is, the console must say it and go on
                self._trouble = type(error).__name__
                worker.tally.puts_failed += 1
                stop.wait(RECONNECT_S)


class _Gaps:
    """How long no put was acknowledged to any worker: for each second that had one, the longest gap that ended in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._longest: deque[tuple[float, float]] = deque(maxlen=GAPS_MAX)
        self._last: float | None = None

    def restart(self) -> None:
        with self._lock:
            self._last = time.time()

    def acknowledged(self) -> None:
        now = time.time()
        with self._lock:
            gap = now - self._last if self._last is not None else 0.0
            self._last = now
            if self._longest and int(self._longest[-1][0]) == int(now):
                gap = max(gap, self._longest.pop()[1])
            self._longest.append((now, gap))

    def seen(self, running: bool) -> tuple[tuple[float, float], ...]:
        """Those of the last minutes, with the one that has not ended yet."""
        now = time.time()
        with self._lock:
            going_on = ((now, now - self._last),) if running and self._last is not None else ()
            return (*self._longest, *going_on)


class _Worker:
    def __init__(self, prefix: str, keys: int, acknowledged: Callable[[], None]) -> None:
        self.prefix = prefix
        self.tally = _Tally()
        self.acked = 0
        self.progress: Check | None = None
        self.wanted_check: float | None = None  # set by others; all else here belongs to the worker's thread
        self._acknowledged = acknowledged
        self._keys = [_Key() for _ in range(max(1, keys))]
        self._number = 0
        self._next_put = 0
        self._next_get = 0
        self._to_check: deque[tuple[int, int]] = deque()  # (key, its last acknowledged number when the check began)

    def run(self, bucket: Any, stop: threading.Event, puts_per_s: float, gets_per_s: float) -> None:
        """Puts and gets, each at its own pace; checks in the time that is left. What was late is not made up for."""
        now = time.monotonic()
        due = {"put": now, "get": now, "check": now}
        every = {"put": 1 / puts_per_s, "get": 1 / gets_per_s, "check": WORKERS * CHECKED_AT_ONCE / CHECKS_PER_S}
        act = {"put": self._put, "get": self._get, "check": self._check}
        while not stop.is_set():
            if self.wanted_check is not None:
                self._begin_check(self.wanted_check)
            wanted = [name for name in due if name != "check" or self._to_check]
            name = min(wanted, key=lambda each: due[each])
            wait = due[name] - time.monotonic()
            if wait > 0.001 and stop.wait(wait):
                return
            due[name] = max(due[name] + every[name], time.monotonic() - 0.1)
            act[name](bucket)

    def _begin_check(self, after: float) -> None:
        self.wanted_check = None
        todo = deque((index, key.acked) for index, key in enumerate(self._keys) if key.acked)
        self.progress = Check(after=after, total=len(todo))
        self._to_check = todo

    def _name(self, index: int) -> str:
        return f"{self.prefix}-{index}"

    def _put(self, bucket: Any) -> None:
        index, key = self._next_put, self._keys[self._next_put]
        self._next_put = (index + 1) % len(self._keys)
        self._number += 1
        number = self._number
        began = time.monotonic()
        try:
            if key.context is None:
                key.context = bucket.get(self._name(index), timeout=TIMEOUT_S, best_effort=True).context
            began = time.monotonic()
            done = bucket.put(self._name(index), str(number).encode(), context=key.context, timeout=TIMEOUT_S)
        except Exception as error:
            key.context = None
            self.tally.puts_failed += 1
            self._failed(error)
            return
        self.tally.puts_s.append((began, time.monotonic() - began))
        self.tally.puts_ok += 1
        self._acknowledged()
        self.acked += key.acked == 0
        key.acked, key.context = number, done.context

    def _get(self, bucket: Any) -> None:
        index = self._next_get % len(self._keys)
        self._next_get = index + 7 if index + 7 < max(8, self.acked) else (index + 7) % 7
        began = time.monotonic()
        try:
            bucket.get(self._name(index), timeout=TIMEOUT_S)
        except Exception as error:
            self.tally.gets_failed += 1
            self._failed(error)
            return
        self.tally.gets_s.append((began, time.monotonic() - began))
        self.tally.gets_ok += 1

    def _check(self, bucket: Any) -> None:
        """Some keys at once: it shall be over in seconds, also where one read takes long."""
        progress = self.progress
        assert progress is not None
        some = [self._to_check.popleft() for _ in range(min(CHECKED_AT_ONCE, len(self._to_check)))]
        try:
            found = bucket.get_many([self._name(index) for index, _ in some], timeout=TIMEOUT_S)
        except Exception as error:
            self._failed(error)
            self.progress = replace(progress, unread=progress.unread + len(some))
            return
        for index, acked in some:
            progress = self._judged(progress, index, acked, found[self._name(index)])
        self.progress = progress

    def _judged(self, progress: Check, index: int, acked: int, result: Any) -> Check:
        try:
            intact = any(int(value) >= acked for value in result.values)
        except (AttributeError, TypeError, ValueError):  # it could not be read: there is an error instead of a result
            self._failed(result)
            return replace(progress, unread=progress.unread + 1)
        return replace(
            progress,
            checked=progress.checked + 1,
            lost=progress.lost + (not intact),
            lost_keys=progress.lost_keys if intact else (*progress.lost_keys, self._name(index))[:10],
        )

    def _failed(self, error: Exception) -> None:
        self.tally.last_error = (time.monotonic(), type(error).__name__)


def _connect(directory: Path) -> Any:
    return import_module("dynazmq").connect(dir=directory, timeout=TIMEOUT_S)  # the client is needed only once there is load


def _p99_ms(samples: list[deque[tuple[float, float]]]) -> float | None:
    since = time.monotonic() - LATENCY_S
    took = sorted(seconds for each in samples for when, seconds in tuple(each) if when >= since)
    return took[min(len(took) - 1, len(took) * 99 // 100)] * 1000 if took else None


def _together(checks: list[Check]) -> Check | None:
    if not checks:
        return None
    return Check(
        after=checks[0].after,
        total=sum(check.total for check in checks),
        checked=sum(check.checked for check in checks),
        lost=sum(check.lost for check in checks),
        unread=sum(check.unread for check in checks),
        lost_keys=tuple(key for check in checks for key in check.lost_keys)[:10],
    )
