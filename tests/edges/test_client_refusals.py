"""What is refused before anything is sent: with the limit, and with what was given."""

from __future__ import annotations

from typing import Any

import pytest
from client_bench import topology

import dynazmq
from dynazmq.client.api.links import Target
from dynazmq.client.core import flows
from dynazmq.client.core.requests import Options, get_request, put_request
from dynazmq.client.values.context import Context
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import Get, SetBucket
from dynazmq.errors import InvalidRequest, ValueTooLarge

VIEW = View.of(topology(["n1", "n2", "n3", "n4", "n5"], buckets=(("pair", 2, 1, 2),)))
TOKEN = b"\x01" + b"causal" + bytes(16)
OPTIONS = Options()

@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "1 to 1,024 bytes, this one 0"),
        (b"", "1 to 1,024 bytes, this one 0"),
        ("k" * 1025, "1 to 1,024 bytes, this one 1,025"),
        ("ü" * 600, "this one 1,200"),
        ("\ud800", "no UTF-8"),
        (5, "str or bytes, not int"),
        (None, "str or bytes, not NoneType"),
        (bytearray(b"k"), "str or bytes, not bytearray"),
        (["k"], "str or bytes, not list"),
    ],
)
def test_a_key_that_is_none_is_refused_with_the_limit_and_what_was_given(key: Any, text: str) -> None:
    for begin in (
        lambda: next(flows.get(VIEW, OPTIONS, key)),
        lambda: next(flows.put(VIEW, OPTIONS, key, b"v", None)),
        lambda: next(flows.delete(VIEW, OPTIONS, key, None)),
        lambda: next(flows.delete(VIEW, OPTIONS, key, Context(TOKEN))),
    ):
        with pytest.raises(InvalidRequest, match=text):
            begin()


@pytest.mark.parametrize("key", ["a", "k" * 1024, b"\x00\xff", "a/../b\n", "🛒", type("Name", (str,), {})("enum")])
def test_any_other_key_is_taken_byte_for_byte(key: Any) -> None:
    raw = key.encode() if isinstance(key, str) else key
    assert get_request(OPTIONS, VIEW, key).message.key == raw


def test_a_value_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueTooLarge, match=r"value of 1,048,577 bytes is over the limit of 1,048,576 bytes") as caught:
        put_request(OPTIONS, VIEW, "k", bytes((1 << 20) + 1), None)
    assert (caught.value.limit, caught.value.given) == (1 << 20, (1 << 20) + 1)
    for value in (b"", bytes(1 << 20)):
        assert put_request(OPTIONS, VIEW, "k", value, None).message.value == value


