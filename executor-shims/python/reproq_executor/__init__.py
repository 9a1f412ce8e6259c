"""Runs Reproq tasks in Python. Tasks use what is named here; the worker runs ``python -m reproq_executor``."""

from .context import Run, checkpoint, current, progress
from .errors import ExtendRefused, NonRetryableError, ParentsUnavailable, Postpone, RetryAfter, Terminated
from .registry import task

__version__ = "0.1.0"
__all__ = ["ExtendRefused", "NonRetryableError", "ParentsUnavailable", "Postpone", "RetryAfter", "Run", "Terminated", "checkpoint", "current", "progress", "task"]
