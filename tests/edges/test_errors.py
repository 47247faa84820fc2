"""Every exception crosses a process boundary with its numbers: pools and executors pickle what a worker raises."""

import pickle

import pytest

from dynazmq import errors
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import Result

RESULT = Result("k", [b"a", b"b"], Context(b"\x01" + bytes(20)), ("n1",), [[b"a", "n1", 1, 0], [b"b", "n2", 1, 0]])
ARGUMENTS = {"ValueTooLarge": (10, 20), "ConflictError": ("two values", RESULT), "Overloaded": ("busy", 0.5)}
EVERY = sorted(name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.DynazmqError))


@pytest.mark.parametrize("name", EVERY)
def test_an_error_survives_pickling_with_all_that_it_says(name: str) -> None:
    error = getattr(errors, name)(*ARGUMENTS.get(name, ("text",)))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
