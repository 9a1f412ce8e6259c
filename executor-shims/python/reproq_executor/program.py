"""Runs a module as ``python -m module`` would, in a process that was forked for it."""

from __future__ import annotations

import atexit
import importlib.util
import os
import socket
import sys
import tempfile
import threading
import types
from typing import Any

from .channel import private_copy

_STDIN, _STDOUT, _STDERR, _RESULT = range(4)
# What a pipe takes at once on every system.
_PIPE_BYTES = 4096


class Program:
    """The code of a module, read once."""

    def __init__(self, module: str) -> None:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{module}.__main__")
        loader: Any = spec and spec.loader
        code = loader.get_code(spec.name) if spec and hasattr(loader, "get_code") else None
        if spec is None or code is None:
            raise ImportError(f"There is no module {module!r} that could be run with python -m, on the path of {sys.executable}")
        self._spec = spec
        self._code = code

    @property
    def name(self) -> str:
        return self._spec.name

    def run(self, path: str, message: dict[str, Any]) -> int:
        """Attaches this process to the worker and runs the module. Returns the exit status."""
        _attach(path, str(message["id"]))
        _set_stdin(message.get("stdin"))
        os.environ.update(message.get("env") or {}, REPROQ_RESULT_FD=str(_RESULT))
        sys.argv = [self._spec.origin or self._spec.name, *message["args"]]
        _reseed()
        return _status_of(self._execute)

    def _execute(self) -> None:
        main = types.ModuleType("__main__")
        main.__dict__.update(__spec__=self._spec, __file__=self._spec.origin, __package__=self._spec.parent, __loader__=self._spec.loader, __builtins__=__builtins__)
        sys.modules["__main__"] = main
        exec(self._code, main.__dict__)  # noqa: S102 - what runpy does


def _attach(path: str, run: str) -> None:
    """stdout, stderr and the result: a connection each, which begins with whose it is."""
    for target in (_STDOUT, _STDERR, _RESULT):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(f"{run} {target}\n".encode())
            # Its own number may be one of the targets.
            source = private_copy(connection.fileno())
        os.dup2(source, target, inheritable=True)
        os.close(source)


def _set_stdin(text: Any) -> None:
    """As a one-shot executor finds it: the payload, then the end."""
    payload = str(text or "").encode()
    if len(payload) <= _PIPE_BYTES:
        source, write = os.pipe()
        os.write(write, payload)
        os.close(write)
    else:
        with tempfile.TemporaryFile() as file:
            file.write(payload)
            file.seek(0)
            source = os.dup(file.fileno())
    os.dup2(source, _STDIN, inheritable=True)
    os.close(source)


def _reseed() -> None:
    """Python's own random does so by itself at every fork."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _status_of(execute: Any) -> int:
    """How Python ends: exit status, thread joins, exit handlers, flushes; without taking the imported modules apart."""
    status = _run(execute)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - Python prints what exit handlers raise, and ends
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    _flush_c()
    return status


def _run(execute: Any) -> int:
    try:
        execute()
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return int(left.code or 0) & 0xFF
        sys.stderr.write(f"{left.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - as at the end of any program
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _flush_c() -> None:
    """Only code that C extensions print with can have left something there, and only they load ctypes or more."""
    ctypes = sys.modules.get("ctypes")
    if ctypes is not None:
        ctypes.CDLL(None).fflush(None)
