"""Runs `kat` in forks of a process that has imported everything, and kills them with SIGKILL when told to.

Each argument is a lane, in which one run goes on at a time: the file descriptors IN,OUT. A line of JSON from IN is a
run: `arguments`, `environ`, `log`, `delay` in seconds (null: until it ends). A line of JSON to OUT says how it ended:
`code` (negative: killed) and `seconds`.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time

import assistant.commands.registry
from tests.e2e.forking import IMPORTED

PR_SET_CHILD_SUBREAPER = 36


def child(asked):
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(asked["environ"])
    gc.enable()
    os._exit(assistant.commands.registry.run(asked["arguments"]))


def inherit_orphans():
    """Have whatever outlives `kat` become a child of ours, also what it had forked and not started yet. Linux."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("this process cannot take over orphans")


def wait_for_orphans():
    """The kernel ends what ran in the sandbox a moment after `kat`."""
    for _ in range(1000):
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
        except ChildProcessError:
            return
    raise SystemExit("something outlives kat")


def lane(source, target):
    """Run what is asked for, until nobody can ask any more."""
    inherit_orphans()
    with os.fdopen(source) as asking, os.fdopen(target, "w") as telling:
        for line in asking:
            telling.write(json.dumps(one_run(json.loads(line))) + "\n")
            telling.flush()


def one_run(asked):
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        child(asked)
    if asked["delay"] is not None:
        time.sleep(asked["delay"])
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    wait_for_orphans()
    return {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}


def main():
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.disable()
    gc.freeze()
    ends = [tuple(map(int, pair.split(","))) for pair in sys.argv[1:]]
    for own in ends:
        if os.fork() == 0:
            for other in (fd for pair in ends if pair != own for fd in pair):
                os.close(other)
            lane(*own)
            os._exit(0)
    for _ in ends:
        os.wait()


if __name__ == "__main__":
    main()
