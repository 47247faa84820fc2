"""`bucket set`: what a person is told that reads will see otherwise."""

from __future__ import annotations

import pytest

from dynazmq.cli.buckets import seen_by_reads
from dynazmq.client.values.view import Policy

USUAL = Policy(3, 2, 2)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (USUAL, USUAL, []),
        (USUAL, Policy(3, 2, 3), []),
        (USUAL, Policy(3, 2, 2, "lww"), ["reads see one value where there are siblings"]),
        (Policy(3, 2, 2, "lww"), USUAL, ["reads may see several values of a key"]),
        (USUAL, Policy(3, 1, 2), ["a read may miss what was written just before: R=1 and W=2 of N=3"]),
        (Policy(3, 1, 1), Policy(3, 1, 2), []),
        (USUAL, Policy(3, 3, 2), ["a read needs 3 replicas in place of 2"]),
        (
            Policy(1, 1, 1),
            USUAL,
            ["a read needs 2 replicas", "reads go by N=1 R=1 until all is in place: 2 replicas more of each key"],
        ),
        (USUAL, Policy(2, 2, 2), ["reads go by N=3 R=2 until all is in place: 1 replica less of each key"]),
        (
            Policy(3, 2, 2, "lww"),
            Policy(5, 2, 2),
            ["reads may see several", "a read may miss", "reads go by N=3 R=2"],
        ),
    ],
)
def test_what_reads_will_see_otherwise_is_said_and_nothing_else(before: Policy, after: Policy, said: list[str]) -> None:
    found = seen_by_reads(before, after)
    assert len(found) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(found, said, strict=True))
