"""Not those of django.tasks: the executor's say what runs by `task_context`."""

from django.dispatch import Signal

task_enqueued = Signal()  # task_result, spec
task_started = Signal()  # task_context
task_finished = Signal()  # task_context, ok, and error when it is not
