from django.dispatch import receiver
from django.tasks.signals import task_finished, task_started

from .models import Note

WATCHED = "shop.tasks.watched"


@receiver(task_started)
def note_start(sender, task_result, **kwargs):
    if task_result.task.module_path == WATCHED:
        Note.objects.create(text=f"started {task_result.id} {task_result.status}")


@receiver(task_finished)
def note_end(sender, task_result, **kwargs):
    if task_result.task.module_path == WATCHED:
        Note.objects.create(text=f"finished {task_result.id} {task_result.status}")
