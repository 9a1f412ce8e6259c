"""The same Django project and the same task under Celery: what its prefork pool is measured by."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
sys.path.insert(0, os.environ["SHOP_PROJECT"])

import django  # noqa: E402

django.setup()

from celery import Celery  # noqa: E402
from shop import tasks  # noqa: E402

app = Celery("shop", broker=os.environ["SHOP_REDIS_URL"], backend=os.environ["SHOP_REDIS_URL"])
add = app.task(name="add")(tasks.add.func)


def produce(count):
    """Enqueues so many and waits until every result is there."""
    from celery import group

    with app.connection_for_write() as connection:
        results = group(add.s(n, 1) for n in range(count)).apply_async(connection=connection)
    results.join(timeout=600, disable_sync_subtasks=False)


if __name__ == "__main__":
    for line in sys.stdin:
        produce(int(line))
        print("done", flush=True)
