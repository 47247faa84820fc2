"""One vocabulary: each command, the key of the terminal UI that does the same, and the Python call that does.

    docs/commands.md          is made of this table and of the commands' own help (`make commands`)
    dynazmq/tui/keys.py       each key that acts is one of these rows, or in UI_ONLY
    dynazmq/cli               each command is a row, and each row a command
    tests/faces/test_vocabulary.py    fails when one of them has moved away from the others

A call is written as in a program that has said

    import dynazmq
    from dynazmq.cluster import control
    from dynazmq.cluster.directory import faults
    from dynazmq.cluster.observe import events, observe, verify
    from dynazmq.cluster.operations import checkup, launch
    from dynazmq.storage.inspection import Inspection
    client = dynazmq.connect();  bucket = client.bucket("carts");  dir = dynazmq.paths.cluster_dir()

and has "" where a program would do without: what is for people's eyes and shells. All commands can also be run in a program's own
process: `dynazmq.cli.main(["kill", "n3"])` returns the exit code.
"""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """One thing that can be done, by its three names."""

    command: str  # without "dynazmq"
    call: str = ""
    key: str = ""
    short: str = ""  # another command for the same


WORDS = (
    Word("cluster up", 'dynazmq.cli.main(["up", "-n", "5"])', short="up"),
    Word("cluster down", "launch.end_cluster(dir)", "Q", "down"),
    Word("cluster restart", 'dynazmq.cli.main(["cluster", "restart"])'),
    Word("cluster status", "observe.observe(dir)", short="status"),
    Word("cluster wait", "observe.observe(dir).converged"),
    Word("cluster list", "launch.known_clusters(dir)"),
    Word("cluster use", "dynazmq.paths.choose(dir)"),
    Word("cluster endpoints", "dynazmq.paths.ClusterFile.load(dir).members"),
    Word("cluster events", "events.read(dir)", "e"),
    Word("cluster add", 'dynazmq.cli.main(["cluster", "add"])'),
    Word("cluster remove", 'dynazmq.cli.main(["cluster", "remove", "n2"])'),
    Word("cluster plan", 'dynazmq.cli.main(["cluster", "plan"])'),
    Word("cluster commit", 'dynazmq.cli.main(["cluster", "commit"])'),
    Word("cluster clear", 'dynazmq.cli.main(["cluster", "clear"])'),
    Word("cluster acknowledge", 'dynazmq.cli.main(["cluster", "acknowledge"])'),
    Word("node add", 'dynazmq.cli.main(["node", "add"])'),
    Word("node leave", 'dynazmq.cli.main(["node", "leave", "n2"])'),
    Word("node start", 'control.call(dir, "start", nodes=["n3"])', "S"),
    Word("node kill", 'control.call(dir, "kill", nodes=["n3"])', "K", "kill"),
    Word("node stop", 'control.call(dir, "stop", nodes=["n3"])', "T"),
    Word("node restart", 'control.call(dir, "restart", nodes=["n3"])', "R"),
    Word("node pause", 'control.call(dir, "pause", nodes=["n3"])', "P", "pause"),
    Word("node resume", 'control.call(dir, "resume", nodes=["n3"])', "P", "resume"),
    Word("node wipe", 'control.call(dir, "wipe", nodes=["n3"])', "W"),
    Word("node show", "observe.observe(dir).nodes", "Enter"),
    Word("fault partition", "faults.put_on(dir, fault, members)", "X", "partition"),
    Word("fault one-way", "faults.put_on(dir, fault, members)"),
    Word("fault isolate", "faults.put_on(dir, fault, members)"),
    Word("fault slow", "faults.put_on(dir, fault, members)"),
    Word("fault drop", "faults.put_on(dir, fault, members)"),
    Word("fault skew", "faults.put_on(dir, fault, members)"),
    Word("fault disk-full", "faults.put_on(dir, fault, members)"),
    Word("fault list", "faults.load(dir)"),
    Word("fault heal", "faults.heal(dir)", "H", "heal"),
    Word("fault schedule", 'dynazmq.cli.main(["fault", "schedule", "FILE"])'),
    Word("put", "client.put(key, value, context)"),
    Word("get", "client.get(key)"),
    Word("delete", "client.delete(key, context)"),
    Word("exists", "client.get(key).found"),
    Word("edit", "client.put(key, value, context)"),
    Word("resolve", "client.put(key, value, context)"),
    Word("explain", "client.explain(key)", "G"),
    Word("trace get", "client.trace_get(key)"),
    Word("trace put", "client.trace_put(key, value, context)"),
    Word("trace delete", "client.trace_delete(key, context)"),
    Word("keys", "client.keys()"),
    Word("count", "client.keys()"),
    Word("mget", "client.get_many(keys)"),
    Word("export", "client.get_iter(keys)"),
    Word("import", "client.put_many(items, contexts)"),
    Word("bucket set", 'bucket.configure(conflict="lww")'),
    Word("bucket list", "client.view"),
    Word("ring", "client.view"),
    Word("hints list", "observe.observe(dir).nodes", "h"),
    Word("hints drain", "observe.observe(dir).nodes"),
    Word("aae status", "observe.observe(dir).nodes", "a"),
    Word("aae pause", 'dynazmq.cli.main(["aae", "pause"])'),
    Word("aae resume", 'dynazmq.cli.main(["aae", "resume"])'),
    Word("verify", "verify.verify(dir, deep=True, step=print)"),
    Word("doctor", 'checkup.examine(dir, "")'),
    Word("inspect", 'Inspection(path).key("default", key)'),
    Word("support-bundle", 'dynazmq.cli.main(["support-bundle"])'),
    Word("logs", key="L"),
    Word("top"),
    Word("metrics", 'dynazmq.cli.main(["metrics"])'),
    Word("metrics serve", 'dynazmq.cli.main(["metrics", "serve"])'),
    Word("tui"),
    Word("demo"),
    Word("bench", 'dynazmq.cli.main(["bench", "--json"])'),
    Word("simulate", 'dynazmq.cli.main(["simulate", "--json"])'),
    Word("config show", "dynazmq.paths.ClusterFile.load(dir)"),
    Word("config path", "dynazmq.paths.cluster_dir()"),
    Word("completion install"),
    Word("completion show"),
    Word("version", "dynazmq.__version__"),
)

UI_ONLY = {"B": "a load that remembers what was acknowledged and looks for it afterwards: there to be watched"}
"""Keys that act on a cluster and have no command, and why."""


def commands() -> dict[str, Word]:
    """By each name that it has on the command line."""
    found = {word.command: word for word in WORDS}
    return found | {word.short: word for word in WORDS if word.short}


def by_key() -> dict[str, list[Word]]:
    found: dict[str, list[Word]] = {}
    for word in WORDS:
        if word.key:
            found.setdefault(word.key, []).append(word)
    return found
