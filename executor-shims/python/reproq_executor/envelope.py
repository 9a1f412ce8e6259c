"""The one line that says how an attempt ended."""

from __future__ import annotations

import json
import math
from types import TracebackType
from typing import Any, Optional

from .errors import InvalidOutput, NonRetryableError, PayloadError, Postpone, RetryAfter, UnknownTask

# What the broker keeps; a traceback's end says more than its beginning.
_MESSAGE_CHARS = 16_384
_TRACEBACK_CHARS = 65_536
_PERMANENT = (NonRetryableError, PayloadError, InvalidOutput, UnknownTask)


def success(value: Any) -> str:
    """The envelope of a finished task. Raises InvalidOutput when JSON cannot express the value."""
    try:
        return json.dumps({"ok": True, "return": value}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOutput(f"The task returned a value that JSON cannot express: {_objection(value, error)}") from None


def failure(error: BaseException) -> str:
    """The envelope of a task that raised."""
    fields: dict[str, Any] = {"exception_class": _class_name(error), "message": _message(error)}
    text = _traceback(error)
    if text:
        fields["traceback"] = text
    return failure_of(fields, error)


def failure_of(fields: dict[str, Any], error: Optional[BaseException] = None) -> str:
    envelope: dict[str, Any] = {"ok": False, **fields}
    if isinstance(error, _PERMANENT):
        envelope["retryable"] = False
    if isinstance(error, RetryAfter) and math.isfinite(error.seconds):
        envelope["retry_after_ms"] = max(0, round(error.seconds * 1000))
    if isinstance(error, Postpone) and math.isfinite(error.seconds):
        envelope["postpone_ms"] = max(0, round(error.seconds * 1000))
        if error.queue:
            envelope["hold_queue"] = True
    return json.dumps(envelope, separators=(",", ":"))


def _objection(value: Any, error: Exception) -> str:
    """json says "Object of type Decimal is not JSON serializable": true, but not where it was found."""
    where = _first_unfit(value, "the return value", 0)
    return where or str(error)


def _first_unfit(value: Any, path: str, depth: int) -> Optional[str]:
    if depth > 50:
        return f"{path} is nested too deeply or contains itself"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} is {value}"
    if value is None or isinstance(value, (str, int, float)):
        return None
    if isinstance(value, dict):
        return _first_unfit_of(value, path, depth)
    if isinstance(value, (list, tuple)):
        found = (_first_unfit(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
        return next((text for text in found if text), None)
    return f"{path} is of type {type(value).__module__}.{type(value).__qualname__}"


def _first_unfit_of(value: dict[Any, Any], path: str, depth: int) -> Optional[str]:
    for key, item in value.items():
        if not isinstance(key, (str, int, float, bool, type(None))):
            return f"{path} has a key of type {type(key).__qualname__}"
        text = _first_unfit(item, f"{path}[{key!r}]", depth + 1)
        if text:
            return text
    return None


def _class_name(error: BaseException) -> str:
    """As a traceback prints it: dotted, but plain for what is built in."""
    cls = type(error)
    if isinstance(error, (PayloadError, InvalidOutput, UnknownTask)) or cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # A broken __str__ must not hide the error it belongs to.
        text = f"(its __str__ raised {type(broken).__name__})"
    return text[:_MESSAGE_CHARS]


def _traceback(error: BaseException) -> str:
    import traceback  # Here, because only a failure pays for it.

    frames = _user_frames(error.__traceback__)
    if frames is None:
        return ""
    text = "".join(traceback.format_exception(type(error), error, frames))
    return text[-_TRACEBACK_CHARS:]


def _user_frames(frames: Optional[TracebackType]) -> Optional[TracebackType]:
    """Leaves out the executor's own frames, which stand above the task's."""
    while frames is not None and str(frames.tb_frame.f_globals.get("__name__", "")).startswith("reproq_executor."):
        frames = frames.tb_next
    return frames
