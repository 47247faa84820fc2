"""§4.5 §4.6 Writes that may have been tried at another coordinator too, as far as a node can tell (promises 4 and 6).

A retry says in the state that it is one (versions.py). But who reads or overwrites the first try may be where nobody has heard of
the retry, and knows the one dot alone. With the retry's dot the write would come back. So whoever has a reason to suspect a retry
says already that there may be one: who overwrites the write, in the new state; who shows it to a client, in the context, with
which that client will overwrite it. It costs 18 bytes in the state of a key of which a young write is overwritten

    whose coordinator has died, or was cut off, since it was written: its client may have had no answer
    that was written when somebody was lost, a moment before that was noticed: its client may be beyond the cut, where the retry
        met nobody who knew of the first try

It goes when retirement has found that no other try is left. Nothing is suspected where nobody is lost, nor because somebody has
been away for long: what is written then has its answer in time, or its own coordinator expects a retry (put.py).

**What is left.** No state can tell what it has no byte for: a write whose answer was lost or late, or that was read before it
was answered; overwritten where nobody was noticed to be missing, under the dot of its first try; while its retry found too few
who knew it, and was stored anew by a node that had seen neither. The state that overwrote it is the same, to the byte, as if it
had overwritten another write, and then the retry's value must stay (promise 3). Those who overwrote it remember it, in memory
(overwritten.py): the value shows once more as a sibling until the two have met one of these, and then is gone; if they have all
died it stays, until somebody overwrites it.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynazmq.config import BUDGET_MS_MAX, SUSPECTED_MAX
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.runtime import Runtime
from dynazmq.dynamo.values.versions import Context, Sibling, Siblings, node_of

_RETRY_COMES_MS = 1.1 * BUDGET_MS_MAX
"""After its first try; with some room for clocks that differ."""

_CLOCKS_S = 1.0
"""By so much the clocks of two hosts may differ."""

NOTICED_S = 2.0 + _CLOCKS_S
"""Within this time it is noticed that a member is silent."""


class Elsewhere:
    """Suspects writes of having been tried elsewhere."""

    def __init__(self, runtime: Runtime, identity: Identity, failure: FailureDetector) -> None:
        self._runtime = runtime
        self._identity = identity
        self._failure = failure

    def shown(self, state: Siblings) -> Context:
        """The context of who is shown this state.

        On the path of every get: at what was written since all is as it is, or is too old to be retried, no more than a glance.
        """
        runtime = self._runtime
        calm_ms = (runtime.now - self._failure.changed_at - _CLOCKS_S) * 1000
        for sibling in state.live:
            if calm_ms <= runtime.wall_ms - sibling.wall_ms <= _RETRY_COMES_MS:
                return state.context.with_retried(self.suspected(state, state.live))
        return state.context

    def suspected(self, state: Siblings, siblings: Iterable[Sibling]) -> list[bytes]:
        """Of these, being overwritten in this state or shown with it, those that may have another dot. No more than fit in."""
        room = SUSPECTED_MAX - len(state.context.retried)
        return [each.write_id for each in siblings if self._may_be(each)][:room] if room > 0 else []

    def _may_be(self, sibling: Sibling) -> bool:
        age_s = self.age_s(sibling.wall_ms)
        if age_s * 1000 > _RETRY_COMES_MS or not sibling.write_id:
            return False
        coordinator = node_of(sibling.actor)
        if coordinator == self._runtime.name:
            steady = sibling.actor.startswith(self._identity.actor)  # its stand-in's name continues its own
        else:
            steady = self._failure.steady(coordinator, min(age_s, self._runtime.now - self._runtime.started))
        written = self._runtime.now - age_s
        return not steady or self._failure.lost_between(written - _CLOCKS_S, written + NOTICED_S)

    def age_s(self, wall_ms: int) -> float:
        return max(0.0, (self._runtime.wall_ms - wall_ms) / 1000)
