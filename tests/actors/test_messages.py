import gc
import pickle
import weakref

import pytest

from actors.messages import Completed, ErrorRecord, Failure, is_out_of_memory, record_error
from engine.errors import InputError


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def caught(error: Exception) -> ErrorRecord:
    try:
        raise error
    except Exception as raised:
        return record_error(raised, 1.5)


def test_messages_survive_pickling() -> None:
    failure = Failure("a", "ValueError", "no", "trace", 2, 0.5)
    for message in (Completed("a", {"seed": 1, "steps": None}, 1), failure, caught(ValueError("no"))):
        assert pickle.loads(pickle.dumps(message)) == message


def test_a_record_says_what_happened_and_where() -> None:
    record = caught(ValueError("no"))
    assert (record.error_type, record.message, record.wall_time_s) == ("ValueError", "no", 1.5)
    assert "in caught" in record.traceback
    assert (record.retryable, record.poisoned, record.out_of_memory, record.fatal) == (True, False, False, False)


def test_input_errors_are_not_retried() -> None:
    assert not caught(InputError("no")).retryable


@pytest.mark.parametrize(
    ("error", "out_of_memory", "poisoned"),
    [
        (MemoryError(), True, True),
        (OutOfMemoryError("device full"), True, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("shapes differ"), False, False),
    ],
)
def test_errors_that_may_have_spoilt_the_process(error: Exception, out_of_memory: bool, poisoned: bool) -> None:
    record = caught(error)
    assert (record.out_of_memory, record.poisoned) == (out_of_memory, poisoned)
    assert is_out_of_memory(error) == out_of_memory


def test_a_record_lets_the_exception_and_its_frames_go() -> None:
    class Tensor:
        pass

    def fail() -> weakref.ref[Tensor]:
        tensor = Tensor()
        reference = weakref.ref(tensor)
        try:
            raise ValueError("no")
        except ValueError as raised:
            record_error(raised, 0.0)
        return reference

    reference = fail()
    gc.collect()
    assert reference() is None
