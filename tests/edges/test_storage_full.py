"""A disk that is really full: files may not grow (S3, S4). In a process of its own, which has that limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILL = """
import os, resource, sys, time
from pathlib import Path
from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.storage.checkpoint import Lengths
from dynazmq.storage.sqlite import SqliteStorage

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

store = SqliteStorage(Path(sys.argv[1]), sys.argv[2], lengths=Lengths(restart=5 << 20))
stored, hinted, refused = [], [], 0
limit(6 << 20)
turn = 0
while refused < 200 and turn < 100_000:
    for number in range(20):
        store.write((turn * 20 + number) * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % turn, b"%d " % turn + bytes(300))
    store.write_hint("n1", turn, "b", b"hint", b"%d" % turn)
    try:
        store.commit()
    except StoreFailed:
        store.rollback()
        refused += 1
    else:
        stored.append(turn)
    turn += 1

def missing():
    lost = 0
    for turn in stored:
        for number in range(20):
            state = store.read((turn * 20 + number) * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % turn)
            lost += not state.startswith(b"%d " % turn)
        lost += store.read_hint("n1", turn, "b", b"hint") != b"%d" % turn
    return lost

print("while full", len(stored) > 100, refused, missing(), flush=True)
store.rollback()
store.delete_hint("n1", stored[0], "b", b"hint")
limit(resource.RLIM_INFINITY)
for again in range(50):
    store.write(again << 50, "c", b"k", b"room")
    store.commit()
store.write_hint("n1", stored[0], "b", b"hint", b"%d" % stored[0])
store.commit()
print("with room again", missing(), flush=True)
if sys.argv[3] == "killed":
    os._exit(0)
store.close()
"""


@pytest.mark.parametrize("end", ["killed", "stopped"])
@pytest.mark.parametrize("sync", ["full", "normal"])
def test_s4_a_disk_full_in_commits_checkpoints_and_hints_loses_nothing_and_needs_no_restart(
    tmp_path: Path, sync: str, end: str
) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path / "data.db"), sync, end]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert ran.stderr == ""
    assert ran.stdout == "while full True 200 0\nwith room again 0\n"
    check = [sys.executable, "-c", CHECK, str(tmp_path / "data.db")]
    assert subprocess.run(check, capture_output=True, text=True, timeout=50).stdout == "ok\n"


CHECK = """
import sys
from pathlib import Path
from dynazmq.storage.sqlite import SqliteStorage
store = SqliteStorage(Path(sys.argv[1]), "full")
assert all(store.read(again << 50, "c", b"k") == b"room" for again in range(50))
print(store._execute("PRAGMA integrity_check").fetchone()[0])
store.close()
"""
