"""The process of the abuse, from outside: it is started, listened to, and told to end."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

from dynazmq.cluster.processes import environment

_END_S = 15.0  # so long a busy machine may take
_WORDS_MAX = 2_000


class Beside:
    """tally: what it has tried so far (tally.py)."""

    def __init__(self, directory: Path, seed: int, seconds: float, note: Callable[[str], None]) -> None:
        """note: is told when a kind of abuse begins and ends."""
        self.tally: Counter[str] = Counter()
        self._command = [sys.executable, "-P", "-m", "dynazmq.chaos.users", str(directory), str(seed), f"{seconds:.3f}"]
        self._note = note
        self._words = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._listen, self._keep_words)]

    def start(self) -> None:
        """A session of its own: Ctrl-C is meant for who started this, and ends it in good order."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=environment(), start_new_session=True
        )
        for thread in self._threads:
            thread.start()

    @property
    def failure(self) -> str:
        """Why it has ended though nobody asked for that: its last words; "" if it has not."""
        if self._process is None or not self._process.poll():
            return ""
        return f"it ended with {self._process.returncode}: {self._words.decode(errors='replace').strip()}"

    def stop(self) -> None:
        """It is gone, and `tally` is what it tried in all. Nothing if it was not started."""
        process = self._process
        if process is None:
            return
        _opened(process.stdin).close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (process.stdout, process.stderr):
            _opened(stream).close()

    def _listen(self) -> None:
        for line in _opened(self._process.stdout if self._process else None):
            told = json.loads(line)
            if "tally" in told:
                self.tally = Counter(told["tally"])
            elif "on" in told:
                self._note(f"users: {told['on']}")
            else:
                self._note(f"over: users: {told['off']}")

    def _keep_words(self) -> None:
        for line in _opened(self._process.stderr if self._process else None):
            self._words = (self._words + line)[-_WORDS_MAX:]


def _opened(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "it was started with pipes"
    return stream
