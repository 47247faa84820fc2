"""Checkpoints of the write-ahead log, so that it stays short (docs/decisions/0029).

A commit appends to the log; a checkpoint copies the log's pages into the database file; when all are copied the log can begin
anew, at its beginning. All of it goes by bytes: 64 rows may be a page or 64 MiB.

    used       how much of the log is in use                      0 ───── 4 ─────── 12 ─────── 24 ──────────── 56 MiB
    copied     by a thread of its own, beside the writer                  │ each 4 MiB
    restarted  by the writer, when little is left to be copied                      │ a restart
    waited     the writer waits a little for the thread at each commit                         │ a step
    refused    the writer waits as long as for a lock, then the commit fails                                  │ full

**Copying** 4 MiB takes 10 to 100 ms, in which the loop would stand still: so a thread does it over a connection of its own, with
Python's lock released. **A restart** needs a moment at which all is copied and nobody writes; so the writer itself does it, after
a commit, when little is left: 256 KiB at 12 MiB and more the longer the log is. A few milliseconds, each 12 MiB. The
file keeps its length: overwriting it costs two thirds of appending where each commit is synced, and elsewhere leaves 7 % more for
puts, since the file system has no new blocks to find and to clear.

**When the thread cannot keep up**, on a slow disk or under large values, the writer pays: from 24 MiB on each commit waits for
the thread before it begins, 20 ms at most, so that probes are still answered. What would make the log longer than 56 MiB waits
for 2 s, and then fails as it does when the disk is full: a node whose disk is so slow should take no more. `counts` says how
often.

**A reader who does not leave** keeps the log from beginning anew, and whoever looks must not stop a node (promise 8). So nobody
waits then and the log grows; `held` says so. Our own looks end soon (inspection.py).

**Never beside a restart.** Up to SQLite 3.51.2 a checkpoint that begins while another connection's commit begins the log anew can
mark pages as copied that are not, and acknowledged rows are lost (https://www.sqlite.org/wal.html, "The WAL-Reset Bug"). A commit
begins it anew only when all of it is copied. So the thread begins only if something was committed since it ended: then not all is
copied, whatever the writer does meanwhile. `data_version` of its own connection says so, exactly.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dynazmq.storage.files import Files

PAGE_BYTES = 4096
_FRAME_BYTES = PAGE_BYTES + 24


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of the log, in bytes."""

    look: int = 512 << 10  # so much is written between two looks at the log, by estimate
    copy: int = 4 << 20  # more than this is copied
    restart: int = 12 << 20  # seldom enough, and soon enough that most of the log's life it is overwritten
    slow: int = 24 << 20
    full: int = 56 << 20  # with what one turn may exceed its estimate by, 64 MiB are never passed
    little: int = 256 << 10  # the writer copies so much itself: 1 ms


_STEP_S = 0.02
"""How long a commit waits for the thread while the log is long: less than a peer's patience."""

_RETRY_S = 0.1
"""After a copy that failed, or a restart that somebody's reading prevented."""


