"""``python -m standin.executor``: runs one attempt by Reproq's contract. Knows no result descriptor: the envelope is stdout."""

import argparse
import asyncio
import contextlib
import inspect
import io
import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field


@dataclass
class Context:
    result_id: str
    attempt: int
    task_path: str
    queue_name: str
    priority: int
    metadata: dict = field(default_factory=dict)


def main():
    options = parse_arguments()
    # As there: a SIGTERM leaves no envelope.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    spec = json.loads(payload(options))
    if options.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = options.settings
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            envelope = {"ok": True, "return": run(spec, options)}
        text = json.dumps(envelope)
    except Exception as error:
        text = json.dumps({"ok": False, "exception_class": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()})
    print(text)
    return 0 if text.startswith('{"ok": true') else 1


def parse_arguments():
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--payload-stdin", action="store_true")
    where.add_argument("--payload-file")
    where.add_argument("--payload-json")
    parser.add_argument("--task-path")
    parser.add_argument("--settings")
    parser.add_argument("--result-id")
    parser.add_argument("--attempt", type=int, default=1)
    return parser.parse_args()


def payload(options):
    if options.payload_json is not None:
        return options.payload_json
    if options.payload_file is not None:
        with open(options.payload_file) as file:
            return file.read()
    return sys.stdin.read()


def run(spec, options):
    import django

    django.setup()
    from django.tasks.signals import task_finished, task_started
    from django.utils.module_loading import import_string

    from .backend import Backend, result_of
    from .encoding import decode
    from .models import TaskRun

    row = TaskRun.objects.get(pk=options.result_id)
    task = import_string(options.task_path or spec["task_path"])
    context = Context(options.result_id, options.attempt, task.module_path, row.queue_name, row.priority, row.metadata_json)
    args = [*([context] if spec.get("takes_context") else []), *decode(spec["args"])]
    result = result_of(row)
    task_started.send(Backend, task_result=result)
    status = "FAILED"
    try:
        value = task.func(*args, **decode(spec["kwargs"]))
        value = asyncio.run(value) if inspect.iscoroutine(value) else value
        status = "SUCCESSFUL"
        return value
    finally:
        object.__setattr__(result, "status", status)
        task_finished.send(Backend, task_result=result)
        row.metadata_json = context.metadata
        row.save(update_fields=["metadata_json", "updated_at"])


if __name__ == "__main__":
    sys.exit(main())
