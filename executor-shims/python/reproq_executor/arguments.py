"""The command line of ``python -m reproq_executor``."""

from __future__ import annotations

import argparse
import functools
import sys
from typing import NoReturn

_HELP = """\
A Reproq worker starts this program; you rarely do. To try a task by hand, from the folder that holds tasks.py:

  echo '{"task_path":"tasks.add","args":[1,2],"kwargs":{}}' | python -m reproq_executor --payload-stdin
"""


def parse() -> argparse.Namespace:
    # What a later worker adds must not stop this one.
    return _parser().parse_known_args()[0]


# Made once: the processes that a zygote forks find it ready.
@functools.lru_cache(maxsize=None)
def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m reproq_executor",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--payload-stdin", action="store_true", help="read the run's spec (JSON) from stdin")
    mode.add_argument("--payload-file", metavar="PATH", help="read it from a file")
    mode.add_argument("--payload-json", metavar="TEXT", help="take it from here (visible to every user of this machine)")
    mode.add_argument("--loop", action="store_true", help="stay and execute one run after the other")
    mode.add_argument("--zygote", action="store_true", help="stay and fork a fresh process for every run")
    parser.add_argument("--result-id", default="", metavar="ID", help="the run's id")
    parser.add_argument("--attempt", type=int, default=1, metavar="N", help="which attempt this is, from 1")
    parser.add_argument("--task-path", metavar="MODULE.FUNCTION", help="run this task instead of the spec's task_path")
    parser.add_argument("--settings", metavar="MODULE", help="sets DJANGO_SETTINGS_MODULE")
    parser.add_argument("--module", default="reproq_executor", metavar="MODULE", help="with --zygote: the executor to run in each process")
    parser.add_argument("--preload", action="append", default=[], metavar="MODULE", help="with --loop and --zygote: import this at the start")
    parser.add_argument("--try-preload", action="append", default=[], metavar="MODULE", help="with --zygote: import this at the start if it can be")
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_help(sys.stderr)
        self.exit(2, f"\n{self.prog}: {message}\n")
