"""Tasks that end in every way a task can end. Tests of workers run them in real processes."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal

from reproq_executor import NonRetryableError, RetryAfter, checkpoint, current, progress


def echo(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


def add(a, b):
    return a + b


class Sums:
    class Deep:
        @staticmethod
        def add(a, b):
            return a + b


class Decorated:
    """What a task decorator leaves behind: the function is in ``.func``."""

    def __init__(self, func):
        self.func = func


decorated = Decorated(add)


async def add_later(a, b):
    await asyncio.sleep(0)
    return a + b


def whoami():
    run = current()
    return [run.run_id, run.attempt, run.task, run.queue]


def first_argument(run, value):
    return [run.result_id, run.attempt, value]


def environment():
    return dict(os.environ)


def meet(folder, count):
    """Returns when so many runs of it go on at the same time."""
    open(os.path.join(folder, str(os.getpid())), "w").close()
    deadline = time.monotonic() + 20
    while len(os.listdir(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(os.listdir(folder))


def parent_id():
    return os.getppid()


def random_number():
    return random.random()


_LOADED_BY = os.getpid()


def loaded_here():
    """Whether this process has imported this module, and not one it was forked from."""
    return os.getpid() == _LOADED_BY


def process_ids():
    return [os.getpid(), os.getpgid(0)]


def remember(value, box=[]):  # noqa: B006 - it is about what stays
    box.append(value)
    return box


def change_surroundings():
    os.chdir("/")
    sys.stdout = None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def read_stdin():
    return sys.stdin.read()


# Progress


def progress_and_fail(*steps):
    seen = current().checkpoint
    for step in steps:
        progress(step, f"step {step}", {"step": step})
        checkpoint({"after": step})
    raise OddError(str(seen))


def last_checkpoint():
    return current().checkpoint


# Failures


class OddError(Exception):
    pass


def fail(message="it broke"):
    raise OddError(message)


def fail_for_good():
    raise NonRetryableError("never again")


def fail_for_now(seconds):
    raise RetryAfter(seconds)


def fail_with_nul():
    raise ValueError("a\0b\ud800c")


def call_exit(code):
    sys.exit(code)


# Ends without a result, or after one


def exit_silently(code):
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os._exit(code)


def kill_itself(signum):
    os.kill(os.getpid(), signum)


def print_and_die(text, signum=0):
    print(text)
    sys.stdout.flush()
    if signum:
        os.kill(os.getpid(), signum)
    os._exit(0)


def crash_in_teardown():
    """The envelope is written, then the process dies while it cleans up."""
    import atexit

    atexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    return "done before the crash"


def when_it_ends(path):
    import atexit

    atexit.register(lambda: open(path, "w").close())


# Results that are hard to carry


def big_output(size):
    return "x" * size


def nan():
    return [1, {"deep": float("nan")}]


def decimal():
    return {"price": Decimal("1.10")}


def nul():
    return {"text": "a\0b"}


def lone_surrogate():
    return ["\ud800"]


def numbers():
    return [12345678901234567890, 1.0, -0.0, 1e22]


# Noise


def raw_write(fd, text):
    os.write(fd, text.encode())
    return "quiet"


def child_prints():
    subprocess.run(["echo", "from a child"], check=True)
    return "quiet"


def print_all(*texts):
    for text in texts:
        print(text)
    return len(texts)


def flood(fd, size):
    block = b"e" * 65536
    for _ in range(size // len(block)):
        os.write(fd, block)
    return "not blocked"


# Code that does not want to stop


def wait():
    try:
        print("waiting", flush=True)
        time.sleep(600)
    finally:
        print("cleaned up")


async def wait_async():
    try:
        print("waiting", flush=True)
        await asyncio.sleep(600)
    finally:
        print("cleaned up")


def spin():
    print("waiting", flush=True)
    while True:
        pass


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("waiting", flush=True)
    time.sleep(600)


def finish_when_told():
    """Takes the SIGTERM as a hint, and ends well."""
    told = []
    print(os.getpid(), file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    print("waiting", flush=True)
    while not told:
        signal.pause()
    return "saved"


def grandchild_holding_stdout():
    """Leaves a process that keeps stdout and stderr open, as a daemon started by mistake would."""
    subprocess.Popen(["sleep", "600"])
    return "left one behind"


def grandchild_then_wait():
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
    print("waiting", flush=True)
    time.sleep(600)


def child_then_wait():
    subprocess.Popen(["sleep", "600"])
    print("waiting", flush=True)
    time.sleep(600)


def progress_in_a_thread():
    """A thread tells something all the time while the run waits."""
    import contextvars
    import threading

    context = contextvars.copy_context()

    def tell():
        while True:
            progress(1)

    threading.Thread(target=context.run, args=(tell,), daemon=True).start()
    wait()


def uninterrupted():
    with current().uninterrupted():
        print("waiting", flush=True)
        deadline = time.monotonic() + 20
        while not current().cancelled and time.monotonic() < deadline:
            time.sleep(0.01)
        print("finished the block", flush=True)
    print("not reached", flush=True)


def leak(megabytes, kept=[]):  # noqa: B006
    kept.append(b"x" * (megabytes << 20))
    return os.getpid()


def payload_file():
    path = sys.argv[sys.argv.index("--payload-file") + 1]
    return [path, oct(os.stat(path).st_mode & 0o777)]


def extend_then_sleep(seconds, slept):
    granted = current().extend(seconds)
    time.sleep(slept)
    return granted


def extend_for_ever():
    while True:
        current().extend(1)
        time.sleep(0.1)


def sum_of_parents():
    return sum(parent["output"] for parent in current().parents.values())
