"""Faults that people switch on to watch what Dynamo does with them: partition, one-way, isolate, slow, drop, skew, disk-full.

    fault.py     a fault as a value: its limits, its form in DIR/faults.json, its line for people
    effects.py   what the faults that are on mean to one node: which frame is lost or late, its clock, its disk

Pure: no socket, file or clock. `cluster/directory/faults.py` keeps the file, `wire/faulty.py` does it to a node.
"""

from dynazmq.faults.effects import Effects, Link
from dynazmq.faults.fault import (
    DISK_FULL,
    DROP,
    ISOLATE,
    KINDS,
    ONE_WAY,
    PARTITION,
    SKEW,
    SLOW,
    Fault,
    as_text,
    check,
    describe,
    from_text,
    lasts,
    same,
    touches,
)

__all__ = [
    "DISK_FULL",
    "DROP",
    "ISOLATE",
    "KINDS",
    "ONE_WAY",
    "PARTITION",
    "SKEW",
    "SLOW",
    "Effects",
    "Fault",
    "Link",
    "as_text",
    "check",
    "describe",
    "from_text",
    "lasts",
    "same",
    "touches",
]
