"""Runs `kat` in forks of a process that has imported everything, and kills them with SIGKILL when told to.

A line of JSON on standard input is a run: `arguments`, `environ`, `log`, `delay` in seconds (null: until it ends).
A line of JSON on standard output says how it ended: `code` (negative: killed) and `seconds`.
"""

import ctypes
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


def main():
    inherit_orphans()
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child(asked)
        if asked["delay"] is not None:
            time.sleep(asked["delay"])
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        wait_for_orphans()
        ended = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