def test_a_value_that_fits_into_no_frame_is_refused_whatever_the_cluster_says() -> None:
    generous = topology(["n1"])
    generous.max_value_bytes = 1 << 30
    with pytest.raises(ValueTooLarge):
        put_request(OPTIONS, View.of(generous), "k", bytes(16 << 20), None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"r": 0}, "r=0 is too few: at least 1"),
        ({"r": 4}, "r=4 is more than n=3"),
        ({"r": -1}, "r=-1 is too few"),
        ({"r": True}, "not bool"),
        ({"r": "2"}, "r is a number, 'one', 'quorum' or 'all', not '2'"),
        ({"r": 2.0}, "not float"),
        ({"pr": 4}, "pr=4 is more than n=3"),
        ({"pr": -1}, "pr=-1 is too few: at least 0"),
        ({"n": 4}, "n=4 is not in 1..3, the n of bucket 'default'"),
        ({"n": 0}, "n=0 is too few"),
        ({"n": True}, "not bool"),
        ({"n": "all"}, "n is a number, not 'all'"),
        ({"n": 2, "r": 3}, "r=3 is more than n=2"),
        ({"bucket": "pair", "r": 3}, "r=3 is more than n=2"),
        ({"timeout": 0}, "above 0 and up to 60, not 0"),
        ({"timeout": -1.0}, "not -1.0"),
        ({"timeout": 61}, "up to 60, not 61"),
        ({"timeout": float("nan")}, "not nan"),
        ({"timeout": float("inf")}, "not inf"),
        ({"timeout": "2"}, "not '2'"),
        ({"timeout": True}, "not True"),
        ({"bucket": ""}, "1 to 64 bytes, this one 0"),
        ({"bucket": "b" * 65}, "1 to 64 bytes, this one 65"),
        ({"bucket": "ü" * 33}, "1 to 64 bytes, this one 66"),
        ({"bucket": "a\nb"}, "control characters"),
        ({"bucket": "a\u00a0b"}, "printable"),
        ({"bucket": "\ud800"}, "printable"),
        ({"bucket": b"b"}, "a bucket's name is str, not bytes"),
        ({"resolver": "latest"}, "str cannot be called"),
        ({"colour": "red"}, "no option 'colour'"),
    ],
)
def test_a_bad_option_is_refused_with_the_limit_and_what_was_given(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        next(flows.get(VIEW, OPTIONS.with_(**changes), "k"))
    assert text in str(caught.value)


@pytest.mark.parametrize("what", ["w", "pw"])
def test_a_put_that_wants_more_copies_than_there_are_replicas_is_refused(what: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{what}=3 is more than n=2"):
        next(flows.put(VIEW, OPTIONS.with_(bucket="pair", **{what: 3}), "k", b"v", None))


def test_levels_travel_as_numbers() -> None:
    def levels(**changes: Any) -> tuple[int, int, int]:
        message: Get = get_request(OPTIONS.with_(**changes), VIEW, "k").message
        return message.n, message.r, message.pr

    assert levels() == (0, 0, 0)
    assert levels(r="one") == (0, 1, 0)
    assert levels(r="quorum") == (0, 2, 0)
    assert levels(r="all") == (0, -1, 0)
    assert levels(n=1, r="quorum", pr="all") == (1, 1, 1)
    assert levels(pr="quorum") == (0, 0, 2)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"n": 6}, "n=6 is not in 1..5"),
        ({"n": 2, "r": 3}, "r=3 is not in 1..2"),
        ({"w": 4}, "w=4 is not in 1..3"),
        ({"w": 0}, "w=0"),
        ({"n": True}, "n=True"),
        ({"r": "2"}, "r='2'"),
        ({"conflict": "crdt"}, "conflict='crdt' is not one of siblings, lww"),
        ({"conflict": None}, "conflict=None"),
        ({"conflict": ["lww"]}, "conflict="),
    ],
)
def test_a_policy_that_no_cluster_of_this_size_can_have_is_refused(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        next(flows.configure(VIEW, OPTIONS, **{"n": None, "r": None, "w": None, **asked}))


def test_what_a_policy_leaves_open_is_the_clusters_own_as_far_as_it_fits() -> None:
    (request,) = next(flows.configure(VIEW, OPTIONS.with_(bucket="b"), 1, None, None))
    assert request.message == SetBucket(0, "b", 1, 1, 1, "siblings")
    (request,) = next(flows.configure(VIEW, OPTIONS.with_(bucket="b"), None, None, None, "lww"))
    assert request.message == SetBucket(0, "b", 3, 2, 2, "lww")


@pytest.mark.parametrize(
    ("dir", "endpoints"),
    [
        (None, []),
        (None, [""]),
        (None, ["ipc://"]),
        (None, ["http://n1"]),
        (None, [5]),
        (None, 5),
        (None, ["tcp://127.0.0.1:99999999"]),
        ("d", ["ipc:///tmp/n1"]),
        (5, None),
        (["ipc:///tmp/n1"], None),
    ],
)
def test_what_says_not_where_a_cluster_is_is_refused(dir: Any, endpoints: Any) -> None:
    with pytest.raises(InvalidRequest):
        dynazmq.connect(dir, endpoints)


def test_one_endpoint_may_stand_alone_and_none_counts_twice() -> None:
    assert Target(None, "ipc:///tmp/n1").endpoints == ["ipc:///tmp/n1"]
    assert Target(None, ("tcp://h:1", "tcp://h:1", "tcp://h:2")).endpoints == ["tcp://h:1", "tcp://h:2"]
