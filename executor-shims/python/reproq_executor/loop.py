"""One run after the other in this process: the loop mode of executor-shims/CONTRACT.md."""

from __future__ import annotations

import contextvars
import importlib
import json
import os
import sys
from typing import Any, Callable, Optional

from . import django_project, stopping
from .channel import Channel, open_channel, take_stdin
from .execute import Order, execute
from .requests import Requests


def main(preload: list[str]) -> int:
    # Between runs there is nothing to clean up: a SIGTERM ends this process.
    stopping.die_of_sigterm()
    requests = Requests(take_stdin())
    channel = open_channel()
    if not channel.carries_messages:
        sys.stderr.write("reproq_executor --loop is started by a Reproq worker, which offers a channel in REPROQ_RESULT_FD\n")
        return 2
    django_project.set_up()
    for name in preload:
        importlib.import_module(name)
    _Loop(requests, channel).serve()
    return 0


class _Loop:
    def __init__(self, requests: Requests, channel: Channel) -> None:
        self._requests = requests
        self._channel = channel
        self._home = os.getcwd()
        self._flush_c = _c_flush()

    def serve(self) -> None:
        self._say({"t": "ready", "protocol": 1, "lang": "python", "pid": os.getpid(), "caps": ["progress"]})
        while True:
            message = self._requests.next()
            kind = message and message.get("t")
            if message is None or kind == "shutdown":
                return
            if kind == "run":
                self._run(message)
            elif kind == "ping":
                self._say({"t": "pong", "n": message.get("n")})

    def _run(self, message: dict[str, Any]) -> None:
        label = json.dumps(message.get("id"))
        had_children = _has_children()
        # What a task sets in its context is gone with the run.
        answer = contextvars.copy_context().run(self._execute, message, label)
        self._flush()
        if not had_children and _has_children():
            self._say({"t": "recycle", "reason": "a run left a process behind"})
        self._channel.write('{"t":"done","id":' + label + "," + answer[1:])
        # Only a stop comes as SIGTERM, and after that the worker wants this process to end.
        stopping.die_of_sigterm()
        django_project.between_runs()
        if os.getcwd() != self._home:
            os.chdir(self._home)

    def _execute(self, message: dict[str, Any], label: str) -> str:
        order = Order(
            str(message.get("run", "")),
            message.get("attempt", 1),
            max_attempts=message.get("max_attempts"),
            checkpoint=message.get("checkpoint"),
            report=lambda fields: self._channel.write('{"t":"progress","id":' + label + "," + fields[1:]),
            extend=(lambda ms, shield: self._channel.ask(f'{{"t":"extend","id":{label},"timeout_ms":{ms}', shield)) if self._channel.is_answered else None,
        )
        stopping.stop_on_sigterm()
        try:
            return execute(lambda: message.get("spec") or "", order)
        finally:
            stopping.note_sigterm()

    def _say(self, message: dict[str, Any]) -> None:
        self._channel.write(json.dumps(message, separators=(",", ":")))

    def _flush(self) -> None:
        """What was printed has to be out before the answer: what comes later belongs to the next run."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # Replaced or closed by the task.
        self._flush_c()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except (AttributeError, OSError):
        return False  # No waitid here.
    return True


def _c_flush() -> Callable[[], Optional[int]]:
    """Output of C extensions is buffered by the C library."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):
        return lambda: None
    return lambda: libc.fflush(None)

