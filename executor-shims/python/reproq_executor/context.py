"""What a task can ask about the run it belongs to."""

from __future__ import annotations

from contextvars import ContextVar


class Run:
    """The attempt being executed. ``result_id``, ``task_path`` and ``queue_name`` are Reproq's names for the same."""

    __slots__ = ("attempt", "queue", "run_id", "task")

    # Written out: the dataclasses module would cost every start several milliseconds.
    def __init__(self, run_id: str, attempt: int, task: str, queue: str) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.task = task
        self.queue = queue

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


_current: ContextVar[Run] = ContextVar("reproq_run")


def current() -> Run:
    """The run this code belongs to. Threads a task starts need ``contextvars.copy_context()`` to see it."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("current() was called outside a run: it works while a Reproq worker executes a task") from None


def enter(run: Run) -> None:
    _current.set(run)
