"""Django's task backend: `enqueue` writes a row on Django's own connection, `get_result` reads it."""

from datetime import timedelta

from asgiref.sync import sync_to_async
from django.tasks.backends.base import BaseTaskBackend
from django.utils import timezone

from .models import TaskRun
from .proxy import TaskResultProxy
from .serialization import encode_payload, normalize_and_hash
from .signals import task_enqueued

ACTIVE = ("READY", "RUNNING")


class ReproqBackend(BaseTaskBackend):
    supports_async_task = True
    supports_defer = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task, args, kwargs):
        self.validate_task(task)
        row = self._row(task, args, kwargs)
        twin = self._twin(row.spec_hash)
        if twin is None:
            row.save(force_insert=True)
        return self._enqueued(twin or row)

    async def aenqueue(self, task, args, kwargs):
        return await sync_to_async(self.enqueue, thread_sensitive=True)(task, args, kwargs)

    def bulk_enqueue(self, calls):
        """`calls`: (task, args, kwargs) of each. Answers in their order."""
        rows = [self._row(task, args, dict(kwargs)) for task, args, kwargs in calls]
        TaskRun.objects.bulk_create([row for row in rows if self._twin(row.spec_hash) is None], batch_size=1000, ignore_conflicts=True)
        stored = {row.spec_hash: row for row in TaskRun.objects.filter(spec_hash__in=[row.spec_hash for row in rows], status__in=ACTIVE)}
        return [self._enqueued(stored[row.spec_hash]) for row in rows]

    def get_result(self, result_id):
        return TaskResultProxy(result_id, self)

    async def aget_result(self, result_id):
        return TaskResultProxy(result_id, self)

    def save_metadata(self, result_id, metadata):
        TaskRun.objects.filter(pk=result_id).update(metadata_json=metadata, updated_at=timezone.now())

    def _enqueued(self, row):
        result = TaskResultProxy(row.pk, self)
        task_enqueued.send(type(self), task_result=result, spec=row.spec_json)
        return result

    def _row(self, task, args, kwargs):
        """Five names among the keyword arguments are not the task's: they say how it is to be run."""
        run_after = kwargs.pop("run_after", task.run_after)
        if isinstance(run_after, timedelta):
            run_after = timezone.now() + run_after
        queued = {
            "queue_name": task.queue_name,
            "priority": kwargs.pop("priority", task.priority),
            "lock_key": kwargs.pop("lock_key", None),
            "concurrency_key": kwargs.pop("concurrency_key", None),
            "concurrency_limit": kwargs.pop("concurrency_limit", 0),
        }
        limits = {"timeout_seconds": int(self.options.get("TIMEOUT_SECONDS", 900)), "max_attempts": int(self.options.get("MAX_ATTEMPTS", 3))}
        spec, digest = normalize_and_hash({
            "v": 1,
            "task_path": task.module_path,
            "args": encode_payload(list(args)),
            "kwargs": encode_payload(kwargs),
            "takes_context": task.takes_context,
            **queued,
            "run_after": run_after.isoformat() if run_after else None,
            "exec": limits,
            "provenance": {"code_ref": self.options.get("CODE_REF"), "pip_lock_hash": self.options.get("PIP_LOCK_HASH")},
        })
        expires_in = self.options.get("EXPIRES_IN")
        return TaskRun(
            backend_alias=self.alias,
            run_after=run_after,
            expires_at=timezone.now() + expires_in if expires_in else None,
            spec_json=spec,
            spec_hash=digest,
            task_path=task.module_path,
            **queued,
            **limits,
        )

    def _twin(self, digest):
        if not self.options.get("DEDUP_ACTIVE", True):
            return None
        return TaskRun.objects.filter(spec_hash=digest, status__in=ACTIVE).first()
