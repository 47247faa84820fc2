"""Which node gets a request, for how long, and who is next: the client without its sockets (sans-IO, as the nodes' core is).

    start ──▶ room in the window of the node? if not, it waits here for its turn (window.py)
                ▼
              the first good node of the key's preference list (a get: any of its good primaries, so that they share the work)
                │ answered                        ──▶ done
                │ refused, nothing was attempted  ──▶ the next one at once; one that stops or starts is avoided for a second
                │ overloaded                      ──▶ a pause as long as it says, longer each time, and then the next one
                │ it could not even be sent       ──▶ the next one at once; this node is avoided for a moment
                │ it speaks another version       ──▶ the next one at once; when all do, that is the error
                │ silent for ATTEMPT_S            ──▶ the next one; this node is avoided for longer
                │ busy: it answers others         ──▶ patience, up to BUSY_S: asking elsewhere would only make more work
                │                                     (both longer by what large values under way there need)
                │ all were tried                  ──▶ pause with full jitter, then another round
                ▼ the deadline                    ──▶ an error that says what is known

A put keeps its write id through all attempts, so that one which was done twice is still one write; once an attempt may have been
done, the next carries its age, and the coordinator asks first what became of it (dynamo/coordinator/idempotent_retry.py). Only
answers to such attempts have a context that covers both, so one is waited for though the first attempt is answered late. Errors
are honest in the same way: `Unavailable` means that nothing was attempted, and is never said when an attempt got no answer.

An attempt that is a retry of a large value begins with a question (PutAsk). A node that knows of the first try says so and does
what is left to do, without the value; it is sent when the node says that it needs it, or says nothing for a moment.

A driver (sync.py, asynchronous.py) calls start, receive, undeliverable and tick with the time, and sends what `drain` returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from dynazmq.client.core.learning import Learning
from dynazmq.client.core.outcomes import crowded_out, failure_of, outlived
from dynazmq.client.core.requests import Request, question_of
from dynazmq.client.core.routes import Routes
from dynazmq.client.core.window import Windows
from dynazmq.client.values.view import Link, View
from dynazmq.dynamo.messages import (
    ANSWER_TO,
    INVALID,
    NOT_YET,
    OVERLOADED,
    TIMEOUT,
    UNAVAILABLE,
    WITH_BUDGET,
    Failure,
    Get,
    Message,
    Put,
    PutReply,
    PutTell,
    Refused,
    Topology,
    TopologyRequest,
)
from dynazmq.errors import ClientClosed, ClusterError, DynazmqError, ProtocolError

ATTEMPT_S = 0.3
"""A node that has not answered in this time is asked no longer: nodes answer in milliseconds, or refuse at once."""

ASK_ABOVE_BYTES = 16 << 10
"""A retry of a larger value asks before it sends it again. A question and its answer take a millisecond or two with what the
coordinator asks the replicas; as long as so much takes at the rate that is expected of a cluster at the least (window.py)."""

_ASK_S = ATTEMPT_S / 3
"""So long the value is kept back: the attempt as a whole is no longer for it. Nodes answer within a quarter of that."""

_DOUBLINGS_MAX = 5
"""When a whole round was met with silence, it is the cluster that is slow, and asking again as fast would keep it so: the time
of an attempt doubles with each round. The answers to the earlier ones are still waited for."""

BUSY_S = 1.0
"""How long a request waits for a node that answers others meanwhile."""

_AVOID_SILENT_S = 1.0
_AVOID_UNSENDABLE_S = 0.1
_BACKOFF_S, _BACKOFF_MAX_S = 0.010, 1.0
_POSITION_S = 0.05
"""For so long gets go to the same position in the preference lists: first primaries, then second ones, then third ones.

