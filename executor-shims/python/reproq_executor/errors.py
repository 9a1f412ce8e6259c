"""What a task raises to say how to go on, and what the executor raises into a task."""

from __future__ import annotations


class NonRetryableError(Exception):
    """Failing again is certain: no further attempt is made."""


class ParentsUnavailable(NonRetryableError):
    """What the runs before this one came to is too large to be given to it."""


class ExtendRefused(Exception):
    """The run got no other time limit: the one it has stands. ``reason`` is a word, such as ``maximum_reached``."""

    def __init__(self, message: str, reason: str = "unsupported") -> None:
        super().__init__(message)
        self.reason = reason


class RetryAfter(Exception):
    """Try again in ``seconds``, in place of the usual backoff, while attempts remain."""

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(message or f"asked to be tried again in {seconds:g} s")
        self.seconds = seconds


class Postpone(Exception):
    """Start this run again in ``seconds``, as if this attempt had not been: it costs none.

    With ``queue=True`` nothing of the whole queue is started until then.
    """

    def __init__(self, seconds: float, *, queue: bool = False, message: str = "") -> None:
        super().__init__(message or f"asked to be started again in {seconds:g} s")
        self.seconds = seconds
        self.queue = queue


class Terminated(BaseException):
    """Raised into the task when the worker stops it: ``finally`` blocks run, ``except Exception`` does not catch it."""


class PayloadError(Exception):
    """The payload cannot be executed as it is, today or tomorrow."""


class UnknownTask(ImportError):
    """The name is no path that could be imported, and no task has it."""


class InvalidOutput(Exception):
    """The task ran to its end, but JSON cannot express what it returned."""


# In envelopes a class carries the name people import it by.
for _public in (ExtendRefused, NonRetryableError, ParentsUnavailable, Postpone, RetryAfter, Terminated):
    _public.__module__ = "reproq_executor"
