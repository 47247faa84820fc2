"""§4.5 Counting replies.

A pure counter that also knows when success has become impossible: a request whose quorum cannot be met any more is answered
now, not at its deadline. Who is asked, and when somebody else is asked instead, is the business of put.py and get.py.
"""

from __future__ import annotations

PENDING, REACHED, IMPOSSIBLE = "pending", "reached", "impossible"


class Quorum:
    """needed replies, primaries_needed of them from primaries; `outstanding` counts those who may still answer.

    >>> q = Quorum(needed=2, primaries_needed=0)
    >>> q.ask("n1", primary=True); q.ask("n2", primary=True)
    >>> q.answer("n1"); q.state
    'pending'
    >>> q.answer("n2"); q.state
    'reached'
    """

    __slots__ = ("answered", "needed", "outstanding", "primaries", "primaries_needed")

    def __init__(self, needed: int, primaries_needed: int = 0) -> None:
        self.needed = needed
        self.primaries_needed = primaries_needed
        self.answered: list[str] = []  # in the order of their replies
        self.outstanding: dict[str, bool] = {}  # who was asked and has not answered → is it a primary
        self.primaries = 0

    def ask(self, who: str, primary: bool) -> None:
        self.outstanding[who] = primary

    def answer(self, who: str) -> bool:
        """One reply; False when it was not asked for or came twice."""
        primary = self.outstanding.pop(who, None)
        if primary is None:
            return False
        self.answered.append(who)
        self.primaries += primary
        return True

    def fail(self, who: str) -> bool:
        """This one will not answer; False when it was not awaited."""
        return self.outstanding.pop(who, None) is not None

    @property
    def reached(self) -> bool:
        return len(self.answered) >= self.needed and self.primaries >= self.primaries_needed

    @property
    def state(self) -> str:
        if self.reached:
            return REACHED
        possible = len(self.answered) + len(self.outstanding)
        primaries = self.primaries + sum(self.outstanding.values())
        return PENDING if possible >= self.needed and primaries >= self.primaries_needed else IMPOSSIBLE
