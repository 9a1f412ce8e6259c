"""The rows of a chain, a group and a chord, inserted one by one. Items are tasks or (task, args, kwargs)."""

import uuid
from types import SimpleNamespace

from django.utils import timezone

from .models import TaskRun, WorkflowRun
from .serialization import encode_payload


def chain(*items):
    return SimpleNamespace(enqueue=lambda: _chain(items))


def group(*items):
    return SimpleNamespace(enqueue=lambda: _members(uuid.uuid4(), items))


def chord(*items, callback):
    return SimpleNamespace(enqueue=lambda: _chord(items, callback))


def _chain(items):
    workflow, parent, links = uuid.uuid4(), None, []
    for item in items:
        link = _insert(workflow, item, status="WAITING" if parent else "READY", parent_id=parent, wait_count=1 if parent else 0)
        parent = link.id
        links.append(link)
    return links


def _members(workflow, items):
    return [_insert(workflow, item, status="READY") for item in items]


def _chord(items, callback):
    workflow = uuid.uuid4()
    members = _members(workflow, items)
    count, now = len(members), timezone.now()
    last = _insert(workflow, callback, status="WAITING" if count else "READY", wait_count=count)
    status = "RUNNING" if count else "WAITING_CALLBACK"
    WorkflowRun.objects.create(workflow_id=workflow, expected_count=count, callback_result_id=last.id, status=status, created_at=now, updated_at=now)
    return members, last


def _insert(workflow, item, **columns):
    task, args, kwargs = item if isinstance(item, tuple) else (item, (), {})
    backend = task.get_backend()
    limits = {"timeout_seconds": int(backend.options.get("TIMEOUT_SECONDS", 900)), "max_attempts": int(backend.options.get("MAX_ATTEMPTS", 3))}
    queued = {"queue_name": task.queue_name, "priority": task.priority, "lock_key": None, "concurrency_key": None, "concurrency_limit": 0}
    # Neither run_after nor provenance, as there.
    spec = {"v": 1, "task_path": task.module_path, "args": encode_payload(list(args)), "kwargs": encode_payload(kwargs), "takes_context": task.takes_context, **queued, "exec": limits}
    # Never deduplicated: half the length of a real hash.
    row = TaskRun.objects.create(backend_alias=backend.alias, spec_json=spec, spec_hash=uuid.uuid4().hex, task_path=task.module_path, workflow_id=workflow, **queued, **limits, **columns)
    return backend.get_result(row.pk)
