"""``python -m reproq_executor``: executes runs, as executor-shims/CONTRACT.md describes."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from . import stopping
from .channel import open_channel
from .execute import Order, execute

_HELP = """\
A Reproq worker starts this program; you rarely do. To try a task by hand, from the folder that holds tasks.py:

  echo '{"task_path":"tasks.add","args":[1,2],"kwargs":{}}' | python -m reproq_executor --payload-stdin
"""


def main() -> int:
    options = _parse_arguments()
    _prepare(options)
    if options.loop:
        from .loop import main as loop

        return loop(options.preload)
    if options.zygote:
        from .zygote import main as zygote

        return zygote(options.module, options.preload, options.try_preload)
    return _one_shot(options)


def _one_shot(options: argparse.Namespace) -> int:
    channel = open_channel()
    report = (lambda fields: channel.write('{"t":"progress",' + fields[1:])) if channel.carries_messages else None
    extend = (lambda ms, shield: channel.ask(f'{{"t":"extend","timeout_ms":{ms}', shield)) if channel.is_answered else None
    stopping.stop_on_sigterm()
    answer = execute(lambda: _payload(options), Order(options.result_id, options.attempt, options.task_path, report=report, extend=extend))
    stopping.note_sigterm()
    channel.finish(answer)
    # What is left is teardown (exit handlers, threads of the task): a SIGTERM may cut it short.
    stopping.die_of_sigterm()
    return 0 if answer.startswith('{"ok":true') else 1


def _parse_arguments() -> argparse.Namespace:
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
    # What a later worker adds must not stop this one.
    return parser.parse_known_args()[0]


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


if __name__ == "__main__":
    sys.exit(main())
