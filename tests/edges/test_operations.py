"""Errors say what has failed in the words of who asked for it, whichever message of it was refused: a command, or a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_bench import CLUSTER_ID, topology
from client_fakes import Fakes, sealed

from dynazmq.cli import main
from dynazmq.client.core import flows
from dynazmq.client.core.requests import Options, about
from dynazmq.client.core.scan import Scanner
from dynazmq.client.inspect import looking
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import UNAVAILABLE, Failure
from dynazmq.errors import DynazmqError, Unavailable
from dynazmq.paths import ClusterFile, ipc_endpoint

VIEW = View.of(topology(["n1", "n2", "n3"]))


def refuse(_name: str, message: Any) -> list[bytes]:
    """As nodes do that reach too few replicas."""
    return sealed(Failure(message.request_id, UNAVAILABLE, 2, 1, 0, "2 replicas are needed, 1 can be reached"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Whose nodes refuse whatever they are asked."""
    directory = tmp_path_factory.mktemp("c")
    with Fakes("n1", "n2", "n3", behaviour=refuse) as fakes:
        members = {name: ipc_endpoint(directory, name) for name in fakes.endpoints}
        ClusterFile(name="c", cluster_id=CLUSTER_ID, secret=b"s" * 32, members=members, home=str(directory)).save(directory)
        (directory / "run").mkdir(mode=0o700)
        for name, endpoint in members.items():
            Path(endpoint.removeprefix("ipc://")).symlink_to(fakes.endpoints[name].removeprefix("ipc://"))
        header = '{"schema": "dynazmq.export/1", "cluster": "c", "cluster_id": "0", "bucket": "b"}'
        (directory / "lines").write_text(header + '\n{"key": "k", "values": ["v"]}\n')
        yield directory


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("put", "k v"), ("put", "k v --blind"), ("put", "k v -r 2"), ("get", "k"), ("delete", "k"), ("exists", "k"),
        ("edit", "k"), ("resolve", "k --take 1"), ("keys", ""), ("count", ""), ("mget", "k"), ("export", "-"),
        ("import", "lines"), ("bucket set", "b --conflict lww"), ("trace put", "k v"), ("trace delete", "k"),
    ],
)  # fmt: skip
def test_an_error_names_the_command_that_was_typed(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, arguments: str
) -> None:
    monkeypatch.setattr("dynazmq.cli.data.anybody_runs", lambda _directory, _members: True)
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.chdir(cluster)
    code = main([*command.split(), *arguments.split(), "--dir", str(cluster)])
    told = "".join(capsys.readouterr())  # a trace shows the error in its drawing
    assert code == 5, told
    named = re.findall(r"([a-z ]+) b?'[kb]': (?:2 replicas are needed|unknown whether)", told)
    if command in ("keys", "count", "export"):  # they go to others until none is left, and say of which keys
        assert "the keys of partition 0 need" in told
    else:
        assert [each.strip() for each in named] == [command]


def _failed(flow: Any) -> str:
    """Its error, or that of its first key, when its last request was refused and those before it found a value."""
    try:
        requests = next(flow)
        while True:
            for request in requests:
                request.error = Unavailable(about(request))
            requests = flow.send(None)
    except StopIteration as stop:
        return str(next(iter(stop.value.failed.values())))
    except DynazmqError as error:
        return str(error)


@pytest.mark.parametrize(
    ("flow", "call"),
    [
        (lambda options: flows.get(VIEW, options, "k"), "get 'k'"),
        (lambda options: flows.put(VIEW, options, "k", b"", None), "put 'k'"),
        (lambda options: flows.delete(VIEW, options, "k", None), "delete 'k'"),
        (lambda options: flows.get_many(VIEW, options, ["k"]), "get 'k'"),
        (lambda options: flows.put_many(VIEW, options, {"k": b""}, None), "put 'k'"),
        (lambda options: flows.delete_many(VIEW, options, ["k"], None), "delete 'k'"),
        (lambda options: flows.configure(VIEW, options, None, None, None), "configure 'default'"),
        (lambda options: looking.trace_delete(VIEW, options, "k", None), "delete 'k'"),
    ],
)
def test_an_error_names_the_call_or_the_operation_that_it_is_part_of(flow: Callable[[Options], Any], call: str) -> None:
    assert _failed(flow(Options())) == call
    assert _failed(flow(Options().with_(operation="check out"))) == call.replace(call.split()[0], "check out")


def test_the_pages_of_a_scan_are_part_of_the_operation_that_wants_them() -> None:
    for options, operation in ((Options(), "keys"), (Options().with_(operation="count"), "count")):
        asked = next(flows.page(VIEW, options, Scanner("b", 1.0, lambda: VIEW, lambda _: True)))
        assert [about(request) for request in asked] == [operation] * len(asked) != []
