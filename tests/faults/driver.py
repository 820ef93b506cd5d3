"""Runs `kat` in forks of a process that has imported everything, and kills them with SIGKILL when told to.

A line of JSON on standard input is a run: `arguments`, `environ`, `folder`, `delay` in seconds (null: until it ends).
A line of JSON on standard output says how it ended: `code` (negative: killed) and `seconds`.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import git  # noqa: F401 - so that forks need not import it

import assistant.commands.registry
import assistant.pilot
import model.engines.http  # noqa: F401


def child(asked):
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os._exit(assistant.commands.registry.run(asked["arguments"]))


def wait_for_the_sandbox(folder):
    """The kernel ends what ran in the sandbox a moment after `kat`; its outer process has the folder in its command."""
    mine = str(os.getpid())
    for _ in range(500):
        if not any(folder in command for pid, command in commands() if pid != mine):
            return
        time.sleep(0.01)
    raise SystemExit("something outlives kat")


def commands():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield entry.name, (entry / "cmdline").read_bytes().decode(errors="replace")


def main():
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
        wait_for_the_sandbox(asked["folder"])
        ended = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
