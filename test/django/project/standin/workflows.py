"""The rows of a chain, a group and a chord, as they are when they have been enqueued. `calls`: (task, args) of each."""

import uuid

from django.tasks import task_backends

from .models import TaskRun, WorkflowRun


def chain(calls):
    workflow, parent, rows = uuid.uuid4(), None, []
    for task, args in calls:
        parent = _row(workflow, task, args, status="WAITING" if parent else "READY", parent=parent, wait_count=1 if parent else 0)
        rows.append(parent)
    return [row.pk for row in rows]


def group(calls):
    workflow = uuid.uuid4()
    return [_row(workflow, task, args).pk for task, args in calls]


def chord(calls, callback):
    workflow = uuid.uuid4()
    members = [_row(workflow, task, args).pk for task, args in calls]
    last = _row(workflow, *callback, status="WAITING", wait_count=len(members))
    WorkflowRun.objects.create(workflow_id=workflow, expected_count=len(members), callback_result_id=last.pk)
    return [*members, last.pk]


def _row(workflow, task, args, **columns):
    row = task_backends["default"].row(task, args, {})
    # Never deduplicated: half the length of a real hash.
    row.workflow_id, row.spec_hash = workflow, uuid.uuid4().hex
    for name, value in columns.items():
        setattr(row, name, value)
    row.save(force_insert=True)
    return row
