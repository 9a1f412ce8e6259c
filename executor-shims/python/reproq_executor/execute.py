"""One attempt: payload in, envelope out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Optional

from . import context, envelope
from .errors import PayloadError, Terminated
from .resolve import resolve


def execute(read_payload: Callable[[], bytes], run_id: str, attempt: int, task_path: Optional[str] = None) -> str:
    """Runs the task a payload names and returns the envelope. Whatever is raised on the way becomes part of it."""
    try:
        return _success(read_payload(), run_id, attempt, task_path)
    except Terminated as stopped:
        return envelope.failure(stopped)
    except SystemExit as left:
        message = f"The task called sys.exit({left.code!r}). Return a value, or raise an error, instead"
        return envelope.failure_of({"exception_class": "SystemExit", "message": message})
    except BaseException as error:  # noqa: BLE001 - a task may raise anything, and every end needs an envelope
        return envelope.failure(error)


def _success(payload: bytes, run_id: str, attempt: int, task_path: Optional[str]) -> str:
    spec = _parse(payload)
    name = task_path or spec.get("task_path")
    if not isinstance(name, str) or not name:
        raise PayloadError("The payload has no task_path")
    args, kwargs = _arguments(spec)
    run = context.Run(run_id, attempt, name, str(spec.get("queue_name") or ""))
    context.enter(run)
    task = resolve(name)
    if spec.get("takes_context") is True:
        args = [run, *args]
    return envelope.success(_finished(task(*args, **kwargs)))


def _parse(payload: bytes) -> dict[str, Any]:
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
