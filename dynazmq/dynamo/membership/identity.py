"""Who this node is, and under which names it issues dots (§4.4; docs/decisions/0013).

    incarnation   one life of the process: rises with each start, and when a rumour about this node must be refuted (§4.8)
    epoch         drawn at random for each life of the process, and anew within it: see below
    session       see `stand_in_actor`
    floor         counters begin above it: up to there any epoch of this life may have given them to keys that are forgotten

An actor's counters are per key and kept in the key's own row. So whoever may have lost a row may not count on under the same
name: it would give a dot twice, and one of the two writes would silently vanish (riak_kv #679).

A store cannot tell by itself whether it was set back since its last life: a backup was restored, the newest commits went with the
power, the directory is a copy. Peers could tell, but not before they are asked, and not if they were set back as well. So no life
counts on from another's rows: each is an actor of its own, and then it does not matter what a store says of earlier ones. It
costs an entry in the clock of each key that is written in this life; a life in which a key is only read costs it nothing.

For what lives have written on a disk that turns out to be an old copy see `unproven` (stale_disks.py, rescue.py).

Within a life the epoch is renewed when a row turns out to be damaged, and when somebody shows a dot of ours that we do not know.
"""

from __future__ import annotations

import msgpack

from dynazmq.dynamo.runtime import ROWS_LOST, Runtime
from dynazmq.dynamo.values.versions import actor_id

_META = "identity"

_UNPROVEN_MAX = 1_000

INCARNATION_MAX = (1 << 62) - 1
"""Peers believe no greater one."""


class Identity:
    """A new life, after the one that is stored. Changes are committed with the turn in which they are first used."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.epoch = ""
        self.session = 0
        self.incarnation = 0
        self.floor = 0
        self.proven = True
        """Whether peers have said that this life's disk is no old copy (stale_disks.py)."""
        self.unproven: list[str] = []
        """Epochs of this life and of those before it that were not proven: what they wrote may be nowhere else."""
        self.reload()
        self.first_incarnation = self.incarnation = min(max(self.incarnation + 1, runtime.wall_ms), INCARNATION_MAX)
        self.epoch, self.session = self._draw(), 0
        self.unproven = [*([] if self.proven else self.unproven), self.epoch][-_UNPROVEN_MAX:]
        self.proven = False
        if lost := runtime.store.get_meta(ROWS_LOST):
            runtime.note(f"rows were lost: {lost.decode(errors='replace')}; they come back from the peers", "WARN")
            runtime.store.set_meta(ROWS_LOST, b"")
        self._save()

    def reload(self) -> None:
        """Back to what is stored: after a failed commit."""
        raw = self._runtime.store.get_meta(_META)
        if raw is not None:
            self.epoch, self.session, stored, *more = msgpack.unpackb(raw)
            self.incarnation = max(self.incarnation, stored)
            self.proven, self.unproven = more[2:4] if len(more) > 2 else (True, [])  # two in stores of earlier releases
        self._name_actors()

    def new_epoch(self, reason: str) -> None:
        """The floor stays: if this commit fails the epoch before goes on, and all that it has given is below the floor."""
        self.epoch = self._draw()
        self.session = 0
        self.unproven = [*self.unproven, self.epoch][-_UNPROVEN_MAX:]
        self._save()
        self._runtime.counters["epochs_renewed"] += 1
        self._runtime.note(f"new epoch {self.epoch}: {reason}")

    def end_session(self) -> None:
        """A hint that this node itself wrote has gone home, and with it the counter of its key."""
        self.session += 1
        self._save()

    def forget_up_to(self, counter: int) -> None:
        """A key with a dot of this counter is forgotten (tombstone_gc.py): no counter may be given twice."""
        self.floor = max(self.floor, counter)

    def prove(self) -> None:
        """Peers know of no newer disk. The epochs stay until another life begins: somebody may know more, and say so late."""
        if not self.proven:
            self.proven = True
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
        # Two places were other things in earlier releases.
        packed = msgpack.packb([self.epoch, self.session, self.incarnation, None, None, self.proven, self.unproven])
        self._runtime.store.set_meta(_META, packed)
