"""Django's task backend: `enqueue` writes a row on Django's own connection, `get_result` reads it."""

import json

from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError, TaskResult, TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist
from django.tasks.signals import task_enqueued
from django.utils.module_loading import import_string

from .encoding import canonical, spec_hash, spec_of
from .models import TaskRun

ACTIVE = ("READY", "RUNNING")


class Backend(BaseTaskBackend):
    supports_async_task = True
    supports_defer = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task, args, kwargs):
        self.validate_task(task)
        row = self.row(task, args, kwargs)
        twin = self.twin(row.spec_hash)
        if twin is None:
            row.save(force_insert=True)
        result = result_of(twin or row)
        task_enqueued.send(type(self), task_result=result)
        return result

    def bulk_enqueue(self, calls):
        """`calls`: (task, args, kwargs) of each. Answers in their order."""
        rows = [self.row(*call) for call in calls]
        TaskRun.objects.bulk_create([row for row in rows if self.twin(row.spec_hash) is None], batch_size=1000, ignore_conflicts=True)
        stored = {row.spec_hash: row for row in TaskRun.objects.filter(spec_hash__in=[row.spec_hash for row in rows], status__in=ACTIVE)}
        return [result_of(stored[row.spec_hash]) for row in rows]

    def get_result(self, result_id):
        try:
            return result_of(TaskRun.objects.get(pk=result_id))
        except (TaskRun.DoesNotExist, ValueError) as error:
            raise TaskResultDoesNotExist(result_id) from error

    def row(self, task, args, kwargs):
        spec = spec_of(task, args, kwargs, self.options)
        return TaskRun(
            backend_alias=self.alias,
            queue_name=task.queue_name,
            priority=task.priority,
            run_after=task.run_after,
            spec_json=json.loads(canonical(spec)),
            spec_hash=spec_hash(spec),
            task_path=task.module_path,
            max_attempts=spec["exec"]["max_attempts"],
            timeout_seconds=spec["exec"]["timeout_seconds"],
        )

    def twin(self, digest):
        if not self.options.get("DEDUP_ACTIVE", True):
            return None
        return TaskRun.objects.filter(spec_hash=digest, status__in=ACTIVE).order_by("-result_id").first()


def result_of(row):
    # Django knows four statuses.
    status = {"WAITING": "READY", "CANCELLED": "FAILED"}.get(row.status, row.status)
    result = TaskResult(
        task=import_string(row.task_path),
        id=str(row.pk),
        status=TaskResultStatus(status),
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        last_attempted_at=row.last_attempted_at,
        args=row.spec_json["args"],
        kwargs=row.spec_json["kwargs"],
        backend=row.backend_alias,
        errors=[TaskError(exception_class_path=error.get("exception_class", ""), traceback=error.get("traceback", "")) for error in row.errors_json],
        worker_ids=row.worker_ids,
    )
    object.__setattr__(result, "_return_value", row.return_json)
    return result
