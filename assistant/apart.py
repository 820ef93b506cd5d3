"""Calls in a process of our own beside this one: grammars are native code, and one that crashes on hostile text takes
only that process with it.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

CALLS = {
    "shape": ("assistant.fix.meaning", "shape_here"),
    "shell": ("assistant.safety.shell.parsing", "parse_as_data"),
    "statements": ("assistant.fix.localising.statements", "statements_here"),
    "syntax": ("assistant.workspace.syntax", "first_error_here"),
    "tags": ("assistant.workspace.tags", "tags_here"),
}
"""What may be called: JSON in, JSON out."""
_PASSED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_SECONDS = 5.0
"""How long a call may take, the start of the process included."""
_ORPHANED = 20
"""Seconds after which a call ends itself, since whoever made it has gone."""
_MEMORY = 1 << 30
"""Bytes that the process may have: of some texts of a few kilobytes a grammar makes gigabytes. Our choice."""


class Apart:
    """The process, started when it is first needed and again after it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def call(self, name: str, *arguments: Any, seconds: float = _SECONDS) -> Any:
        """What the call returns; None if the process crashed or took longer than `seconds`."""
        with self._lock:
            try:
                process = self._running()
                assert process.stdin is not None
                process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
                process.stdin.flush()
                return json.loads(self._line(process, seconds))
            except (OSError, ValueError):
                self.close()
                return None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        with suppress(OSError, subprocess.TimeoutExpired):
            process.wait(_SECONDS)
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream and stream.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.close()
            path = [entry for entry in sys.path if entry]  # an empty one is the folder that we are in: the user's
            code = f"import sys; sys.path[:] = {path!r}; from assistant.apart import serve; serve()"
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                cwd="/",
                env={name: os.environ[name] for name in _PASSED if name in os.environ},  # no secrets for native code
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """The answer. Raises ValueError where none comes."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise ValueError("no answer in time")
        if not (line := process.stdout.readline()).endswith(b"\n"):
            raise ValueError("the process died")
        return line


def serve() -> None:
    """Answer calls until standard input ends."""
    with suppress(OSError, ValueError):  # not every system has such a limit
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        signal.alarm(_ORPHANED)  # its default ends native code, too
        name, *arguments = json.loads(line)
        module, function = CALLS[name]
        answer = getattr(importlib.import_module(module), function)(*arguments)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        signal.alarm(0)


APART = Apart()
"""The one that everybody uses."""
atexit.register(APART.close)
