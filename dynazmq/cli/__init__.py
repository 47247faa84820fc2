"""The command line. Nothing heavy is imported before a command needs it: `--help` and completion must not wait.

    commands.py *_commands.py   every command: its options, help and example, and where it is done
    up.py progress.py           starting a cluster, and what is said meanwhile
    down.py restart.py          ending one
    rolling.py                  restarting node after node
    status.py shown.py          what is seen of it: `status`, `wait`; the table as text
    membership.py planned.py    add, remove, plan, commit, clear; a plan as text
    losses.py                   acknowledge; partitions of which no copy was left, as text
    change.py                   what is said while members come and go
    nodes.py                    kill, stop, start, pause, resume, wipe, restart, show
    fault_words.py faults.py    what people type of a fault; fault …, fault list
    healing.py schedule.py      heal; fault schedule
    data.py ring.py             put, get, delete, exists, keys, count; who owns what, where a key lives
    looking.py explained.py traced.py    explain; trace get, put, delete
    buckets.py                  bucket set, bucket list
    logs.py events.py asked.py  logs; what happened; commands that act tell so there
    top.py metrics.py           what each node does now; for Prometheus, printed or served
    clusters.py                 list, use, endpoints
    aae.py verify.py            anti-entropy: status, pause, resume; whether replicas hold the same
    chaos.py                    verify --chaos: what is said before, while and after
    edit.py                     a value in an editor
    resolve.py bulk.py          siblings to one value; mget, export, import
    hints.py settings.py        hints list, hints drain; config show, config path
    doctor.py bundle.py         what is wrong; what somebody else needs to see
    inspect.py demo.py          what lies on a node's disk; the tour
    tree.py completion.py       the commands without building them; what a shell offers at TAB
    escaping.py                 keys and values as text that can be read back
    terminal.py words.py        colours, questions, JSON; durations, sizes, lists of nodes
    restored.py                 a terminal that is as it was, whatever ends a full-screen program

Data goes to standard output; errors, questions and "next" hints to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from dynazmq.errors import NotPermitted

OK, FAILED, USAGE, ABSENT, SIBLINGS, UNAVAILABLE, TIMED_OUT, NOT_RUNNING, DEGRADED, NO_QUORUM, CHECK_FAILED, DATA_LOST = range(12)
"""Exit codes; 130 when interrupted."""

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code. No exception leaves this function as a traceback."""
    from dynazmq import streams
    from dynazmq.errors import DynazmqError, NotPermitted

    try:
        if shell := os.environ.get("_DYNAZMQ_COMPLETE"):  # TAB was pressed in a shell
            from dynazmq.cli.completion import answer

            code = answer(shell, sys.argv[1:] if arguments is None else arguments)
        else:
            from dynazmq.cli.commands import run

            code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        if code == OK and (lost := streams.loss()) is not None:
            raise lost
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `dynazmq keys | head`: nobody reads any more, which is no error
        return OK
    except NotPermitted as error:
        from dynazmq.cli.terminal import error as show

        show(_with_who_runs_it(error))
        return code_of(error)
    except DynazmqError as error:
        from dynazmq.cli.terminal import error as show

        show(str(error))
        return code_of(error)
    except PermissionError as error:
        from dynazmq.cli.terminal import error as show

        show(_refused(error))
        return FAILED
    except OSError as error:
        from dynazmq.cli.terminal import error as show

        show(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        return FAILED
    except Exception as error:  # the edge of the process
        if os.environ.get("DYNAZMQ_TRACEBACK"):
            raise
        from dynazmq.cli.terminal import error as show

        show(f"this is a bug in dynazmq: {type(error).__name__}: {error} (DYNAZMQ_TRACEBACK=1 shows where)")
        return FAILED


def command() -> NoReturn:
    """This process is one command."""
    from dynazmq import inherited

    inherited.prepare()
    leave(main())


def leave(code: int) -> NoReturn:
    """End the process with this code.

    CPython remembers a KeyboardInterrupt that came out of `exec("…")`, as when an import makes a dataclass, and ends `python -m`
    by SIGINT in the end, although it was handled long ago. Another `exec` makes it forget.
    """
    exec("")
    sys.exit(code)


def _with_who_runs_it(error: NotPermitted) -> str:
    from dynazmq.cluster import processes

    others = processes.of_others(error.directory) if error.directory is not None else []
    return f"{error}    {processes.named(others)}" if others and processes.named(others) not in str(error) else str(error)


def _refused(error: PermissionError) -> str:
    """Whose it is that may not be used, where a path was named."""
    from dynazmq import users

    if not isinstance(error.filename, str):
        return f"{error.strerror or error}"
    return f"{error.strerror}: {users.refused(Path(error.filename).absolute())}"


def code_of(error: Exception) -> int:
    """The exit code that an error of ours stands for."""
    from dynazmq import errors

    table: list[tuple[type[Exception], int]] = [
        (errors.InvalidRequest, USAGE),
        (errors.KeyNotFound, ABSENT),
        (errors.ConflictError, SIBLINGS),
        (errors.Unavailable, UNAVAILABLE),
        (errors.Overloaded, UNAVAILABLE),
        (errors.QuorumTimeout, TIMED_OUT),
        (errors.NoSuchCluster, NOT_RUNNING),
        (errors.ClusterUnreachable, NOT_RUNNING),
    ]
    return next((code for kind, code in table if isinstance(error, kind)), FAILED)
