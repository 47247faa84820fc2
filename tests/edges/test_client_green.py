"""A program on gevent is told what a call does to its greenlets; gevent itself is not needed for that."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import Any

import pytest

import dynazmq
from dynazmq.client.api.green import warn_on_gevent
from dynazmq.errors import DynazmqError


class Greenlet:
    pass


@pytest.fixture
def gevent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As a program may have imported it: nothing patched, in no greenlet."""
    gevent: Any = ModuleType("gevent")
    gevent.Greenlet, gevent.getcurrent = Greenlet, object
    gevent.monkey = ModuleType("gevent.monkey")
    gevent.monkey.is_module_patched = lambda _name: False
    monkeypatch.setitem(sys.modules, "gevent", gevent)
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent.monkey)
    return gevent


def test_whoever_has_patched_threads_or_connects_in_a_greenlet_is_told_where_to_call(gevent: Any) -> None:
    gevent.monkey.is_module_patched = lambda name: name == "threading"
    with pytest.warns(RuntimeWarning, match=r"holds up all its greenlets.*threadpool\.apply"):
        warn_on_gevent(1)
    gevent.monkey.is_module_patched = lambda _name: False
    gevent.getcurrent = Greenlet
    with pytest.warns(RuntimeWarning, match=r"patch_all\(thread=False\)") as told, pytest.raises(DynazmqError):
        dynazmq.connect(endpoints=["tcp://127.0.0.1:1"], timeout=0.05)
    assert told[0].filename == __file__


def test_whoever_has_patched_as_it_is_advised_or_has_no_gevent_is_told_nothing(
    gevent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gevent.monkey.is_module_patched = lambda name: name == "socket"
        warn_on_gevent(1)
        monkeypatch.delitem(sys.modules, "gevent")
        warn_on_gevent(1)
