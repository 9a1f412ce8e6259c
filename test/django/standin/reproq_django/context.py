from dataclasses import dataclass, field

from django.utils import timezone

from .models import TaskRun


@dataclass
class TaskContext:
    """What a task with `takes_context` is given first. `metadata` is kept in the run's row after the attempt, or by `save_metadata`."""

    result_id: str
    attempt: int
    task_path: str
    queue_name: str
    priority: int
    db_alias: str = "default"
    metadata: dict = field(default_factory=dict)

    def save_metadata(self):
        TaskRun.objects.filter(pk=self.result_id).update(metadata_json=self.metadata, updated_at=timezone.now())
