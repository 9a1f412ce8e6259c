"""The test tasks that CONTRACT.md asks of an executor. None takes more than one argument."""

import asyncio
import os
import signal
import subprocess
import sys
import time

from reproq_executor import NonRetryableError, Postpone, checkpoint, current, progress


def echo(value=None):
    return value


async def echo_async(value=None):
    await asyncio.sleep(0)
    return value


def whoami():
    return [current().run_id, current().attempt]


def fail(message):
    raise ValueError(message)


def fail_for_good(message):
    raise NonRetryableError(message)


def postpone(ms):
    raise Postpone(ms / 1000, queue=True)


def exit(code):
    os._exit(code)


def signal_itself(number):
    os.kill(os.getpid(), number)
    time.sleep(600)


def wait():
    print("waiting", flush=True)
    time.sleep(600)


def ignore_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()


def spin():
    print("waiting", flush=True)
    while True:
        pass


def child_then_wait():
    print("child", subprocess.Popen(["sleep", "600"]).pid, flush=True)
    wait()


def leave_child():
    return subprocess.Popen(["sleep", "600"]).pid


def print_text(text):
    sys.stdout.write(text)
    sys.stderr.write(text)


def raw_write(text):
    os.write(1, text.encode())


def flood(size):
    for fd in (1, 2):
        for _ in range(0, size, 1000):
            os.write(fd, b"e" * 1000)


def big(size):
    return "x" * size


def pid():
    return os.getpid()


def nan():
    return float("nan")


def progress_twice():
    progress(50, "half")
    checkpoint({"at": 1})
    progress(100)
    return current().checkpoint


def extend(ms):
    return round(current().extend(ms / 1000) * 1000)


def last_checkpoint():
    return current().checkpoint
