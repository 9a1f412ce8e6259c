"""A Django process that is told what to do: one JSON object a line in, one out. Stands where a web process would."""

import json
import os
import sys
import textwrap
import traceback

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

# Names that steps may use.
import asyncio  # noqa: E402
from datetime import timedelta  # noqa: E402

from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.tasks import task_backends  # noqa: E402
from django.utils import timezone  # noqa: E402

from reproq_django import workflows  # noqa: E402
from reproq_django.models import PeriodicTask, QueueControl, TaskRun, WorkflowRun  # noqa: E402
from shop import tasks  # noqa: E402
from shop.models import Customer, Note  # noqa: E402

NAMES = {**globals(), "kept": {}}


def step(code, given):
    names = dict(NAMES)
    exec(f"def step(given):\n{textwrap.indent(textwrap.dedent(code), '    ')}", names)  # noqa: S102
    return names["step"](given)


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # What commands print is for people.
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"value": step(asked["code"], asked["given"])}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer, default=str) + "\n")


if __name__ == "__main__":
    main()
