"""The declaration of a message: all that anybody must know of it, in one place.

    @message(13, by=PEER, declined=REFUSED)
    @dataclass(slots=True)
    class Read(Message):
        request_id: RequestId
        …

    @message(14, answers=(Read,))
    @dataclass(slots=True)
    class ReadReply(Message):
        …

From these are made

    what is let in, and encoder and decoder      wire/rows.py
    who may send it; which ages it bears         wire/gate.py     `may_come_from`, `budgeted`, `aging`, `dated`, `about_lives`
    whom it goes to; how it is declined          dynamo/node.py   `declined`, `vouching`, `acknowledging`
    which request it answers                     client/core/core.py   `answer_to`
    what a trace shows                           wire/tracing.py  `traced`, `traced_answers`
    the page about the protocol                  tools/protocol_page.py
    frames that nobody should send               simulator/run/draw.py, sent by tools/fuzz and chaos/users

To add one: its declaration, in the module of its conversation, and its name in `messages/__init__.py`; its handler in `Node`; a
test; and `make protocol`, which writes the page anew. A message that a node may be sent and has no handler for fails a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any, TypeVar

from dynazmq.dynamo.messages.fields import Kind, columns_of


class Message:
    """What goes from one to another, in a frame with others."""

    __slots__ = ()


class Sender(Flag):
    """Who may send a message to a node. STRANGER: a client that does not know the cluster's id yet."""

    NOBODY = 0
    STRANGER = auto()
    CLIENT = auto()
    PEER = auto()


class Decline(Enum):
    """How a node says that it does not do what it was asked: by a Failure (mostly to clients), by a Refused, or not at all."""

    FAILURE = "Failure"
    REFUSED = "Refused"
    SILENCE = "nothing"


NOBODY, STRANGER, CLIENT, PEER = Sender.NOBODY, Sender.STRANGER, Sender.CLIENT, Sender.PEER
FAILURE, REFUSED, SILENCE = Decline.FAILURE, Decline.REFUSED, Decline.SILENCE


@dataclass(frozen=True, slots=True)
class Declaration:
    """One message. conversation: the module in which it is declared."""

    cls: type[Message]
    code: int
    by: Sender
    answers: tuple[type[Message], ...]
    declines: Decline
    declined: Decline
    vouches: bool
    dated: bool
    about_lives: bool
    traced: bool
    fields: tuple[tuple[str, Kind], ...]

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def conversation(self) -> str:
        return self.cls.__module__

    def answered_to(self, asker: Sender) -> bool:
        """Whether it answers or declines what such a one asks."""
        asked = [each for each in _declared.values() if each.by & asker]
        declines = self.declines is not SILENCE and self.declines in [each.declined for each in asked]
        return declines or any(each.cls in self.answers for each in asked)

    def has(self, field: str) -> bool:
        return any(name == field for name, _ in self.fields)


M = TypeVar("M", bound=Message)
_declared: dict[type, Declaration] = {}


def message(
    code: int,
    *,
    by: Sender = NOBODY,
    answers: tuple[type[Message], ...] = (),
    declines: Decline = SILENCE,
    declined: Decline = SILENCE,
    vouches: bool = False,
    dated: bool = False,
    about_lives: bool = False,
    traced: bool = False,
) -> Callable[[type[M]], type[M]]:
    """Declare a message.

    code: its first field on the wire; it never changes. by: who may begin with it. answers: the requests that it answers: a node
    answers whoever asked, so these need no `by`. declines: the way of declining that this message is. declined: how it is
    declined itself.

    vouches: it says, or rests on it, that something is stored: it is not said when the turn's commit has failed. dated: it brings
    a state into the rows of whoever gets it, at any time: it is refused when it was under way for very long (tombstone_gc.py
    rests on it). What brings a state in answer to a question ends with the question, sooner. about_lives: it tells who lives, so
    it is heard from and for earlier lives of both sides, too. traced: it is about one key, and a trace of the key shows it and
    its answer.
    """

    def declare(cls: type[M]) -> type[M]:
        _declared[cls] = Declaration(
            cls, code, by, answers, declines, declined, vouches, dated, about_lives, traced, columns_of(cls)
        )  # fmt: skip
        return cls

    return declare


def declarations() -> tuple[Declaration, ...]:
    """All of them, by code. Whoever calls it has imported `dynazmq.dynamo.messages`, and with it all conversations."""
    every = tuple(sorted(_declared.values(), key=lambda each: each.code))
    assert [each.code for each in every] == list(range(len(every))), "each code is given once, and none is left out"
    return every


def those(fits: Callable[[Declaration], Any]) -> frozenset[type[Any]]:
    """The messages whose declarations are so."""
    return frozenset([each.cls for each in declarations() if fits(each)])
