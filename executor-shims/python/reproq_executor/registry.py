"""Tasks with a name of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, TypeVar, overload

Function = TypeVar("Function", bound=Callable[..., Any])

_named: dict[str, Callable[..., Any]] = {}


@overload
def task(function: Function, /) -> Function: ...
@overload
def task(*, name: Optional[str] = None) -> Callable[[Function], Function]: ...
def task(function: Optional[Function] = None, /, *, name: Optional[str] = None) -> Any:
    """Marks a function as a task; it stays the function it is. Not needed: any importable function is a task.

    With ``name`` runs may call it by that in place of ``module.function``. The module has to be loaded for that: name it
    in ``--preload``, or in ``preload`` of the executor.
    """

    def register(target: Function) -> Function:
        own = name or f"{target.__module__}.{target.__qualname__}"
        other = _named.get(own)
        if other is not None and _place_of(other) != _place_of(target):
            raise ValueError(f"Two tasks are named {own!r}: {_place_of(other)} and {_place_of(target)}. Rename one of them")
        _named[own] = target
        return target

    return register if function is None else register(function)


def named(name: str) -> Optional[Callable[..., Any]]:
    return _named.get(name)


def _place_of(function: Callable[..., Any]) -> str:
    # A module that is loaded anew defines its tasks again: the same place is no conflict.
    return f"{function.__module__}.{function.__qualname__}"
