"""``python -m reproq_django.executor``: runs one attempt by Reproq's contract. Knows no result descriptor: the envelope is stdout."""

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
    from django.utils.module_loading import import_string

    from .context import TaskContext
    from .models import TaskRun
    from .serialization import decode_payload
    from .signals import task_finished, task_started

    path = options.task_path or spec["task_path"]
    task = import_string(path)
    # A run without a row runs all the same.
    metadata = TaskRun.objects.filter(pk=options.result_id).values_list("metadata_json", flat=True).first() or {}
    context = TaskContext(options.result_id, options.attempt, path, spec.get("queue_name"), spec.get("priority"), metadata=metadata)
    sent = {"sender": "reproq_django.executor", "task_context": context}
    try:
        args = [*([context] if spec.get("takes_context") or task.takes_context else []), *decode_payload(spec["args"])]
        kwargs = decode_payload(spec["kwargs"])
        task_started.send_robust(**sent)
        value = task.func(*args, **kwargs)
        value = asyncio.run(value) if inspect.iscoroutine(value) else value
    except Exception as error:
        context.save_metadata()
        task_finished.send_robust(**sent, ok=False, error=str(error))
        raise
    context.save_metadata()
    task_finished.send_robust(**sent, ok=True)
    return value


if __name__ == "__main__":
    sys.exit(main())
