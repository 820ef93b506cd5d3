"""Proves a sandbox by trying to break out of it: what it claims to stop must not happen to bait laid out here."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.safety.confinement.tiers import Harm

if TYPE_CHECKING:
    from assistant.safety.sandbox import Sandbox

_VARIABLE = "KAT_PROBE_SECRET"
_OUTLIVES = 0.6
"""Seconds after which what outlived the run would have left its mark."""

_ATTEMPT = """
import json, os, signal, socket, sys, time
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

def append(path):
    with open(path, "a") as file:
        file.write(asked["token"])

def read(path):
    with open(path, errors="replace") as file:
        return asked["token"] in file.read()

def connect():
    socket.create_connection(("127.0.0.1", asked["port"]), 2).close()
    return True

def send():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(asked["token"].encode(), ("127.0.0.1", asked["udp"]))

def local():
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect("\\0" + asked["token"])
    return True

def sees_process():
    with open(f"/proc/{asked['pid']}/stat") as file:
        return file.read().rpartition(")")[2].split()[19] == asked["started"]

def environments():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", errors="replace") as file:
                yield file.read()
        except OSError:
            pass

def outlive():
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(3):
        os.close(number)
    time.sleep(asked["outlives"] / 2)
    write(asked["late"])
    os._exit(0)

