"""``python -m reproq_executor``: executes runs, as executor-shims/CONTRACT.md describes."""

from __future__ import annotations

import argparse
import os
import sys

from . import arguments, stopping
from .channel import open_channel
from .execute import Order, execute


def main() -> int:
    options = arguments.parse()
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
    channel.announce()
    report = (lambda fields: channel.write('{"t":"progress",' + fields[1:])) if channel.carries_messages else None
    extend = (lambda ms, shield: channel.ask(f'{{"t":"extend","timeout_ms":{ms}', shield)) if channel.is_answered else None
    stopping.stop_on_sigterm()
    answer = execute(lambda: _payload(options), Order(options.result_id, options.attempt, options.task_path, report=report, extend=extend))
    stopping.note_sigterm()
    channel.finish(answer)
    # What is left is teardown (exit handlers, threads of the task): a SIGTERM may cut it short.
    stopping.die_of_sigterm()
    return 0 if answer.startswith('{"ok":true') else 1


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
