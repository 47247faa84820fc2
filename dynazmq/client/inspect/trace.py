"""From the points that nodes noted to the timeline of one request (traced.py). Pure.

Each node numbers what it is asked (wire/tracing.py); a *visit* is one such number at one node: the message that was heard, the
work, the commit, what was sent meanwhile and the answers to that. Visits are strung together by the messages between them: what A
sent to B as request 7 is what B heard from A as request 7. The client's own request is the root; visits that do not hang on it
belong to others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dynazmq.client.inspect.traced import CLIENT, Point, Row, Span

_ASKS = ("Get", "Put", "PutAsk", "Read", "Write", "Recall")
_FINAL = ("GetReply", "PutReply", "Failure")


@dataclass(slots=True)
class Visit:
    """What one node did for one message. `asks`: what it sent to others, with their visits; None where nobody heard it."""

    points: list[Point]
    asks: list[tuple[Point, Visit | None]] = field(default_factory=list)

    @property
    def heard(self) -> Point:
        return self.points[0]

    @property
    def node(self) -> str:
        return self.points[0].node

    def answer(self) -> Point | None:
        """What it sent back to who asked."""
        back = [point for point in self.points if point.what == "sent" and point.peer == self.heard.peer]
        return next((point for point in back if point.message not in _ASKS), None)


def read(node: str, rows: Iterable[Any]) -> list[Point]:
    """One node's notes. Raises ValueError, TypeError for what no node writes."""
    points = []
    for at, what, peer, message, request_id, operation, note, size, since, woke in rows:
        numbers = (int(at), int(request_id), int(operation), int(size), int(since), int(woke))
        at, request_id, operation, size, since, woke = numbers
        points.append(Point(at, node, str(what), str(peer), str(message), request_id, operation, str(note), size, since, woke))
    return points


