"""A parent that has imported the code and forks a fresh process for every run: the zygote mode of CONTRACT.md."""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, Optional

from . import django_project, stopping
from .channel import Channel, open_channel, take_stdin
from .program import Program
from .requests import Requests

# How long children may clean up when the worker is gone.
_ABANDONED_SECONDS = 3


def main(module: str, preload: list[str], try_preload: list[str]) -> int:
    stopping.die_of_sigterm()
    requests = Requests(take_stdin())
    # The end of stdin says that the worker is gone; then there are children to end.
    channel = open_channel(watch=False)
    socket = os.environ.pop("REPROQ_ZYGOTE_SOCKET", "")
    if not channel.carries_messages or not socket:
        sys.stderr.write("reproq_executor --zygote is started by a Reproq worker, which offers it a channel and a socket\n")
        return 2
    program = Program(module)
    _import_everything([program.name, *preload], try_preload)
    # What is here now is shared by all children: without this the collector would touch, and so copy, every page of it.
    gc.collect()
    gc.freeze()
    _Zygote(program, requests, channel, socket).serve()
    return 0


def _import_everything(required: list[str], optional: list[str]) -> None:
    optional = django_project.set_up() + optional
    for name in required:
        importlib.import_module(name)
    for name in optional:
        _try_import(name)
    django_project.close_connections()
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        sys.stderr.write(f"reproq_executor --zygote: an import has started threads ({names}); they do not exist in forked processes\n")


def _try_import(name: str) -> None:
    """A module that is broken is the failure of its tasks, which import it again, and not of all others."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            traceback.print_exc()
    except Exception:
        traceback.print_exc()


class _Zygote:
    def __init__(self, program: Program, requests: Requests, channel: Channel, socket: str) -> None:
        self._program = program
        self._requests = requests
        self._channel = channel
        self._socket = socket
        self._children: dict[int, Any] = {}
        self._woken, self._wake = os.pipe()

    def serve(self) -> None:
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, _look_up)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._say({"t": "ready", "protocol": 1, "lang": "python", "pid": os.getpid(), "caps": ["zygote"]})
        while self._turn():
            pass
        self._end_children()

    def _turn(self) -> bool:
        for fd in self._ready():
            if fd == self._requests.fd and not self._requests.read():
                return False
            if fd == self._woken:
                os.read(self._woken, 4096)
        self._reap()
        message = self._requests.take()
        while message is not None:
            if message.get("t") == "shutdown":
                return False
            if message.get("t") == "fork":
                self._fork(message)
            message = self._requests.take()
        return True

    def _ready(self) -> list[int]:
        poll = select.poll()
        poll.register(self._requests.fd, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        return [fd for fd, _ in poll.poll()]

    def _fork(self, message: dict[str, Any]) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        try:
            pid = os.fork()
        except OSError as error:
            self._say({"t": "failed", "id": message.get("id"), "code": errno.errorcode.get(error.errno or 0, ""), "message": str(error)})
            return
        if pid == 0:
            self._become(message)
        self._children[pid] = message.get("id")

    def _become(self, message: dict[str, Any]) -> None:
        """In the child: leaves everything of the parent behind, runs the program and ends. Never returns."""
        status = 1
        try:
            os.setsid()
            # Said by the child: before it leads a group, nobody could signal one.
            self._say({"t": "forked", "id": message.get("id"), "pid": os.getpid()})
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGIO):
                signal.signal(number, signal.SIG_DFL)
            for fd in (self._woken, self._wake, self._requests.fd):
                os.close(fd)
            self._channel.forget()
            status = self._program.run(self._socket, message)
        except BaseException:  # noqa: BLE001 - whatever it is, this is no parent and must not go on as one
            traceback.print_exc()
        finally:
            os._exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended == 0:
                continue
            # Asked at once, while the id cannot have been given to anybody else. Members that remain keep it taken.
            left = _has_members(pid)
            how = {"signal": signal.Signals(os.WTERMSIG(status)).name} if os.WIFSIGNALED(status) else {"code": os.WEXITSTATUS(status)}
            cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000)
            self._say({"t": "exited", "id": self._children.pop(pid), "left": left, "cpu_ms": cpu_ms, "max_rss_kb": usage.ru_maxrss, **how})

    def _say(self, message: dict[str, Any]) -> None:
        self._channel.write(json.dumps(message, separators=(",", ":")))

    def _end_children(self) -> None:
        """The worker is gone, or has no use for this process: what still runs would be run again elsewhere."""
        deadline = time.monotonic() + _ABANDONED_SECONDS
        self._signal_children(signal.SIGTERM)
        while self._children and time.monotonic() < deadline:
            select.select([self._woken], [], [], max(0.0, deadline - time.monotonic()))
            try:
                os.read(self._woken, 4096)
            except BlockingIOError:
                pass
            self._reap()
        self._signal_children(signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _signal_children(self, number: int) -> None:
        for pid in self._children:
            try:
                os.killpg(pid, number)
            except OSError:
                pass  # It is about to begin its group, or has ended.


def _look_up(_signum: int, _frame: Optional[FrameType]) -> None:
    """The wakeup descriptor says it; without a handler it would not."""


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
