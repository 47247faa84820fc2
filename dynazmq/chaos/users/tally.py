"""What was tried how often, as figures and in words. Pure."""

from __future__ import annotations

from collections import Counter

READERS, UNREAD = "slow_readers", "replies_not_read"
CONNECTIONS, HELD, BROKEN, NOT_LET_IN = "connections", "held_open", "broken_handshakes", "not_let_in"
FRAMES, LOUD = "garbage_frames", "garbage_clients"
BURSTS, REQUESTS, DONE, OVERLOADED, LATE, REFUSED, UNANSWERED = (
    "bursts", "burst_requests", "burst_ok", "burst_overloaded", "burst_late", "burst_refused", "burst_unanswered",
)  # fmt: skip
LARGE_PUTS, LARGE_READS, LARGE_UNKNOWN, LARGE_REFUSED = "large_puts", "large_reads", "large_unknown", "large_refused"

NAMES = (
    READERS, UNREAD, CONNECTIONS, HELD, BROKEN, NOT_LET_IN, FRAMES, LOUD, BURSTS, REQUESTS, DONE, OVERLOADED, LATE, REFUSED,
    UNANSWERED, LARGE_PUTS, LARGE_READS, LARGE_UNKNOWN, LARGE_REFUSED,
)  # fmt: skip
"""Of all figures, as they are in the document.

replies_not_read: asked for by slow readers who went away without them. connections: all of them. held_open: of these, those that
say nothing at all; broken_handshakes: those that begin with something else than a handshake, or never end it. burst_late: failed
at their deadline; burst_refused: for another reason, a fault mostly; burst_unanswered: given up by age, or the node was ended.
"""


def in_words(tally: Counter[str]) -> str:
    said = [
        f"garbage frames {tally[FRAMES]:,}",
        f"slow readers {tally[READERS]:,} ({tally[UNREAD]:,} replies not read)",
        f"connections {tally[CONNECTIONS]:,} ({tally[HELD]:,} held open, {tally[BROKEN]:,} broken handshakes)",
        f"large puts {tally[LARGE_PUTS]:,}" + _some(tally, ((LARGE_UNKNOWN, "of unknown outcome"), (LARGE_REFUSED, "refused"))),
        f"bursts {tally[BURSTS]:,} ({tally[REQUESTS]:,} requests: {_parts(tally, _ENDS)})",
    ]
    return ", ".join(said)


_ENDS = ((DONE, "ok"), (OVERLOADED, "overloaded"), (LATE, "late"), (REFUSED, "refused"), (UNANSWERED, "not answered"))


def _parts(tally: Counter[str], names: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{tally[name]:,} {word}" for name, word in names if tally[name] or name == DONE)


def _some(tally: Counter[str], names: tuple[tuple[str, str], ...]) -> str:
    return f" ({_parts(tally, names)})" if any(tally[name] for name, _ in names) else ""
