"""Commands on anti-entropy (§4.7): status, pause, resume."""

from __future__ import annotations

from dynazmq.cli.options import All, Dir, Json, Nodes, Random, Work, aae_app, at, command


@command(aae_app)
def status(
    nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False
) -> Work:
    """Show what is compared, and how far nodes are.

    TREES EQUAL: of the Merkle trees that a node shares with others, those known to be equal in both their present lives.

    \b
    Example:  dynazmq aae status
    """

    def work() -> int:
        from dynazmq.cli.aae import status

        return status(at(directory), nodes or [], all_=all_, at_random=at_random, as_json=as_json)

    return work


@command(aae_app)
def pause(
    nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False
) -> Work:
    """Let nodes compare and mend nothing until resumed; all, if none is named.

    A paused node takes part in no exchange, restarts included. Reads, writes and hints go on.
    Exit code 5 when some node did not answer: it goes on.

    \b
    Example:  dynazmq aae pause
              dynazmq aae pause n3
    """

    def work() -> int:
        from dynazmq.cli.aae import hold

        return hold(at(directory), nodes or [], all_=all_, at_random=at_random, paused=True, as_json=as_json)

    return work


@command(aae_app)
def resume(
    nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False
) -> Work:
    """Let nodes compare and mend again; all, if none is named.

    Exit code 5 when some node did not answer: it is as it was.

    \b
    Example:  dynazmq aae resume
    """

    def work() -> int:
        from dynazmq.cli.aae import hold

        return hold(at(directory), nodes or [], all_=all_, at_random=at_random, paused=False, as_json=as_json)

    return work
