"""Reproq's tables, as Django makes them: no default is in the database. What no model says is in the migration."""

from django.db import models


class TaskRun(models.Model):
    result_id = models.BigAutoField(primary_key=True)
    backend_alias = models.TextField(default="default")
    queue_name = models.TextField(default="default")
    priority = models.IntegerField(default=0)
    run_after = models.DateTimeField(null=True, blank=True)
    spec_json = models.JSONField()
    spec_hash = models.CharField(max_length=64)
    task_path = models.TextField(null=True, blank=True)
    status = models.TextField(default="READY")
    enqueued_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    last_attempted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=3)
    timeout_seconds = models.IntegerField(default=900)
    lock_key = models.TextField(null=True, blank=True)
    concurrency_key = models.TextField(null=True, blank=True)
    concurrency_limit = models.IntegerField(default=0)
    worker_ids = models.JSONField(default=list)
    return_json = models.JSONField(null=True, blank=True)
    errors_json = models.JSONField(default=list)
    metadata_json = models.JSONField(default=dict)
    last_error = models.TextField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    leased_by = models.TextField(null=True, blank=True)
    logs_uri = models.TextField(null=True, blank=True)
    artifacts_uri = models.TextField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)
    workflow_id = models.UUIDField(null=True, blank=True)
    wait_count = models.IntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    cancel_requested = models.BooleanField(default=False)

    class Meta:
        db_table = "task_runs"
        indexes = [
            models.Index(fields=["status"], name="task_runs_status_26197d_idx"),
            models.Index(fields=["queue_name", "status"], name="task_runs_queue_n_50e8d6_idx"),
            models.Index(fields=["concurrency_key", "status"], name="task_runs_conc_status_idx"),
        ]


class PeriodicTask(models.Model):
    name = models.TextField(primary_key=True)
    cron_expr = models.TextField()
    task_path = models.TextField()
    payload_json = models.JSONField(default=dict)
    queue_name = models.TextField(default="default")
    priority = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=3)
    concurrency_key = models.TextField(null=True, blank=True)
    concurrency_limit = models.IntegerField(default=0)
    last_run_at = models.DateTimeField(null=True, blank=True)
    next_run_at = models.DateTimeField()
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "periodic_tasks"


class QueueControl(models.Model):
    queue_name = models.TextField(primary_key=True)
    paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "reproq_queue_controls"


class Worker(models.Model):
    worker_id = models.TextField(primary_key=True)
    hostname = models.TextField()
    concurrency = models.IntegerField()
    queues = models.JSONField(default=list)
    started_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now=True)
    version = models.TextField(null=True, blank=True)

    class Meta:
        db_table = "reproq_workers"


class WorkflowRun(models.Model):
    """Not Django's: only the broker's migrations make this table."""

    workflow_id = models.UUIDField(primary_key=True)
    expected_count = models.IntegerField()
    success_count = models.IntegerField(default=0)
    failure_count = models.IntegerField(default=0)
    callback_result_id = models.BigIntegerField(null=True)
    status = models.TextField(default="RUNNING")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "workflow_runs"


class RateLimit(models.Model):
    """Nor this one."""

    key = models.TextField(primary_key=True)
    tokens_per_second = models.FloatField()
    burst_size = models.IntegerField()
    current_tokens = models.FloatField()
    last_refilled_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "rate_limits"
