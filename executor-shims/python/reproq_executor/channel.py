"""The way messages take out of this process: a descriptor that user code does not know."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from types import FrameType
from typing import Any, Optional

# Private duplicates go above the numbers people and shells hand out.
_FIRST_PRIVATE_FD = 64
# How long a task may take to clean up when no worker is left that would kill it.
_ABANDONED_SECONDS = 3


class Channel:
    """Carries lines to the worker, and knows when the worker is gone."""

    def __init__(self, fd: int, carries_messages: bool) -> None:
        self._fd = fd
        # Where the envelope goes to stdout, a line before it would be taken for it.
        self.carries_messages = carries_messages
        self._writing = Lock()
        # Whether the worker answers on it.
        self.is_answered = carries_messages and os.environ.get("REPROQ_EXTEND") == "1" and stat.S_ISSOCK(os.fstat(fd).st_mode)
        self._asking = Lock()
        self._asked = 0
        self._unread = b""

    def announce(self) -> None:
        """Says that the answer will come here, so that what the task prints is never taken for it."""
        if self.carries_messages:
            self.write('{"t":"started"}')

    def write(self, line: str) -> None:
        rest = memoryview((line + "\n").encode("ascii"))
        # Threads of a task may have something to tell while it ends.
        with self._writing:
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except BrokenPipeError:
                pass  # The worker is gone; nobody is left to tell.

    def ask(self, fields: str, uninterrupted: Callable[[], AbstractContextManager[None]]) -> dict[str, Any]:
        """Sends a question, the beginning of a JSON object, and waits for its answer. A stop may break off the wait, not the question."""
        with self._asking:
            self._asked += 1
            number = self._asked
            with uninterrupted():
                self.write(f'{fields},"n":{number}}}')
            answer = self._answer()
            # That of a question whose run was stopped meanwhile is nobody's.
            while answer.get("n") != number:
                answer = self._answer()
            return answer

    def _answer(self) -> dict[str, Any]:
        while b"\n" not in self._unread:
            chunk = os.read(self._fd, 1 << 16)
            if not chunk:
                raise ConnectionError("The worker is gone")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        answer = json.loads(line)
        return answer if isinstance(answer, dict) else {}

    def finish(self, line: str) -> None:
        """The last line: after it nobody needs to be told that the worker is gone."""
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        self.write(line)
        os.close(self._fd)

    def forget(self) -> None:
        """In a forked process: the channel is its parent's."""
        os.close(self._fd)

    def stop_when_abandoned(self) -> None:
        """A worker that was killed cannot stop this process, and the run will be given to another: do not run on.

        The kernel tells by SIGIO that the other end was closed. No thread waits for it: the task may want to fork.
        """
        signal.signal(signal.SIGIO, self._look)
        fcntl.fcntl(self._fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) | os.O_ASYNC)
        self._look()

    def _look(self, _signum: int = 0, _frame: Optional[FrameType] = None) -> None:
        poll = select.poll()
        poll.register(self._fd, 0)
        if not poll.poll(0):
            return
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        # Its default action ends this process, whatever the task does about SIGTERM.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_ABANDONED_SECONDS)
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGTERM)
        else:
            os.kill(os.getpid(), signal.SIGTERM)


def open_channel(watch: bool = True) -> Channel:
    """Takes the result channel for this process alone. Call it before any user code is imported.

    The worker offers a descriptor in REPROQ_RESULT_FD. Without it the envelope goes to stdout, and then everything else
    that writes to descriptor 1 (prints, C extensions, child processes) is sent to stderr, so that it cannot corrupt it.

    With `watch` this process is stopped when the worker is gone.
    """
    # Removed, so that a program the task starts does not take the channel for its own.
    offered = os.environ.pop("REPROQ_RESULT_FD", "")
    if offered.isdigit() and _is_open(int(offered)):
        return _offered_channel(int(offered), watch)
    channel = Channel(private_copy(1), carries_messages=False)
    os.dup2(2, 1)
    return channel


def private_copy(fd: int) -> int:
    """A duplicate that neither user code nor the programs it starts come across."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_FD)


def take_stdin() -> int:
    """Stdin for this process alone: code that reads it finds nothing instead of the worker's messages."""
    requests = private_copy(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _offered_channel(offered: int, watch: bool) -> Channel:
    channel = Channel(private_copy(offered), carries_messages=True)
    os.close(offered)
    if watch:
        channel.stop_when_abandoned()
    # Line by line, as on a terminal: what was printed must survive a crash of the process.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return channel


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return fd > 2