class Checkpointer:
    """The writer's side: `make_room` before a commit, `written` after it. All else follows from how long the log is."""

    def __init__(
        self, path: Path, files: Files, writer: sqlite3.Connection, patience_s: float, lengths: Lengths | None = None
    ) -> None:
        """patience_s: how long a commit that finds the log full waits. Raises sqlite3.Error."""
        self._path = path
        self._files = files
        self._writer = writer
        self._patience_s = patience_s
        self._lengths = lengths or Lengths()
        self._copier = Copier(path)
        self._generation = b""  # of the log, as it was looked at last
        self._over = b""  # the one that a restart has ended: until the next commit the file still shows it
        self._copied_of = b""  # the one that is being copied
        self._copied = 0
        self._unseen = 0  # written since the log was looked at
        self._retry_at = 0.0
        self._reader = False  # prevented the last restart
        self._waits_told = 0
        self.log_bytes = 0  # in use; nearly, between two looks
        self.counts: Counter[str] = Counter()  # copies, restarts, waits, waited_ms, refused

    @property
    def held(self) -> bool:
        """Whether somebody's reading keeps the log from being copied or from beginning anew."""
        return self._reader or self._copier.held

    def close(self) -> None:
        """End the thread; the copy that it makes is finished first."""
        self._copier.close()

    def figures(self) -> dict[str, int]:
        """See `Storage.log_figures`."""
        counted = {name: self.counts[name] for name in ("copies", "restarts", "waits", "waited_ms", "refused")}
        return {"bytes": self.log_bytes, "held": int(self.held), **counted}

    def trouble(self) -> str:
        """See `Storage.trouble`."""
        waits, self._waits_told = self.counts["waits"] - self._waits_told, self.counts["waits"]
        if self.held and self.log_bytes > self._lengths.full:
            return f"somebody has been reading {self._path.name} for long: its log cannot begin anew and grows"
        if waits:
            return "the disk is slow: commits wait until the log is copied into the database"
        return ""

    def make_room(self, size: int) -> str:
        """Before a commit of about so many bytes: why there is no room for it, or "". May end the writer's reads."""
        if self.log_bytes + size <= self._lengths.slow:
            return ""
        self._look()
        if self.log_bytes + size <= self._lengths.slow or self.held:
            return ""
        full = self._is_full(size)
        begun = time.monotonic()
        self._copier.await_end(self._patience_s if full else _STEP_S)
        self._measure()
        if self._take() and (full or self._ready_to_restart()):
            self._restart()  # when full, whatever is left: it is no more than was written during one copy
        self.counts["waits"] += 1
        self.counts["waited_ms"] += round((time.monotonic() - begun) * 1000)
        if not full or self.held or not self._is_full(size):
            return ""
        self.counts["refused"] += 1
        why = self._copier.failed or "the disk is too slow"
        return f"{self.log_bytes:,} bytes of the log are not copied into the database: {why}"

    def _is_full(self, size: int) -> bool:
        # A turn that is too long by itself is stored where the log is short: to refuse it for ever would help nobody.
        return self.log_bytes + size > self._lengths.full and self.log_bytes > self._lengths.restart

    def written(self, size: int) -> None:
        """A commit has appended about so many bytes."""
        self.log_bytes += size
        self._unseen += size
        if self._unseen >= self._lengths.look or self._copier.ended:
            self._look()

    def _look(self) -> None:
        """How long the log is, and what is to be done about it."""
        lengths = self._lengths
        self._measure()
        now = time.monotonic()
        if not self._take() or now < self._retry_at:
            return
        left = self.log_bytes - self._copied
        if left < lengths.copy and self.log_bytes < lengths.restart:
            return
        if self._copier.failed or self.held:
            self._retry_at = now + _RETRY_S
        if self._ready_to_restart():
            self._restart()
        elif left > 0:
            self._copied_of = self._generation
            self._copier.begin()

    def _take(self) -> bool:
        """What came of the last copy; False when it is still being made."""
        if self._copier.working:
            return False
        if self._copier.ended:
            copied = self._copier.take()
            self.counts["copies"] += 1
            if self._copied_of == self._generation:
                self._copied = copied
        return True

    def _measure(self) -> None:
        self._unseen = 0
        try:
            generation, self.log_bytes = self._files.log_in_use()
        except OSError:
            return  # a disk that fails: commits will say so
        if generation == self._over:
            self.log_bytes = 0
        if generation != self._generation:
            self._generation, self._copied = generation, 0

    def _ready_to_restart(self) -> bool:
        """Whether the log may begin anew and so little is left that the writer copies it itself: 3 MiB where it is `slow`."""
        lengths = self._lengths
        little = max(lengths.little, (min(self.log_bytes, lengths.slow) - lengths.restart) // 4)
        return self.log_bytes >= lengths.restart and self.log_bytes - self._copied <= little

    def _restart(self) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute("COMMIT")  # what the turn has read so far
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error:
            # A full or failing disk: commits go into the log as long as they can and say what they cannot.
            self._retry_at = time.monotonic() + _RETRY_S
            return
        self._reader = bool(busy)
        if busy:
            self._retry_at = time.monotonic() + _RETRY_S
            return
        self._over = self._generation
        self.log_bytes = self._copied = 0
        self.counts["restarts"] += 1


class Copier:
    """A thread that copies the log as it is when it is told to begin. Told and asked by the writer alone."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error."""
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._seen = self._version()  # what was committed when the last copy had ended
        self._wake = threading.Event()
        self._end = threading.Condition()
        self._closing = False
        self._copied = 0
        self.working = False
        self.ended = False  # and nobody has taken what came of it
        self.held = False  # a reader keeps the copies from becoming complete
        self.failed = ""  # why the last copy did not succeed
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        self.working = True
        self._wake.set()

    def await_end(self, seconds: float) -> None:
        """Wait for the copy that is being made, if one is."""
        with self._end:
            self._end.wait_for(lambda: not self.working, max(seconds, 0.0))

    def take(self) -> int:
        """How many bytes of the log are in the database."""
        self.ended = False
        return self._copied

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                if self._closing:
                    return
                self._copy()
                with self._end:
                    self.ended = True  # before the next: who sees that it does not work any more looks for this
                    self.working = False
                    self._end.notify()
        finally:
            self._connection.close()

    def _copy(self) -> None:
        try:
            if self._version() == self._seen:
                return  # all may be copied, and then a commit may begin the log anew just now
            _, pages, copied = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._seen = self._version()
        except sqlite3.Error as error:
            # A full or failing disk: nothing is lost, the log is as durable as the file. It is tried again.
            self.failed = str(error)
        else:
            self.failed = ""
            # One that is not complete may have met the end of a commit, which holds what was there before it. Two that end at the
            # same place have met somebody who stays.
            self.held = copied < pages and copied * _FRAME_BYTES == self._copied
            self._copied = copied * _FRAME_BYTES

    def _version(self) -> int:
        """Another one whenever somebody else has committed."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
