"""One attempt: payload in, envelope out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Optional, Union

from . import context, django_project, envelope
from .errors import PayloadError, Terminated
from .resolve import resolve


class Order:
    """What the worker asks for: which run this is, and where its messages go."""

    __slots__ = ("attempt", "checkpoint", "extend", "max_attempts", "report", "run_id", "task_path")

    def __init__(
        self,
        run_id: str,
        attempt: int,
        task_path: Optional[str] = None,
        max_attempts: Optional[int] = None,
        checkpoint: Optional[str] = None,
        report: Optional[Callable[[str], None]] = None,
        extend: Optional[context.Extend] = None,
    ) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.task_path = task_path
        self.max_attempts = max_attempts
        self.checkpoint = checkpoint
        self.report = report
        self.extend = extend


def execute(read_payload: Callable[[], Union[bytes, str]], order: Order) -> str:
    """Runs the task a payload names and returns the envelope. Whatever is raised on the way becomes part of it."""
    try:
        return _attempt(read_payload, order)
    except Terminated as late:  # While the answer was being written.
        return envelope.failure(late)
    finally:
        context.leave()


def _attempt(read_payload: Callable[[], Union[bytes, str]], order: Order) -> str:
    try:
        return _success(read_payload, order)
    except Terminated as stopped:
        return envelope.failure(stopped)
    except SystemExit as left:
        message = f"The task called sys.exit({left.code!r}). Return a value, or raise an error, instead"
        return envelope.failure_of({"exception_class": "SystemExit", "message": message})
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, and every end needs an envelope
        return envelope.failure(error)


def _success(read_payload: Callable[[], Union[bytes, str]], order: Order) -> str:
    run = context.Run(order.run_id, order.attempt, order.task_path or "", "", order.max_attempts)
    # Before anything that may take long: from here on the run can be stopped.
    context.enter(run)
    spec = _parse(read_payload())
    args, kwargs = _arguments(spec)
    _describe(run, spec, order)
    django_project.set_up()
    task = resolve(run.task)
    if spec.get("takes_context") is True:
        args = [run, *args]
    return envelope.success(_finished(task(*args, **kwargs)))


def _describe(run: context.Run, spec: dict[str, Any], order: Order) -> None:
    name = order.task_path or spec.get("task_path")
    if not isinstance(name, str) or not name:
        raise PayloadError("The payload has no task_path")
    run.task = name
    run.queue = str(spec.get("queue_name") or "")
    if isinstance(spec.get("metadata"), dict):
        run.metadata = spec["metadata"]
    if isinstance(spec.get("parents"), dict):
        run._parents = spec["parents"]
    if isinstance(spec.get("parents_error"), str):
        run._parents_error = spec["parents_error"]
    if order.checkpoint is not None:
        run._checkpoint = json.loads(order.checkpoint)
    run._report = order.report
    run._extend = order.extend


def _parse(payload: Union[bytes, str]) -> dict[str, Any]:
    try:
        spec = json.loads(payload)
    except ValueError as error:
        raise PayloadError(f"The payload is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise PayloadError(f"The payload is a JSON {type(spec).__name__}, expected an object with task_path, args, kwargs")
    return spec


def _arguments(spec: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    args = [] if spec.get("args") is None else spec["args"]
    kwargs = {} if spec.get("kwargs") is None else spec["kwargs"]
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise PayloadError("The payload's args must be an array and its kwargs an object")
    return args, kwargs


def _finished(value: Any) -> Any:
    """Awaits what an async task gave back."""
    if not hasattr(value, "__await__"):
        return value
    import asyncio  # Here, because only async tasks pay for it.

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())
