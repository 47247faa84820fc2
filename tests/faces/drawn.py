"""Drawn histories of traced requests: what each node noted, line by line, and the trace that comes of it.

A line is `microseconds what peer message request-id operation [note] [size] [since] [woke]`, in which - stands for nothing and
`me` for the client that traces.
"""

from __future__ import annotations

from dynazmq.client.inspect.trace import Timeline, read
from dynazmq.client.inspect.traced import CLIENT, Point, Trace
from dynazmq.errors import DynazmqError


def noted(node: str, drawing: str) -> list[Point]:
    rows = []
    for line in drawing.strip().splitlines():
        at, what, peer, message, request_id, operation, *rest = line.split()
        note, size, since, woke = [*rest, "-", "0", "0", "0"][: len(rest)] + ["-", "0", "0", "0"][len(rest) :]
        peer, message, note = ("" if each in ("-", "me") else each for each in (peer, message, note))
        numbers = [int(number) for number in (size, since, woke)]
        rows.append([int(at), what, peer, message, int(request_id), int(operation), note.replace("+", " "), *numbers])
    return read(node, rows)


def drawn(
    operation: str,
    *tries: tuple[int, str],
    ended: int,
    other_clocks: tuple[str, ...] = (),
    error: DynazmqError | None = None,
    silent: dict[str, str] | None = None,
    **nodes: str,
) -> Trace:
    """tries: when the client asked whom."""
    message = "Get" if operation == "get" else "Put"
    asked = [Point(at, CLIENT, "asked", node, message, 9) for at, node in tries]
    end = Point(ended, CLIENT, "failed" if error else "answered", tries[-1][1], "", 9)
    timeline = Timeline(asked, end, {name: noted(name, drawing) for name, drawing in nodes.items()}, other_clocks)
    answer = timeline.answer()
    return Trace(
        operation=operation, bucket="default", key=b"cart:42", needed=2, elapsed_us=ended - tries[0][0],
        quorum_us=answer.at_us if answer else None, quorum_of=tuple(answer.note.split()) if answer else (),
        rows=tuple(timeline.rows()), points=tuple(timeline.points()), comparable=not other_clocks, silent=silent or {},
        others=timeline.others, error=error,
    )  # fmt: skip


def a_put() -> Trace:
    """W=2 of n1 n2; n3 answers when the client has gone."""
    return drawn(
        "put", (1000, "n1"), ended=3100,
        n1="""
            1400 heard     me Put        9 1 -     5 900 1350
            1600 done      -  -          0 1
            2000 committed -  -          0 1 -     1 1650
            2050 sent      n2 Write      7 1 -     70
            2060 sent      n3 Write      7 1 -     70
            2900 heard     n2 WriteReply 0 1 -     0 2100 2880
            2930 done      -  -          0 1
            2940 committed -  -          0 1 -     0 2931
            3000 sent      me PutReply   9 1 n1+n2 0
            4600 heard     n3 WriteReply 0 1 -     0 3010 4590
            4610 done      -  -          0 1
        """,
        n2="""
            2200 heard     n1 Write      7 4 -     70 1000 2180
            2300 done      -  -          0 4
            2700 committed -  -          0 4 -     1 2350
            2750 sent      n1 WriteReply 0 4 -     0
        """,
        n3="""
            3600 heard     n1 Write      7 2 -     70 3500 3550
            3700 done      -  -          0 2
            4400 committed -  -          0 2 -     1 3750
            4450 sent      n1 WriteReply 0 2 -     0
        """,
    )  # fmt: skip


def with_a_stand_in() -> Trace:
    """n2 is frozen and was not watched; after 400 ms n4 takes its copy. Somebody else reads the key meanwhile."""
    return drawn(
        "put", (0, "n1"), ended=2100, silent={"n2": "no answer in 0.15 s"},
        n1="""
            300    heard     me     Put        9 1 -     5 100 280
            400    heard     client Get        9 2 -     0 100 280
            500    done      -      -          0 1
            900    committed -      -          0 1 -     1 510
            1000   sent      n2     Write      7 1 -     70
            1010   sent      n3     Write      7 1 -     70
            1900   heard     n3     WriteReply 0 1 -     0 1050 1890
            1950   done      -      -          0 1
            2000   sent      me     PutReply   9 1 n1+n3 0
            402000 sent      n4     Write      7 1 n2    70
            403000 heard     n4     WriteReply 0 1 -     0 402100 402990
            403010 done      -      -          0 1
        """,
        n3="""
            1100   heard     n1     Write      7 1 -     70 100 1090
            1200   done      -      -          0 1
            1600   committed -      -          0 1 -     1 1210
            1650   sent      n1     WriteReply 0 1
        """,
        n4="""
            402200 heard     n1     Write      7 1 n2    70 100 402190
            402300 done      -      -          0 1
            402700 committed -      -          0 1 -     1 402310
            402800 sent      n1     WriteReply 0 1
        """,
    )  # fmt: skip


def a_hedged_get() -> Trace:
    """n2 is slow, so n3 is asked as well; n2's late answer shows that it lacks a write, and it is repaired."""
    return drawn(
        "get", (0, "n1"), ended=9300,
        n1="""
            200   heard me Get       9 1 -     0 50 190
            300   done  -  -         0 1
            350   sent  n2 Read      3 1
            6000  sent  n3 Read      3 1
            8900  heard n3 ReadReply 3 1 -     70 6100 8890
            9000  done  -  -         0 1
            9100  sent  me GetReply  9 1 n1+n3 1
            12000 heard n2 ReadReply 3 1 -     0 9200 11990
            12100 done  -  -         0 1
            12200 sent  n2 Write     0 1 -     70
        """,
        n2="""
            10000 heard n1 Read      3 1 -     0 9000 9990
            10100 done  -  -         0 1
            10150 sent  n1 ReadReply 3 1 -     0
            12400 heard n1 Write     0 2 -     70 10200 12390
            12500 done  -  -         0 2
            12900 committed - -      0 2 -     1 12510
        """,
        n3="""
            6200  heard n1 Read      3 1 -     0 100 6190
            6300  done  -  -         0 1
            6400  sent  n1 ReadReply 3 1 -     70
        """,
    )  # fmt: skip


def passed_on() -> Trace:
    """n5 holds no copy: it passes the put on to n1. n1's clock is another host's."""
    return drawn(
        "put", (1000, "n5"), ended=4000, other_clocks=("n1",),
        n5="""
            1200 heard me Put      9 1 -         5 1000 1190
            1300 done  -  -        0 1
            1400 sent  n1 Put      6 1 passed+on 5
            3700 heard n1 PutReply 6 1 n1+n2     0 1500 3690
            3750 done  -  -        0 1
            3800 sent  me PutReply 9 1 n1+n2     0
        """,
        n1="""
            900500 heard     n5 Put        6 1 passed+on 5 900000 900480
            900700 done      -  -          0 1
            901000 committed -  -          0 1 -         1 900710
            901100 sent      n2 Write      8 1 -         70
            902000 heard     n2 WriteReply 0 1
            902050 done      -  -          0 1
            902100 sent      n5 PutReply   6 1 n1+n2     0
        """,
    )  # fmt: skip
