"""Messages of the worker: one JSON object per line."""

from __future__ import annotations

import json
import os
from typing import Any, Optional


class Requests:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._parts: list[bytes] = []
        self._lines: list[bytes] = []

    def read(self) -> bool:
        """Takes what has come, waiting for it if nothing has. False at the end."""
        chunk = os.read(self.fd, 1 << 16)
        first, *others = chunk.split(b"\n")
        self._parts.append(first)
        for other in others:
            self._lines.append(b"".join(self._parts))
            self._parts = [other]
        return bool(chunk)

    def take(self) -> Optional[dict[str, Any]]:
        """The next message that has come as a whole. Anything that is not one is passed over."""
        while self._lines:
            line = self._lines.pop(0)
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                return message
        return None

    def next(self) -> Optional[dict[str, Any]]:
        """Waits for the next message; None at the end."""
        message = self.take()
        while message is None:
            if not self.read():
                return None
            message = self.take()
        return message
