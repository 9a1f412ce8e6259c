"""Loop executors without manners: the first argument says which."""

import json
import os
import sys
import time


def say(**message):
    os.write(3, (json.dumps(message) + "\n").encode())


def lines():
    return (json.loads(line) for line in sys.stdin if line.strip())


def runs():
    return (message for message in lines() if message["t"] == "run")


def ready(caps=(), protocol=1):
    say(t="ready", protocol=protocol, lang="python", pid=os.getpid(), caps=list(caps))


def done(run, value=None):
    say(t="done", id=run["id"], ok=True, **{"return": value})


def silent():
    time.sleep(600)


def old():
    ready(protocol=0)
    time.sleep(600)


def broken():
    sys.exit("no module named shop")


def sometimes_broken():
    """Fails to start as often as there are characters in the file."""
    path = sys.argv[2]
    with open(path, "a+") as file:
        file.seek(0)
        left = file.read()
        file.truncate(0)
        file.write(left[1:])
    if left:
        sys.exit("not today")
    polite()


def polite():
    ready()
    for run in runs():
        done(run, os.getpid())


def twice():
    ready()
    for run in runs():
        done(run, os.getpid())
        done(run, "again")


def strangers():
    ready()
    for run in runs():
        for stranger in ("no-such-run", "99", 7, None):
            say(t="done", id=stranger, ok=True)
        say(t="something new", id=run["id"])
        done(run, os.getpid())


def recycles():
    ready()
    for run in runs():
        say(t="recycle", reason="full")
        done(run, os.getpid())


def raw():
    """Answers every run with the bytes (hex) of the second argument."""
    ready()
    for _ in runs():
        os.write(3, bytes.fromhex(sys.argv[2]))


def exact():
    ready()
    for run in runs():
        os.write(3, b'{"return" : [12345678901234567890, 1.0], "t":"done","ok":true,"id":"%s"}\n' % run["id"].encode())


def concurrent():
    """Holds runs of the task ``hold`` until they are cancelled, and answers others at once."""
    ready(["concurrent"])
    for message in lines():
        if message["t"] == "cancel":
            done(message, message["reason"])
        elif message["t"] == "run" and message["task"] == "hold":
            print("waiting", flush=True)
        elif message["t"] == "run":
            done(message, os.getpid())


def lingers():
    """Ends neither at the end of stdin nor by SIGTERM."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    polite()
    time.sleep(600)


globals()[sys.argv[1]]()
