import time

from django.tasks import TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist

from .models import TaskRun

OVER = (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED)


class TaskResultProxy:
    """Stands for a row, and reads it when it is first asked. No TaskResult of Django's: it has neither `task` nor `return_value`."""

    def __init__(self, result_id, backend):
        self.id = str(result_id)
        self.backend = backend
        self._row = None

    def refresh(self):
        try:
            self._row = TaskRun.objects.get(pk=self.id)
        except TaskRun.DoesNotExist as error:
            raise TaskResultDoesNotExist(self.id) from error
        return self

    @property
    def data(self):
        return self._row or self.refresh()._row

    @property
    def raw_status(self):
        return self.data.status

    @property
    def status(self):
        try:
            return TaskResultStatus(self.raw_status)
        except ValueError as error:
            raise RuntimeError(f"run {self.id} is {self.raw_status}, which Django has no status for") from error

    @property
    def attempts(self):
        return self.data.attempts

    @property
    def errors(self):
        return self.data.errors_json

    @property
    def metadata(self):
        return self.data.metadata_json

    @property
    def result(self):
        if self.status != TaskResultStatus.SUCCESSFUL:
            raise RuntimeError(f"run {self.id} has no result, it is {self.raw_status}: {self.errors}")
        return self.data.return_json

    def wait(self, timeout=None, poll_interval=0.5):
        deadline = time.monotonic() + (timeout or float("inf"))
        while self.refresh().status not in OVER:
            if time.monotonic() > deadline:
                raise TimeoutError(self.id)
            time.sleep(poll_interval)
        return self