class Timeline:
    """The visits of one request, and what they come to."""

    def __init__(
        self, asked: Sequence[Point], ended: Point, noted: Mapping[str, Sequence[Point]], other_clocks: Iterable[str] = ()
    ) -> None:
        """asked: the client's tries, as far as their times are known: the first and the last. noted: by node.

        other_clocks: nodes whose times are not those of the client's clock.
        """
        self._zero = asked[0].at_us
        self._shift: dict[str, int | None] = dict.fromkeys(other_clocks)
        self._visits: dict[tuple[str, int], Visit] = {}
        for points in noted.values():
            for point in points:
                if point.operation:
                    key = point.node, point.operation
                    if key in self._visits:
                        self._visits[key].points.append(point)
                    elif point.what == "heard":
                        self._visits[key] = Visit([point])
        self._unclaimed = defaultdict[tuple[str, str, str, int], list[Visit]](list)
        for visit in self._visits.values():
            heard = visit.heard
            self._unclaimed[heard.peer, visit.node, heard.message, heard.request_id].append(visit)
        self._asked, self._ended = [self._told(point) for point in asked], self._told(ended)
        self.roots = self._roots(asked)
        self.others = sum(visit.heard.peer in ("", CLIENT) for rest in self._unclaimed.values() for visit in rest)

    def _roots(self, asked: Sequence[Point]) -> list[Visit]:
        """What nodes heard from our client: one, or one for each try, of which a retry may have begun with a question."""
        ours = [(asked[0].message, asked[0].request_id), (f"{asked[0].message}Ask", asked[0].request_id)]
        keys = [key for key in self._unclaimed if key[0] == "" and key[2:] in ours]
        roots = [visit for key in keys for visit in self._unclaimed.pop(key)]
        for root in roots:
            self._settle(root, self._began(root) + self._zero)
        return sorted(roots, key=lambda visit: self._at(visit.node, visit.heard.at_us))

    def _began(self, root: Visit) -> int:
        """When our client asked this node; if that is not known, when it began."""
        return max((point.at_us for point in self._asked if point.peer == root.node), default=0)

    def _settle(self, visit: Visit, asked_us: int) -> None:
        """Fix its node's clock, if that is another one, and find those that it asked."""
        if self._shift.get(visit.node, 0) is None:
            self._shift[visit.node] = asked_us - visit.heard.at_us
        for point in visit.points:
            if point.message not in _ASKS or point.what not in ("sent", "unsent"):
                continue
            waiting = self._unclaimed.get((point.node, point.peer, point.message, point.request_id)) or []
            child = waiting.pop(0) if waiting and point.what == "sent" else None
            visit.asks.append((point, child))
            if child is not None:
                self._settle(child, self._at(point.node, point.at_us))

    def _at(self, node: str, us: int) -> int:
        return us + (self._shift.get(node, 0) or 0)

    def _told(self, point: Point) -> Point:
        """With times from the beginning."""
        since, woke = (self._at(point.node, us) - self._zero if us else 0 for us in (point.since_us, point.woke_us))
        return replace(point, at_us=self._at(point.node, point.at_us) - self._zero, since_us=since, woke_us=woke)

    # --- what it comes to -------------------------------------------------------------------------------------------------

    def answer(self) -> Point | None:
        """What the coordinator sent when the quorum was there: the first that is no failure."""
        return next((self._told(point) for _, point in self._finals() if point.message != "Failure"), None)

    def points(self) -> list[Point]:
        every = [self._told(point) for visit, _, _ in self._walk() for point in visit.points]
        return sorted([*self._asked, *every, self._ended], key=lambda point: (point.at_us, point.node != CLIENT))

    def rows(self) -> list[Row]:
        """The client's, then each visit's in the order in which they were asked for."""
        message, ended_us = self._asked[0].message, self._ended.at_us
        rows = [Row(node=CLIENT, role="client", asked_by="", message=message, begin_us=0, end_us=ended_us, answered=True)]
        heard = [root.node for root in self.roots]
        rows += [_unheard(point, CLIENT, "coordinator") for point in self._asked if point.peer and point.peer not in heard]
        answer = self.answer()
        quorum_us = answer.at_us if answer is not None else None
        for visit, sent, parent in self._walk():
            rows.append(self._row(visit, sent, parent, quorum_us))
            rows += [self._unwatched(point, visit, quorum_us) for point, child in visit.asks if child is None]
        return [rows[0], *sorted(rows[1:], key=lambda row: row.begin_us)]

    def _walk(self) -> Iterator[tuple[Visit, Point | None, Visit | None]]:
        """(visit, the message that led to it as its sender noted it, the sender's visit)."""
        waiting: list[tuple[Visit, Point | None, Visit | None]] = [(root, None, None) for root in self.roots]
        while waiting:
            visit, sent, parent = waiting.pop(0)
            yield visit, sent, parent
            waiting += [(child, point, visit) for point, child in visit.asks if child is not None]

    def _finals(self) -> list[tuple[Visit, Point]]:
        """Answers to the client, in the order of time."""
        found = [(root, point) for root in self.roots for point in root.points if point.what == "sent" and point.peer == ""]
        found = [(root, point) for root, point in found if point.message in _FINAL]
        return sorted(found, key=lambda each: self._at(each[0].node, each[1].at_us))

    def _row(self, visit: Visit, sent: Point | None, parent: Visit | None, quorum_us: int | None) -> Row:
        points = [self._told(point) for point in visit.points]
        heard = points[0]
        begin = self._told(sent).at_us if sent is not None else self._began(visit)
        answer = visit.answer()
        back = self._heard_back(visit, parent) if answer is not None and parent is not None else None
        end = self._told(answer).at_us if answer is not None else points[-1].at_us
        replica = heard.message in ("Read", "Write")
        spans = list(_spans(points, begin))
        if back is not None and answer is not None:
            spans.append(Span("back", end, back))
            end = back
        wanted = heard.request_id != 0  # else it is read repair, which nobody answers
        return Row(
            node=visit.node, role=_role(visit), asked_by=heard.peer or CLIENT, message=heard.message,
            stands_in_for=heard.note if heard.message == "Write" else "", begin_us=begin, end_us=end,
            answered=answer is not None and (parent is None or back is not None),
            late=replica and wanted and quorum_us is not None and (back is None or back > quorum_us),
            spans=tuple(spans),
        )  # fmt: skip

    def _heard_back(self, visit: Visit, parent: Visit) -> int | None:
        """When the asker took in this visit's answer."""
        answer = visit.answer()
        for point in parent.points:
            if answer is not None and point.what == "heard" and point.peer == visit.node and point.message == answer.message:
                return self._told(point).at_us
        return None

    def _unwatched(self, sent: Point, parent: Visit, quorum_us: int | None) -> Row:
        """Somebody was asked who noted nothing: what is known is what its asker heard."""
        row = _unheard(self._told(sent), sent.node, "stand-in" if sent.message == "Write" and sent.note else "replica")
        for point in parent.points:
            if point.what == "heard" and point.peer == sent.peer and point.message not in _ASKS and point.at_us >= sent.at_us:
                back = self._told(point).at_us
                spans = (Span("way", row.begin_us, back),)
                return replace(row, end_us=back, answered=True, late=quorum_us is not None and back > quorum_us, spans=spans)
        return row


def _unheard(sent: Point, asked_by: str, role: str) -> Row:
    return Row(
        node=sent.peer, role=role, asked_by=asked_by, message=sent.message, begin_us=sent.at_us, end_us=sent.at_us,
        answered=False, left=sent.what != "unsent", stands_in_for=sent.note if sent.message == "Write" else "",
        late=role != "coordinator" and bool(sent.request_id),
    )  # fmt: skip


def _role(visit: Visit) -> str:
    heard = visit.heard
    if heard.message in ("Get", "Put", "PutAsk"):
        passed_on = any(point.message == "Put" for point, _ in visit.asks)
        return "forwards" if passed_on and not any(point.message == "Write" for point, _ in visit.asks) else "coordinator"
    if heard.message == "Recall":
        return "asked about a retry"
    if not heard.request_id:
        return "repaired"
    return "stand-in" if heard.message == "Write" and heard.note else "replica"


def _spans(points: Sequence[Point], asked_us: int) -> Iterator[Span]:
    """Of one visit: under way, in the queue, at work, committing; and once more at work for each answer that it heard."""
    heard = points[0]
    # A node that was waiting when the message was sent is woken by it; one that was not takes it in when it is through.
    arrived = heard.woke_us if heard.since_us <= asked_us <= heard.woke_us else min(asked_us, heard.at_us)
    arrived = min(max(arrived, asked_us), heard.at_us)
    yield Span("way", asked_us, arrived)
    yield Span("queue", arrived, heard.at_us)
    begun: int | None = None
    for point in points:
        if point.what == "heard":
            begun = point.at_us
        elif point.what == "done" and begun is not None:
            yield Span("work", begun, point.at_us)
            begun = None
        elif point.what == "committed" and point.size:
            yield Span("commit", point.since_us, point.at_us)
