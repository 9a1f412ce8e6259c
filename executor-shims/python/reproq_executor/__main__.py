"""``python -m reproq_executor``: executes one run, as executor-shims/CONTRACT.md describes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType
from typing import NoReturn, Optional

from .channel import open_channel
from .errors import Terminated
from .execute import execute

_HELP = """\
A Reproq worker starts this program; you rarely do. To try a task by hand, from the folder that holds tasks.py:

  echo '{"task_path":"tasks.add","args":[1,2],"kwargs":{}}' | python -m reproq_executor --payload-stdin
"""


def main() -> int:
    options = _parse_arguments()
    channel = open_channel()
    _prepare(options)
    # From here on a SIGTERM is an exception like any other, and has an envelope.
    signal.signal(signal.SIGTERM, _raise_terminated)
    answer = execute(lambda: _payload(options), options.result_id, options.attempt, options.task_path)
    signal.signal(signal.SIGTERM, _note_nothing)
    channel.send(answer)
    # What is left is teardown (exit handlers, threads of the task): a SIGTERM may cut it short.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return 0 if answer.startswith('{"ok":true') else 1


def _parse_arguments() -> argparse.Namespace:
    parser = _Parser(
        prog="python -m reproq_executor",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    payload = parser.add_mutually_exclusive_group(required=True)
    payload.add_argument("--payload-stdin", action="store_true", help="read the run's spec (JSON) from stdin")
    payload.add_argument("--payload-file", metavar="PATH", help="read it from a file")
    payload.add_argument("--payload-json", metavar="TEXT", help="take it from here (visible to every user of this machine)")
    parser.add_argument("--result-id", default="", metavar="ID", help="the run's id")
    parser.add_argument("--attempt", type=int, default=1, metavar="N", help="which attempt this is, from 1")
    parser.add_argument("--task-path", metavar="MODULE.FUNCTION", help="run this task instead of the spec's task_path")
    parser.add_argument("--settings", metavar="MODULE", help="sets DJANGO_SETTINGS_MODULE")
    return parser.parse_args()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_help(sys.stderr)
        self.exit(2, f"\n{self.prog}: {message}\n")


def _prepare(options: argparse.Namespace) -> None:
    if options.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = options.settings
    project = os.getcwd()
    if sys.path[:1] != [project]:
        sys.path.insert(0, project)


def _payload(options: argparse.Namespace) -> bytes:
    if options.payload_json is not None:
        return os.fsencode(options.payload_json)
    if options.payload_file is not None:
        with open(options.payload_file, "rb") as file:
            return file.read()
    return sys.stdin.buffer.read()


def _raise_terminated(_signum: int, _frame: Optional[FrameType]) -> None:
    # Once: a second SIGTERM must not cut off the envelope of the first.
    signal.signal(signal.SIGTERM, _note_nothing)
    raise Terminated("The worker stopped the run (SIGTERM)")


def _note_nothing(_signum: int, _frame: Optional[FrameType]) -> None:
    """Unlike SIG_IGN this is not inherited by programs the task starts."""


if __name__ == "__main__":
    sys.exit(main())
