"""Proves a sandbox by trying to break out of it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistant.safety.sandbox import Sandbox

_VARIABLE = "KAT_PROBE_SECRET"

_ATTEMPT = """
import json, os, socket, sys
asked = json.loads(sys.argv[1])

def tried(action):
    try:
        return bool(action())
    except Exception:
        return False

def write(path):
    with open(path, "x") as file:
        file.write(asked["token"])
    return True

def read(path):
    with open(path, errors="replace") as file:
        return asked["token"] in file.read()

def connect():
    socket.create_connection(("127.0.0.1", asked["port"]), 2).close()
    return True

def sees_process():
    with open(f"/proc/{asked['pid']}/stat") as file:
        return file.read().rpartition(")")[2].split()[19] == asked["started"]

def environments():
    for name in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{name}/environ", errors="replace") as file:
            yield file.read()

print(json.dumps({
    "outside": [tried(lambda path=path: write(path)) for path in asked["outside"]],
    "git": tried(lambda: write(asked["git"])),
    "home": tried(lambda: read(asked["home"])),
    "network": tried(connect),
    "process": tried(sees_process),
    "secret": asked["token"] in str(os.environ) or tried(lambda: any(asked["token"] in e for e in environments())),
}))
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to break out: what was tried, whether the sandbox held, and what was seen."""

    name: str
    held: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Bait:
    """Things on this machine that a command must not reach, made for the attempt and removed after it."""

    token: str
    outside: tuple[Path, ...]
    git: Path
    home: Path
    port: int

    def as_json(self) -> str:
        asked: dict[str, Any] = {"token": self.token, "git": str(self.git), "home": str(self.home), "port": self.port}
        asked |= {"outside": [str(path) for path in self.outside], "pid": os.getpid(), "started": _started()}
        return json.dumps(asked)


async def probe_sandbox(sandbox: Sandbox) -> tuple[Probe, ...]:
    """Try each way out from inside `sandbox`; whatever an attempt leaves behind is removed."""
    with _bait(sandbox) as bait:
        with_secret = replace(sandbox, environ={**sandbox.environ, _VARIABLE: bait.token})
        program = [sys.executable, "-I", "-S", "-c", _ATTEMPT, bait.as_json()]
        result = await with_secret.run(program, timeout=30)
        try:
            said = json.loads(result.output)
        except json.JSONDecodeError:
            return (Probe("runs a program", False, result.output.strip()[-200:] or f"exit code {result.exit_code}"),)
        return tuple(_judge(said, bait))


def _judge(said: dict[str, Any], bait: _Bait) -> Iterator[Probe]:
    yield Probe("runs a program", True, f"Python {sys.version_info.major}.{sys.version_info.minor} ran inside")
    written = [str(path) for path in bait.outside if path.exists()]
    yield _probe("write outside the repository", bool(written), " and ".join(written or map(str, bait.outside)))
    yield _probe("write .git", said["git"] and bait.git.exists(), str(bait.git))
    yield _probe("read a file in home", said["home"], str(bait.home))
    yield _probe("reach the network", said["network"], f"a listener on 127.0.0.1:{bait.port}")
    yield _probe("see other processes", said["process"], f"process {os.getpid()} of this machine")
    yield _probe("see a secret environment variable", said["secret"], _VARIABLE)


def _probe(name: str, reached: bool, target: str) -> Probe:
    return Probe(name, not reached, f"{'reached' if reached else 'could not reach'} {target}")


@contextmanager
def _bait(sandbox: Sandbox) -> Iterator[_Bait]:
    token = secrets.token_hex(16)
    mark = f".kat-probe-{token[:8]}"
    home = Path(sandbox.environ.get("HOME", "/"))
    in_git = sandbox.repository / ".git" / "hooks"
    git = (in_git if in_git.is_dir() else in_git.parent) / mark
    outside = (sandbox.repository.parent / mark, Path(tempfile.gettempdir()) / f"{mark}-tmp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        secret = home / f"{mark}-home"
        with suppress(OSError):
            secret.write_text(token)
        try:
            yield _Bait(token, outside, git, secret, listener.getsockname()[1])
        finally:
            for path in (*outside, git, secret):
                with suppress(OSError):
                    path.unlink()


def _started() -> str:
    """When this process started, in clock ticks since boot, as /proc says it; empty where there is no /proc."""
    try:
        return Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
