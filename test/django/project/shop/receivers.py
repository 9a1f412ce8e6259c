from django.dispatch import receiver
from reproq_django.signals import task_enqueued, task_finished, task_started

from .models import Note

WATCHED = "shop.tasks.watched"


@receiver(task_enqueued)
def note_enqueued(sender, task_result, spec, **kwargs):
    if spec["task_path"] == WATCHED:
        Note.objects.create(text=f"enqueued {task_result.id}")


@receiver(task_started)
def note_start(sender, task_context, **kwargs):
    if task_context.task_path == WATCHED:
        Note.objects.create(text=f"started {task_context.result_id}")


@receiver(task_finished)
def note_end(sender, task_context, ok, **kwargs):
    if task_context.task_path == WATCHED:
        Note.objects.create(text=f"finished {task_context.result_id} {ok}")
