"""What a pool gives back. A remote failure is a returned record, not an exception (STYLE.md, rule 8).

All of it is picklable and small: volumes never travel in a message.
"""

import traceback as tracebacks
from dataclasses import dataclass

from engine.errors import InputError


class CallTimeoutError(RuntimeError):
    """A call took longer than its structures may."""


@dataclass(frozen=True)
class Completed:
    """A structure that was generated, measured and stored. Its volume and curves files are durable."""

    structure_id: str
    row: dict[str, object]
    """Plain scalars, one per column: see `actors.rows.make_row`."""
    attempt: int
    """1 for the first try."""


@dataclass(frozen=True)
class Failure:
    """A structure that could not be made, after as many attempts as the pool allows."""

    structure_id: str
    error_type: str
    """Class name of the last exception, such as `InputError`, or `ActorDied` when the process was lost."""
    message: str
    traceback: str
    """Text of the remote traceback; empty when the process was lost."""
    attempt: int
    """Number of the attempt that failed last."""
    wall_time_s: float
    """Time that this last attempt took."""


Result = Completed | Failure


@dataclass(frozen=True, kw_only=True)
class ErrorRecord:
    """An exception caught where the work runs, in a form that can be sent."""

    error_type: str
    message: str
    traceback: str
    wall_time_s: float
    retryable: bool = True
    """False for input that no retry can mend."""
    poisoned: bool = False
    """The process may be unusable from here on (out of memory, CUDA error): replace it."""
    out_of_memory: bool = False
    """A smaller batch may fit."""
    timed_out: bool = False
    """It took longer than a structure may."""
    fatal: bool = False
    """No request can be finished (the disk is full): stop the pool."""


def record_error(error: BaseException, wall_time_s: float, *, fatal: bool = False) -> ErrorRecord:
    """Describe an exception; holds no reference to it, hence none to the tensors in its frames."""
    return ErrorRecord(
        error_type=type(error).__name__,
        message=str(error),
        traceback="".join(tracebacks.format_exception(error)),
        wall_time_s=wall_time_s,
        retryable=not isinstance(error, InputError),
        out_of_memory=is_out_of_memory(error),
        poisoned=is_out_of_memory(error) or "CUDA" in str(error),
        timed_out=isinstance(error, CallTimeoutError),
        fatal=fatal,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and torch's OutOfMemoryError (named, so that torch need not be imported)."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
