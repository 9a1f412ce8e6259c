"""SIGTERM as an exception in the code that runs."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Optional

from . import context


def stop_on_sigterm() -> None:
    """From here on a SIGTERM is an exception like any other, and has an envelope."""
    signal.signal(signal.SIGTERM, _stop)


def note_sigterm() -> None:
    """A SIGTERM does nothing now. Unlike SIG_IGN this is not inherited by programs the task starts."""
    signal.signal(signal.SIGTERM, _note)


def die_of_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(_signum: int, _frame: Optional[FrameType]) -> None:
    # Once: a second SIGTERM must not cut off the envelope of the first.
    note_sigterm()
    context.stop_active()


def _note(_signum: int, _frame: Optional[FrameType]) -> None:
    pass
