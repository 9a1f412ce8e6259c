import asyncio
import subprocess
import sys
import time

from django.tasks import task

from .models import Note


class OutOfStock(Exception):
    pass


@task
def add(a, b):
    return a + b


@task
def echo(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}


@task
def watched(fail):
    if fail:
        raise OutOfStock("watched")


@task
def note(text):
    Note.objects.create(text=text)


@task(takes_context=True)
def visit(context, place):
    context.metadata["visits"] = [*context.metadata.get("visits", []), place]
    return {"attempt": context.attempt, "id": context.result_id, "queue": context.queue_name}


@task
def rename(customer, name):
    before = customer.name
    customer.name = name
    customer.save()
    return before


@task
def seconds(delay):
    return [type(delay).__name__, delay.total_seconds()]


@task
async def double(value):
    await asyncio.sleep(0)
    return value * 2


@task
def sell(item):
    print("looking for", item)
    raise OutOfStock(f"no {item} left")


@task
def grumble(text):
    print(text, file=sys.stderr)


@task(takes_context=True)
def persist(context, until):
    if context.attempt < until:
        raise OutOfStock(f"not yet: {context.attempt}")
    return context.attempt


@task
def delegate(text):
    subprocess.run(["echo", text], check=True)
    return "delegated"


@task
def leave(code):
    sys.exit(code)


@task
def dawdle(text):
    Note.objects.create(text=f"{text} started")
    time.sleep(60)
    Note.objects.create(text=f"{text} finished")


@task
def nap(where, milliseconds):
    Note.objects.create(text=f"in {where}")
    time.sleep(milliseconds / 1000)
    Note.objects.create(text=f"out {where}")
