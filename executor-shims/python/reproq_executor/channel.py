"""The way the envelope takes out of this process: a descriptor that user code does not know."""

from __future__ import annotations

import fcntl
import os
import sys

# Private duplicates go above the numbers people and shells hand out.
_FIRST_PRIVATE_FD = 64


class Channel:
    """Carries one line to the worker."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, envelope: str) -> None:
        rest = memoryview((envelope + "\n").encode("ascii"))
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            pass  # The worker is gone; nobody is left to tell.
        finally:
            os.close(self._fd)


def open_channel() -> Channel:
    """Takes the result channel for this process alone. Call it before any user code is imported.

    The worker offers a descriptor in REPROQ_RESULT_FD. Without it the envelope goes to stdout, and then everything else
    that writes to descriptor 1 (prints, C extensions, child processes) is sent to stderr, so that it cannot corrupt it.
    """
    # Removed, so that a program the task starts does not take the channel for its own.
    offered = os.environ.pop("REPROQ_RESULT_FD", "")
    if offered.isdigit() and _is_open(int(offered)):
        fd = _private_copy(int(offered))
        os.close(int(offered))
        # Line by line, as on a terminal: what was printed must survive a crash of the process.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    else:
        fd = _private_copy(1)
        os.dup2(2, 1)
    return Channel(fd)


def _private_copy(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_FD)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return fd > 2
