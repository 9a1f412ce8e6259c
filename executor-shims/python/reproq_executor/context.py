"""What a task can ask about the run it belongs to, and tell about it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from threading import get_ident, main_thread
from typing import Any, Optional

from .errors import ExtendRefused, ParentsUnavailable, Terminated

_UNREAD = object()
# Asks the worker for so many milliseconds, and gives its answer.
Extend = Callable[[int, Callable[[], AbstractContextManager[None]]], dict[str, Any]]


class Run:
    """The attempt being executed. ``result_id``, ``task_path`` and ``queue_name`` are Reproq's names for the same."""

    __slots__ = ("_cancelled", "_checkpoint", "_extend", "_parents", "_parents_error", "_report", "_shields", "_stop_is_due", "attempt", "max_attempts", "metadata", "queue", "run_id", "task")

    # Written out: the dataclasses module would cost every start several milliseconds.
    def __init__(self, run_id: str, attempt: int, task: str, queue: str, max_attempts: Optional[int] = None, metadata: Optional[dict[str, Any]] = None) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.task = task
        self.queue = queue
        self.max_attempts = max_attempts
        self.metadata = {} if metadata is None else metadata
        self._cancelled = False
        self._stop_is_due = False
        self._shields = 0
        self._checkpoint: Any = _UNREAD
        self._parents: dict[str, dict[str, Any]] = {}
        self._parents_error: Optional[str] = None
        self._report: Optional[Callable[[str], None]] = None
        self._extend: Optional[Extend] = None

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, attempt={self.attempt}, task={self.task!r}, queue={self.queue!r})"

    @property
    def result_id(self) -> str:
        return self.run_id

    @property
    def task_path(self) -> str:
        return self.task

    @property
    def queue_name(self) -> str:
        return self.queue

    @property
    def cancelled(self) -> bool:
        """The worker has told this run to stop: it was cancelled, timed out, or the worker shuts down."""
        return self._cancelled

    @property
    def checkpoint(self) -> Any:
        """What ``checkpoint`` was last given, by this attempt or an earlier one; ``None`` without any."""
        if self._checkpoint is _UNREAD:
            self._checkpoint = _left_behind()
        return self._checkpoint

    @property
    def parents(self) -> dict[str, dict[str, Any]]:
        """In a workflow, the runs this one waited for, by name (by run id for a run that Django made):
        ``current().parents["fetch"]["output"]``; besides ``output`` there are ``run``, ``status`` and, of a failed one, ``error``."""
        if self._parents_error is not None:
            raise ParentsUnavailable(
                f"{self.task} (run {self.run_id}) asked for its parents: {self._parents_error}. "
                "Let large results be stored elsewhere and return references"
            )
        return self._parents

    def extend(self, seconds: float) -> float:
        """Sets (adds nothing to) the time this attempt has left, from now, and says how much was granted: less, where the broker's
        maximum is near. Waits for the broker's answer, an event loop included. Raises ``ExtendRefused``."""
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"extend takes a number of seconds above 0, not {seconds!r}")
        if self._report is None:
            return seconds  # Tried by hand, without a worker: nobody limits it.
        if self._extend is None:
            raise ExtendRefused(
                f"{self.task} (run {self.run_id}) asked for more time: its worker cannot extend runs. Upgrade it, or enqueue the run with a longer timeout"
            )
        answer = self._extend(math.ceil(seconds * 1000), self.uninterrupted)
        if "timeout_ms" not in answer:
            raise ExtendRefused(str(answer.get("message")), str(answer.get("code")))
        return float(answer["timeout_ms"]) / 1000

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """A stop waits for the end of this block: ``with current().uninterrupted(): charge(); save()``."""
        if get_ident() != main_thread().ident:
            yield  # Stops are raised in the main thread alone.
            return
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._shields == 0 and self._stop_is_due:
                self._stop_is_due = False
                raise stopped()


def stopped() -> Terminated:
    return Terminated("The worker stopped the run (SIGTERM)")


def _left_behind() -> Any:
    path = os.environ.get("REPROQ_CHECKPOINT_FILE")
    if not path:
        return None
    with open(path, "rb") as file:
        return json.load(file)


_current: ContextVar[Run] = ContextVar("reproq_run")


def current() -> Run:
    """The run this code belongs to. Threads a task starts need ``contextvars.copy_context()`` to see it."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("current() was called outside a run: it works while a Reproq worker executes a task") from None


def progress(pct: Optional[float] = None, note: Optional[str] = None, data: Any = None) -> None:
    """Says how far the run is: 0 to 100, a few words, any JSON. The last one counts; some may get lost."""
    run = current()
    fields = {"pct": pct, "note": note, "data": data}
    _report(run, {name: value for name, value in fields.items() if value is not None})


def checkpoint(data: Any) -> None:
    """Keeps ``data`` (any JSON) for the next attempt, which finds it in ``current().checkpoint``."""
    run = current()
    _report(run, {"checkpoint": data})
    run._checkpoint = data


def _report(run: Run, fields: dict[str, Any]) -> None:
    text = json.dumps(fields, allow_nan=False, separators=(",", ":"))
    if run._report is None:
        return  # Tried by hand, without a worker.
    # A message that breaks off in the middle would spoil the result behind it.
    with run.uninterrupted():
        run._report(text)


_active: Optional[Run] = None


def enter(run: Run) -> None:
    global _active
    _current.set(run)
    _active = run


def leave() -> None:
    """From here on the run cannot be stopped any more: what is left is to say how it ended."""
    global _active
    _active = None


def stop_active() -> None:
    """Raises Terminated into the code that runs, or sees to it that it is raised when that code allows it."""
    run = _active
    if run is None:
        return
    run._cancelled = True
    if run._shields > 0:
        run._stop_is_due = True
        return
    raise stopped()