Each client begins anywhere, so that many of them spread a key that all read. One client's gets go from each node to one other
node only and share frames: measured with 64 in flight, 10 % more gets than with another position for each."""

_CONNECT_S = 0.25
"""A request that is for one node alone waits so long for a connection. Mostly it is just being made; on a busy machine that can
take many times as long as on an idle one."""


class ClientCore:
    """All requests under way at one client."""

    def __init__(
        self, seeds: Iterable[Link], cluster_id: int | None, random: Random, now: float, ask_above_bytes: int = ASK_ABOVE_BYTES
    ) -> None:
        """cluster_id: the one that is meant, if that is known; answers of other clusters are then not believed."""
        self._random = random
        self._ask_above_bytes = ask_above_bytes
        self._ids = count(1)
        self._requests: dict[int, Request] = {}
        self._outbox: dict[Link, list[Message]] = {}
        self._questions: dict[Link, list[Message]] = {}  # sent in frames of their own: who does not know them drops the frame
        # Attempts that are waited for. Nearly all wait equally long, so their queue is in order; the rest is in the heap.
        self._attempts: deque[tuple[float, Request, int]] = deque()
        self._timers: list[tuple[float, int, Request, int]] = []
        self._heard: dict[Link, float] = {}  # when each node was last heard of
        self._routes = Routes(seeds)
        self._learning = Learning(self._routes, cluster_id, random, self._ask_for_topology, now)
        self._position = random.randrange(1 << 16)
        self._next_position = now
        self._windows = Windows(self._choose, now)
        self.overloads = 0
        """Times that a node has refused something for being overloaded. Most were done later all the same."""

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def view(self) -> View | None:
        """What is known of the cluster; None before any node has answered."""
        return self._routes.view

    @property
    def tried(self) -> dict[Link, str]:
        """What came of asking each seed, until one has answered."""
        return self._learning.tried

    def _ask_for_topology(self, link: Link) -> int:
        request_id = next(self._ids)
        self._outbox.setdefault(link, []).append(TopologyRequest(request_id))
        return request_id

    # --- a request begins -------------------------------------------------------------------------------------------------

    def start(self, request: Request, now: float) -> None:
        """Needs the view. Everything was validated."""
        view = self._routes.view
        assert view is not None
        request.started, request.deadline = now, now + request.timeout
        request.partition = view.ring.partition_of(request.place)
        request.message.request_id = request_id = next(self._ids)
        self._requests[request_id] = request
        if now >= self._next_position:
            self._position += 1
            self._next_position = now + _POSITION_S
        if now >= self._learning.next_refresh:
            self._learning.refresh(now)
        self._routes.expire(now)
        if self._windows.enter(request):
            self._try_next(request, now)

    def _let_in(self, now: float) -> None:
        """Who has waited for room that there is now: its time begins."""
        if not self._windows.may_begin:
            return  # the usual case, after each frame
        for request in self._windows.ready():
            request.started, request.deadline = now, now + request.timeout
            self._try_next(request, now)

    def _try_next(self, request: Request, now: float) -> None:
        """Send it to the best node that was not tried in this round; if there is none, wait."""
        if request.early is not None:  # it is done, and the try that was still waited for has failed
            self._finish(request, request.early, None)
            return
        # The first time it is that in whose window it has just found room.
        link = self._choose(request) if request.attempt or request.room is None else request.room
        if link is not None:
            self._dispatch(request, link, now)
            return
        if (estranged := self._learning.estranged(request)) is not None:
            self._finish(request, None, estranged)
            return
        if request.only is not None and (request.sent or now >= request.started + _CONNECT_S):
            self._finish(request, None, self._learning.late(request))
            return
        pause = self._random.random() * min(_BACKOFF_MAX_S, _BACKOFF_S * 2**request.backoffs)
        request.backoffs += 1
        request.rounds += request.maybe
        request.tried = []
        request.link = None
        request.attempt += 1
        self._wait(now + pause, request)

    def _choose(self, request: Request) -> Link | None:
        if request.only is not None:
            return None if request.tried else request.only
        links, good = self._routes.of(request.partition)
        tried = request.tried
        if not tried:
            return links[self._position % good if good and request.message.__class__ is Get else 0]
        for link in links:
            if link not in tried:
                return link
        return None

    def _dispatch(self, request: Request, link: Link, now: float) -> None:
        message: Any = request.message
        budget_ms = int((request.deadline - now) * 1000)
        if budget_ms <= 0:
            # Less than a node would begin for. It ends in `tick`: here, one of a batch would start the next inside itself.
            request.link = None
            request.attempt += 1
            self._wait(request.deadline, request)
            return
        if message.__class__ in WITH_BUDGET:
            message.budget_ms = budget_ms
            if request.maybe and message.__class__ is Put:
                message.age_ms = int((now - request.started) * 1000) + 1
        request.link = link
        request.asked = now
        request.tried.append(link)
        request.attempt += 1
        request.sent += 1
        request.patience = self._windows.patience_s(link)
        request.asking = request.maybe and message.__class__ is Put and len(message.value or b"") > self._ask_above_bytes
        if request.asking:
            self._questions.setdefault(link, []).append(question_of(message))
            self._wait(now + _ASK_S + request.patience, request)
            return
        outbox = self._outbox.get(link)
        if outbox is None:
            self._outbox[link] = [message]
        else:
            outbox.append(message)
        self._expect(request, now)

    def _expect(self, request: Request, now: float) -> None:
        """See when the attempt has taken too long. It began when this node was asked, be it without the value."""
        due = request.asked + ATTEMPT_S
        if request.only is not None or due >= request.deadline:
            self._wait(request.deadline, request)
        elif request.rounds or request.patience or request.asked != now:
            self._wait(request.asked + ATTEMPT_S * 2 ** min(request.rounds, _DOUBLINGS_MAX) + request.patience, request)
        else:
            self._attempts.append((due, request, request.attempt))

    def _on_tell(self, request: Request, link: Link, known: bool, now: float) -> None:
        """The node answers, and does so soon: what is left of the attempt is as any other."""
        request.asked = now
        if known:
            request.asking = False
            request.attempt += 1
            self._expect(request, now)
        else:
            self._send_value(request, link, now)

    def _send_value(self, request: Request, link: Link, now: float) -> None:
        """The question has not spared it."""
        if request.early is not None:  # the first try was answered meanwhile, and this node has not begun another
            self._finish(request, request.early, None)
            return
        request.asking = False
        request.attempt += 1
        request.message.budget_ms = int((request.deadline - now) * 1000)
        request.message.age_ms = int((now - request.started) * 1000) + 1
        self._outbox.setdefault(link, []).append(request.message)
        self._expect(request, now)

    def _wait(self, due: float, request: Request) -> None:
        heappush(self._timers, (min(due, request.deadline), next(self._ids), request, request.attempt))

    # --- what comes back --------------------------------------------------------------------------------------------------

    def receive(self, link: Link, messages: Sequence[Message], now: float) -> None:
        """The messages of one frame of a node."""
        if messages and messages[0].__class__ is Failure and not messages[0].request_id:  # it has no room for this connection
            self._learning.is_full(link, messages[0].text)
            unread = () if link in self._heard else self._requests.values()
            self.undeliverable(link, [each.message for each in unread if each.link == link], now)
            return
        self._heard[link] = now
        self._learning.heard(link)
        for message in messages:
            if message.__class__ is Topology:
                self._learning.on_topology(link, message, now)
            request = self._requests.get(getattr(message, "request_id", 0))
            if request is None:
                continue  # the late answer to an attempt that another has overtaken
            if message.__class__ is Failure:
                if link == request.link:
                    self._on_failure(request, link, message, now)
            elif message.__class__ is ANSWER_TO[request.message.__class__]:
                # Of any attempt: it is the answer, whoever gives it. But for a put's first try, if another may be done beside it:
                # the context of that answer does not cover the other, and of a retry's it does. That is to come.
                self._windows.answered(request, message, now)
                if link == request.first and request.early is None and message.__class__ is PutReply:
                    request.early = message
                else:
                    self._finish(request, message, None)
            elif message.__class__ is PutTell:
                if link == request.link and request.asking:
                    self._on_tell(request, link, message.known, now)
            elif message.__class__ is Refused and request.only is not None:
                self._finish(request, None, ClusterError(message.text))
        self._let_in(now)

    def _on_failure(self, request: Request, link: Link, failure: Any, now: float) -> None:
        request.refusal = failure
        code = failure.code
        if code == INVALID:
            self._finish(request, None, failure_of(request))
            return
        if code == NOT_YET:
            self._avoid(link, now + _AVOID_SILENT_S)  # it is about to end, or has just begun
        if code == TIMEOUT:
            request.maybe = True
        elif code == UNAVAILABLE:
            request.unavailable += 1
            if request.unavailable >= 2 and not (request.maybe and request.message.__class__ is Put):
                self._finish(request, None, failure_of(request))
                return
        if request.only is not None:
            self._finish(request, None, failure_of(request))
            return
        if code == OVERLOADED:
            self._back_off(request, link, failure, now)
            return
        self._learning.refresh_soon(now)
        self._try_next(request, now)

    def _back_off(self, request: Request, link: Link, failure: Any, now: float) -> None:
        """The node has enough to do: so have the others, mostly. Asking again at once would only keep it so."""
        self.overloads += 1
        self._windows.overloaded(link, now)
        after_s = max(failure.retry_after_ms / 1000, _BACKOFF_S) * 2 ** min(request.overloads, _DOUBLINGS_MAX)
        request.overloads += 1
        pause = after_s * (0.5 + self._random.random())  # not all at once again
        if now + pause >= request.deadline:
            self._finish(request, None, failure_of(request))
            return
        request.link = None
        request.attempt += 1
        self._wait(now + pause, request)

    def of_another_version(self, link: Link, said: str, now: float) -> None:
        """This node has dropped whatever it was sent, since it speaks another version of the protocol. said: for people."""
        self._learning.is_foreign(link, said)
        self._avoid(link, now + _AVOID_SILENT_S)
        for request in [each for each in self._requests.values() if each.link == link]:
            request.maybe |= link in self._heard  # an earlier process may have taken it
            self._try_next(request, now)
        self._let_in(now)

    def of_another_cluster(self, link: Link, failures: Iterable[Failure], now: float) -> None:
        """This node is of a cluster that was made in the place of the one that is meant. It has done nothing of these."""
        self._learning.is_elsewhere(link)
        self.undeliverable(link, failures, now)

    def hopeless(self) -> ProtocolError | None:
        """Why nobody need be waited for any longer, if no seed can ever say what the cluster looks like."""
        return self._learning.hopeless()

    def undeliverable(self, link: Link, messages: Iterable[Any], now: float) -> None:
        """The transport could not take these: no connection, or the node does not read. They have not left."""
        self._avoid(link, now + _AVOID_UNSENDABLE_S)
        for message in messages:
            request = self._requests.get(message.request_id)
            if message.__class__ is TopologyRequest and request is None:
                self._learning.undeliverable(link, message.request_id)
                continue
            if request is not None and request.link == link:
                request.sent -= 1
                self._learning.refresh_soon(now)
                self._try_next(request, now)
        self._let_in(now)

    def _finish(self, request: Request, reply: Any, error: DynazmqError | None) -> None:
        if request.early is not None and reply is None:
            reply, error = request.early, None
        request.reply, request.error = reply, error  # first: see `mend`
        if self._requests.pop(request.message.request_id, None) is None:
            return
        request.attempt += 1  # whatever timer is left is of an earlier attempt
        self._windows.leave(request)
        request.notify(request)

    def standing(self, link: Link) -> bool:
        """Whether a node is believed to answer."""
        return self._routes.stands(link)

    def expected_bytes(self, bucket: str) -> int:
        """What a get is likely to bring."""
        return self._windows.expected_bytes(bucket)

    def knows(self, request: Request) -> bool:
        return request.message.request_id in self._requests

    def cancel(self, request: Request) -> None:
        """Nobody waits for it any longer. A put may be done all the same."""
        self._requests.pop(request.message.request_id, None)
        request.attempt += 1
        self._windows.leave(request)

    def outlive(self, said: str) -> None:
        """The cluster is not there any more, and another one in its place: nothing that is under way can be done."""
        self._end_all(lambda request: outlived(request, said, {}))

    def close(self) -> None:
        """End whatever is under way with ClientClosed."""
        self._end_all(lambda _: ClientClosed("the client was closed during the call"))
        self._outbox.clear()
        self._questions.clear()

    def _end_all(self, error_of: Callable[[Request], DynazmqError]) -> None:
        while self._requests:  # the end of one may be the start of the next in its batch
            for request in list(self._requests.values()):
                self._finish(request, None, error_of(request))

    def mend(self, now: float) -> None:
        """A step was cut off anywhere in its middle (Ctrl-C): see that each request still under way comes to an end.

        One that has its outcome was about to be taken out; for any other, an attempt's time begins now.
        """
        for request_id, request in list(self._requests.items()):
            if request.done:
                del self._requests[request_id]
                self._windows.leave(request)
            elif not request.waiting:
                self._wait(now + ATTEMPT_S, request)
        self._windows.look_again()

    # --- time -------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        if self.view is None:
            self._learning.greet(now)
        attempts, timers = self._attempts, self._timers
        while attempts and (attempts[0][0] <= now or attempts[0][2] != attempts[0][1].attempt):
            _, request, attempt = attempts.popleft()
            if attempt == request.attempt:
                self._silent(request, now)
        while timers and (timers[0][0] <= now or timers[0][3] != timers[0][2].attempt):
            _, _, request, attempt = heappop(timers)
            if attempt != request.attempt:
                continue
            if request.link is None and now < request.deadline:
                self._try_next(request, now)  # the pause is over
            else:
                self._silent(request, now)
        for request in self._windows.crowded_out(now):
            self._finish(request, None, crowded_out(request))
        self._let_in(now)

    def _avoid(self, link: Link, until: float) -> None:
        if self._routes.avoid(link, until):
            self._windows.avoided(link)

    def _silent(self, request: Request, now: float) -> None:
        """The attempt has got no answer in time."""
        if request.link is not None:
            if request.asking and now < request.deadline:
                self._send_value(request, request.link, now)
                return
            quiet_at = self._heard.get(request.link, 0.0) + ATTEMPT_S + request.patience
            patience = min(quiet_at, request.asked + BUSY_S + request.patience, request.deadline)
            if patience > now:
                self._wait(patience, request)
                return
            if quiet_at <= now and request.deadline - request.started >= ATTEMPT_S:
                self._avoid(request.link, now + _AVOID_SILENT_S)
            request.first = request.first or (None if request.maybe else request.link)
            request.maybe = True
            self._learning.refresh_soon(now)
        if now >= request.deadline:
            self._finish(request, None, self._learning.late(request))
        else:
            self._try_next(request, now)

    def next_deadline(self) -> float | None:
        """When tick must be called at the latest; None when nothing is waited for."""
        attempts, timers = self._attempts, self._timers
        while attempts and attempts[0][2] != attempts[0][1].attempt:
            attempts.popleft()
        while timers and timers[0][3] != timers[0][2].attempt:
            heappop(timers)
        due = self._learning.next_hello if self.view is None else None
        if attempts:
            due = attempts[0][0] if due is None else min(due, attempts[0][0])
        if timers:
            due = timers[0][0] if due is None else min(due, timers[0][0])
        stalled = self._windows.next_deadline()
        return stalled if due is None else due if stalled is None else min(due, stalled)

    @property
    def has_outgoing(self) -> bool:
        return bool(self._outbox or self._questions)

    def drain(self) -> dict[Link, list[Message]]:
        """What is to be sent, by node. One frame for each. To be called until there is nothing."""
        outbox = self._outbox
        if outbox:
            self._outbox = {}
        elif self._questions:
            outbox, self._questions = self._questions, {}
        return outbox
