"""From a task path to the function it names."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from .errors import UnknownTask
from .registry import named


def resolve(task_path: str) -> Callable[..., Any]:
    """The task of that name, or the callable at ``package.module.attribute[.attribute…]``. Else raises ImportError."""
    task = named(task_path)
    if task is not None:
        return task
    module, attributes = _import_longest(task_path)
    target = module
    for name in attributes:
        try:
            target = getattr(target, name)
        except AttributeError:
            raise ImportError(f"No task {task_path!r}: {target!r} has no attribute {name!r}") from None
    return _callable_of(target, task_path)


def _import_longest(task_path: str) -> tuple[Any, list[str]]:
    """Imports as much of the path as is a module; what is left are attributes."""
    names = task_path.split(".")
    if len(names) < 2 or not all(names):
        raise UnknownTask(f"No task of this worker is named {task_path!r}. Correct the name: package.module.function, or one that a module loaded at the start gave its task")
    for count in range(len(names) - 1, 0, -1):
        name = ".".join(names[:count])
        try:
            return importlib.import_module(name), names[count:]
        except ModuleNotFoundError as error:
            # Only when the path itself ends here: a module that lacks one of its own imports is an error to show.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
    raise ImportError(
        f"No task {task_path!r}: there is no module {names[0]!r} on the path of {sys.executable} "
        f"(first entry: {sys.path[0]}). Start the worker in the project's folder, or set PYTHONPATH"
    )


def _callable_of(target: Any, task_path: str) -> Callable[..., Any]:
    """Decorators often leave an object that keeps the function as ``.func`` (Django) or ``.run``."""
    if not isinstance(target, functools.partial):
        for name in ("func", "run"):
            inner = getattr(target, name, None)
            if callable(inner):
                return inner  # type: ignore[no-any-return]
    if not callable(target):
        raise ImportError(f"No task {task_path!r}: it is of type {type(target).__name__}, which cannot be called")
    return target  # type: ignore[no-any-return]
