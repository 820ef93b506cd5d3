"""`kat` in forks of a process that has imported it: what each test would else wait for again, a second or two.

A fork has one thread, the environment and the files it is given, and nothing but imports from before. Run as a program
this is that process: a line of JSON on standard input is a run (`arguments`, `environ`, `folder`, `timeout` in
seconds), a line on standard output its exit code, negative where a signal ended it, null where time ran out.
"""

import atexit
import gc
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

IMPORTED = (
    "anyio._backends._asyncio", "assistant.cli", "assistant.commands.ask", "assistant.commands.doctor",
    "assistant.commands.fix_many", "assistant.commands.fixing", "assistant.commands.registry",
    "assistant.commands.sessions", "assistant.commands.undo", "assistant.doctor.examination", "assistant.fix.agent",
    "assistant.fix.run", "assistant.fix.story", "assistant.opening", "assistant.pilot", "assistant.protocols.text",
    "assistant.safety.confinement.probe", "assistant.sessions.index", "assistant.slash", "git", "httpcore2",
    "langchain_core.tracers.run_collector", "langchain_core.tracers.stdout", "langgraph.graph", "model.dialects",
    "model.engines.chat", "model.engines.http", "model.engines.rewrite", "model.select", "model.serving.metrics",
    "model.serving.peers", "typer._adapters",
)  # fmt: skip
"""Only what starts no thread and holds nothing of one run."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Forks:
    """The process, and the runs it is asked for."""

    def __init__(self, root):
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forking"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments, environ, text, timeout, *, one_core=False):
        """Exit code, standard output and standard error of `kat`, whose standard input is a file with `text`.

        On `one_core` llama.cpp makes one thread; two wait long for each other where other tests run as well.
        """
        with tempfile.TemporaryDirectory(dir=self._folder.name) as name:
            folder = Path(name)
            (folder / "in").write_text(text, "utf-8")
            asked = {
                "arguments": arguments,
                "environ": environ,
                "folder": name,
                "timeout": timeout,
                "one_core": one_core,
            }
            self._process.stdin.write(json.dumps({**asked, "cwd": str(Path.cwd())}) + "\n")
            self._process.stdin.flush()
            code = json.loads(self._process.stdout.readline())
            out, err = ((folder / kind).read_text("utf-8", "replace") for kind in ("out", "err"))
        if code is None:
            raise subprocess.TimeoutExpired(["kat", *arguments], timeout, out, err)
        return code, out, err

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)  # it may be starting still
        self._process.stdout.close()
        self._folder.cleanup()


def become(asked):
    """What `python -c "from assistant.cli import main; main()"` would find."""
    os.chdir(asked["cwd"])
    if asked["one_core"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
    for number, (name, flags) in enumerate({"in": os.O_RDONLY, "out": _NEW, "err": _NEW}.items()):
        file = os.open(Path(asked["folder"]) / name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environ"])
    sys.argv = ["kat", *asked["arguments"]]
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    tempfile.tempdir = None
    gc.enable()


def ended(child, timeout):
    """The exit code once it has one, or None when it was killed for its time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def serve():
    """Fork for each line; returns in the child."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.disable()
    gc.freeze()
    while line := sys.stdin.readline():
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            become(asked)
            return True
        sys.stdout.write(json.dumps(ended(child, asked["timeout"])) + "\n")
        sys.stdout.flush()
    return False


def run():
    """`kat`, and what Python does at its end, but for taking apart each module that was imported before the fork."""
    from assistant.cli import main

    try:
        main()
    except SystemExit as left:
        if not isinstance(left.code, int | None):
            raise
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(left.code or 0)


if __name__ == "__main__" and serve():
    run()