tried(lambda: append(asked["config"]))
tried(lambda: os.makedirs(os.path.dirname(asked["settings"])))
tried(lambda: write(asked["settings"]))
tried(lambda: os.chmod(asked["mode"], 0o777))
tried(lambda: os.kill(asked["victim"], signal.SIGKILL))
tried(send)
print(json.dumps({
    "outside": [tried(lambda path=path: write(path)) for path in asked["outside"]],
    "git": tried(lambda: write(asked["git"])),
    "home": tried(lambda: read(asked["home"])),
    "network": tried(connect),
    "local": tried(local),
    "process": tried(sees_process),
    "secret": asked["token"] in str(os.environ) or tried(lambda: any(asked["token"] in e for e in environments())),
}), flush=True)
outlive()
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to break out: what was tried, whether the sandbox held, and what was seen.

    `claimed` says whether the tier claims to stop it; what it does not claim is no failure.
    """

    name: str
    held: bool
    detail: str
    claimed: bool = True

    @property
    def ok(self) -> bool | None:
        """True if it held, False if it broke its word, None where it never gave any."""
        return True if self.held else False if self.claimed else None


@dataclass(frozen=True, slots=True)
class _Bait:
    """Things on this machine that a command must not reach, made for the attempt and removed after it."""

    token: str
    outside: tuple[Path, ...]
    git: Path
    config: Path
    settings: Path
    home: Path
    late: Path
    listener: socket.socket
    datagrams: socket.socket
    victim: subprocess.Popen[bytes]

    def as_json(self) -> str:
        paths = {name: str(getattr(self, name)) for name in ("git", "config", "settings", "home", "late")}
        asked: dict[str, Any] = {"token": self.token, "mode": paths["home"], **paths}
        asked |= {"port": self.listener.getsockname()[1], "udp": self.datagrams.getsockname()[1]}
        asked |= {"outside": [str(path) for path in self.outside], "pid": os.getpid(), "started": _started()}
        return json.dumps(asked | {"victim": self.victim.pid, "outlives": _OUTLIVES})


async def probe_sandbox(sandbox: Sandbox) -> tuple[Probe, ...]:
    """Try each way out from inside `sandbox`; whatever an attempt leaves behind is removed."""
    with _bait(sandbox) as bait:
        with_secret = replace(sandbox, environ={**sandbox.environ, _VARIABLE: bait.token})
        program = [sys.executable, "-I", "-S", "-c", _ATTEMPT, bait.as_json()]
        before = _git_config(bait.config)
        result = await with_secret.run(program, timeout=30)
        try:
            said = json.loads(result.output)
        except json.JSONDecodeError:
            return (Probe("runs a program", False, result.output.strip()[-200:] or f"exit code {result.exit_code}"),)
        await asyncio.sleep(_OUTLIVES)
        said["config"] = _restored(bait.config, before)
        return (_ran(), *(_probe(sandbox, *attempt) for attempt in _judge(said, bait)))


def _ran() -> Probe:
    return Probe("runs a program", True, f"Python {sys.version_info.major}.{sys.version_info.minor} ran inside")


def _judge(said: dict[str, Any], bait: _Bait) -> Iterator[tuple[Harm, bool, str]]:
    """Each harm, whether it was done, and to what."""
    written = [str(path) for path in bait.outside if path.exists()]
    yield Harm.OUTSIDE, bool(written), " and ".join(written or map(str, bait.outside))
    yield Harm.MODES, bait.home.exists() and bait.home.stat().st_mode & 0o777 == 0o777, str(bait.home)
    yield Harm.GIT, said["git"] and bait.git.exists(), str(bait.git)
    yield Harm.GIT, said["config"], str(bait.config)
    yield Harm.SETTINGS, bait.settings.exists(), str(bait.settings)
    yield Harm.HOME, said["home"], str(bait.home)
    yield Harm.TCP, said["network"], f"a listener on 127.0.0.1:{bait.listener.getsockname()[1]}"
    yield Harm.UDP, _received(bait.datagrams), f"a listener on 127.0.0.1:{bait.datagrams.getsockname()[1]}"
    yield Harm.SOCKETS, said["local"], "a local socket of this process"
    yield Harm.PROCESSES, said["process"], f"process {os.getpid()} of this machine"
    yield Harm.SIGNALS, bait.victim.poll() is not None, f"process {bait.victim.pid} of this machine"
    yield Harm.SECRETS, said["secret"], _VARIABLE
    yield Harm.OUTLIVE, bait.late.exists(), str(bait.late)


def _probe(sandbox: Sandbox, harm: Harm, reached: bool, target: str) -> Probe:
    name = f"{harm}/config" if target.endswith(".git/config") else str(harm)
    detail = f"{'reached' if reached else 'could not reach'} {target}"
    claimed = harm in sandbox.stops and not (harm is Harm.TCP and sandbox.network)
    return Probe(name, not reached, detail, claimed)


@contextmanager
def _bait(sandbox: Sandbox) -> Iterator[_Bait]:
    token = secrets.token_hex(16)
    mark = f".kat-probe-{token[:8]}"
    home, root = Path(sandbox.environ.get("HOME", "/")), sandbox.repository
    git = root / ".git"
    outside = (root.parent / mark, Path(tempfile.gettempdir()) / f"{mark}-tmp")
    settings = (sandbox.config_dirs[0] if sandbox.config_dirs else home) / f"{mark}-settings"
    secret, late = home / f"{mark}-home", root / f"{mark}-late"
    inside = (git / "hooks" if (git / "hooks").is_dir() else git) / mark
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = stack.enter_context(_datagrams())
        stack.enter_context(_local(token))
        victim = stack.enter_context(_victim())
        if not settings.parent.exists():
            stack.callback(_remove_folder, settings.parent)
        for path in (*outside, settings, inside, secret, late):
            stack.callback(_remove, path)
        with suppress(OSError):
            secret.write_text(token)
            secret.chmod(0o600)
        yield _Bait(token, outside, inside, git / "config", settings, secret, late, listener, datagrams, victim)


@contextmanager
def _victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as victim:
        try:
            yield victim
        finally:
            victim.kill()


@contextmanager
def _local(name: str) -> Iterator[None]:
    """A local socket in the abstract name space, where the system has one."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        yield


def _datagrams() -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    return receiver


def _received(receiver: socket.socket) -> bool:
    with suppress(OSError):
        return bool(receiver.recv(100))
    return False


def _git_config(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


def _restored(path: Path, before: bytes | None) -> bool:
    """Whether the file was changed; if so it is as before again."""
    if before is None or _git_config(path) == before:
        return False
    path.write_bytes(before)
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _remove_folder(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()


def _started() -> str:
    """When this process started, in clock ticks since boot, as /proc says it; empty where there is no /proc."""
    try:
        return Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
