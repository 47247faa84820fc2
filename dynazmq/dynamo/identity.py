"""Who this node is, and under which names it issues dots (§4.4; design 4.2).

    epoch         one life of the data directory: drawn at random for an empty one, kept by restarts
    incarnation   one life of the process: rises with each start, and when a rumour about this node must be refuted (§4.8)
    session       see `stand_in_actor`
    floor         counters of this actor begin above it: up to there they may have been given to keys that are forgotten

An actor's counters are per key and kept in the key's own row. So whoever may have lost a row may not count on under the same
name: it would give a dot twice, and one of the two writes would silently vanish. A new epoch is taken when
  - the machine was booted anew and commits were not synced (loss of power may have cost the newest rows),
  - a row turns out to be damaged, or the store says that it lost some,
  - or a peer shows a dot of ours that we do not know (a backup was restored).
"""

from __future__ import annotations

import msgpack

from dynazmq.dynamo.runtime import ROWS_LOST, Runtime
from dynazmq.dynamo.versions import actor_id

_META = "identity"

INCARNATION_MAX = (1 << 62) - 1
"""Peers believe no greater one."""


class Identity:
    """Loaded from the store, or founded in it. Changes are committed with the turn in which they are first used."""

    def __init__(self, runtime: Runtime, boot_id: str = "") -> None:
        """boot_id: names one uptime of the machine; "" when the driver has no such thing."""
        self._runtime = runtime
        self.boot_id = boot_id
        self.epoch = ""
        self.session = 0
        self.incarnation = 0
        self.floor = 0
        self.reload()
        self.first_incarnation = self.incarnation = min(max(self.incarnation + 1, runtime.wall_ms), INCARNATION_MAX)
        if self.epoch and self._stored_boot_id != boot_id and self._stored_sync != "full":
            self.new_epoch("the machine was booted anew and commits were not synced")
        elif not self.epoch:
            self.epoch = self._draw()
        if lost := runtime.store.get_meta(ROWS_LOST):
            self.new_epoch(f"rows were lost: {lost.decode(errors='replace')}")
            runtime.store.set_meta(ROWS_LOST, b"")
        self._save()

    def reload(self) -> None:
        """Back to what is stored: after a failed commit."""
        raw = self._runtime.store.get_meta(_META)
        self._stored_boot_id, self._stored_sync = "", "full"
        if raw is not None:
            self.epoch, self.session, stored, self._stored_boot_id, self._stored_sync, *later = msgpack.unpackb(raw)
            self.floor = later[0] if later else 0
            self.incarnation = max(self.incarnation, stored)
        self._name_actors()

    def new_epoch(self, reason: str) -> None:
        self.epoch = self._draw()
        self.session = self.floor = 0
        self._save()
        self._runtime.counters["epochs_renewed"] += 1
        self._runtime.note(f"new epoch {self.epoch}: {reason}")

    def end_session(self) -> None:
        """A hint that this node itself wrote has gone home, and with it the counter of its key."""
        self.session += 1
        self._save()

    def forget_up_to(self, counter: int) -> None:
        """A key with a dot of this counter is forgotten (retirement.py): no counter may be given twice."""
        if counter > self.floor:
            self.floor = counter
            self._save()

    def refute(self, incarnation: int) -> None:
        """Somebody speaks of this node as of a life that it does not lead: outbid it, by the heartbeat alone at the very top."""
        self.incarnation = min(incarnation + 1, INCARNATION_MAX)
        self._save()
        self._runtime.counters["refutations"] += 1

    def is_me(self, incarnation: int) -> bool:
        """Whether a frame addressed to this incarnation was meant for this process; 0 is "whoever you are"."""
        return incarnation == 0 or self.first_incarnation <= incarnation <= self.incarnation

    def _name_actors(self) -> None:
        name = self._runtime.name
        self.actor = actor_id(name, self.epoch)
        # A fallback that coordinates keeps its counter in a hint, which is deleted when it is delivered: the next time it must
        # not begin at 1 under the same name. Each such session is an actor of its own.
        self.stand_in_actor = actor_id(name, f"{self.epoch}.{self.session}")

    def _draw(self) -> str:
        return f"{self._runtime.random.getrandbits(40):010x}"

    def _save(self) -> None:
        self._name_actors()
        packed = msgpack.packb([self.epoch, self.session, self.incarnation, self.boot_id, self._runtime.config.sync, self.floor])
        self._runtime.store.set_meta(_META, packed)
