"""Plays a recording: where the poller would look at a cluster, this thread takes one moment after the other."""

from __future__ import annotations

import threading
from bisect import bisect_right

from dynazmq.tui.app.poller import Show
from dynazmq.tui.look import Progress
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.trends import History
from dynazmq.tui.recording.recording import Recording

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 60.0)
BEFORE_S = 300.0
"""A leap goes back so far and comes forward from there: trends and recoveries are of what was before."""
GAP_MAX_S = 3.0
"""Where nothing was seen for longer, the wait is cut."""


class Player:
    def __init__(self, recording: Recording, show: Show) -> None:
        self._recording = recording
        self._show = show
        self._history = History()
        self._times = recording.times
        self._index = -1  # the moment that is shown
        self._target: float | None = None  # the time that is leapt to
        self._playing = True
        self._speed = 1.0
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(1.0)

    def wake(self) -> None:
        """Nothing is done to a recording."""

    def toggle(self) -> None:
        if not self._playing and self._index == len(self._times) - 1:
            self._target = self._times[0]  # at its end: once more
        self._playing = not self._playing
        self._wake.set()

    def seek(self, seconds: float) -> None:
        self._target = (self._times[max(0, self._index)] if self._target is None else self._target) + seconds
        self._wake.set()

    def pace(self, step: int) -> str:
        place = min(max(0, SPEEDS.index(self._speed) - step), len(SPEEDS) - 1)
        self._speed = SPEEDS[place]
        self._wake.set()
        return f"plays at {self._speed:g} times the speed"

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            target, self._target = self._target, None
            if target is not None:
                self._leap(target)
            elif self._playing or self._index < 0:
                self._step()
            last = self._index >= len(self._times) - 1
            if last and self._playing:
                self._playing = False
                self._tell()
            self._wake.wait(self._pause() if self._playing else None)

    def _pause(self) -> float:
        passed = self._times[self._index + 1] - self._times[self._index]
        return min(max(0.0, passed), GAP_MAX_S) / self._speed

    def _step(self) -> None:
        if self._index + 1 < len(self._times):
            self._index += 1
            self._model = self._history.add(*self._recording[self._index])
            self._tell()

    def _leap(self, target: float) -> None:
        last = max(0, bisect_right(self._times, target) - 1)
        first = max(0, bisect_right(self._times, self._times[last] - BEFORE_S) - 1)
        if self._index < first or last <= self._index:
            self._history = History()
            self._index = first - 1
        while self._index < last:
            self._index += 1
            self._model = self._history.add(*self._recording[self._index])
        self._tell()

    def _tell(self) -> None:
        at = self._times[self._index]
        self._show(self._model, Progress(self._times[0], at, self._times[-1], self._playing, self._speed))


def last_model(recording: Recording) -> Model:
    """What the end of it shows."""
    history = History()
    times = recording.times
    for index in range(max(0, bisect_right(times, times[-1] - BEFORE_S) - 1), len(times)):
        model = history.add(*recording[index])
    return model
