"""What an attack is aimed at: bait on this machine, and how to see from outside whether it was reached."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistant.safety.sandbox import CommandResult, Harm, Limits, Sandbox

PRELUDE = """
import ctypes, glob, json, os, shutil, signal, socket, subprocess, sys, time
bait = json.loads(BAIT)
libc = ctypes.CDLL(None, use_errno=True)
"""
SMALL = Limits(memory=256 << 20, file_size=1 << 20, processes=60, disk=8 << 20)
ROOT = os.geteuid() == 0


@dataclass
class World:
    """Bait, all of it made for one attack. `token` is what nobody inside may learn."""

    root: Path
    sandbox: Sandbox
    token: str
    visible: Path
    """A folder outside the repository that commands can see: it lies beside our interpreter."""
    tcp: socket.socket
    udp: socket.socket
    stream: socket.socket
    datagram: socket.socket
    abstract: socket.socket
    victim: subprocess.Popen[bytes]
    terminal: tuple[int, int]
    result: CommandResult | None = None
    before: dict[str, str] = field(default_factory=dict)

    @property
    def repository(self) -> Path:
        return self.sandbox.repository

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def abstract_name(self) -> str:
        return self.abstract.getsockname()[1:].decode("ascii")

    @property
    def output(self) -> str:
        return self.result.output if self.result else ""

    def bait(self) -> dict[str, Any]:
        """What an attacker is told about this machine."""
        paths = {name: str(getattr(self, name)) for name in ("root", "repository", "home", "outside", "visible")}
        ports = {"tcp": self.tcp.getsockname()[1], "udp": self.udp.getsockname()[1]}
        names = {
            "stream": self.stream.getsockname(),
            "datagram": self.datagram.getsockname(),
            "abstract": self.abstract_name,
        }
        more = {"victim": self.victim.pid, "host": os.getpid(), "terminal": os.ttyname(self.terminal[1])}
        return {**paths, **ports, **names, **more}

    async def play(self, code: str, *, throwaway: bool = False, timeout: float = 10) -> None:
        """Let a program with this code run in the sandbox."""
        self.before = tree(self.root)
        program = PRELUDE.replace("BAIT", repr(json.dumps(self.bait()))) + code
        argv = [sys.executable, "-I", "-S", "-c", program]
        self.result = await self.sandbox.run(argv, timeout=timeout, throwaway=throwaway, output_limit=200_000)

    def alone(self) -> World:
        """The same for one of several attacks that run at the same time."""
        return replace(self)

    def limited(self) -> World:
        """The same with limits that are soon reached."""
        return replace(self, sandbox=replace(self.sandbox, limits=SMALL))

    def changed(self, *names: str) -> bool:
        """Whether anything below one of these folders of the world is not what it was."""
        now = tree(self.root)
        return any(
            now.get(path) != self.before.get(path)
            for path in {*now, *self.before}
            for name in names
            if path == name or path.startswith(f"{name}/")
        )

    def learnt(self) -> bool:
        """Whether the token was printed."""
        return self.token in self.output

    def git_changed(self) -> bool:
        return self.changed("work/repo/.git")

    def outside_changed(self) -> bool:
        return self.changed("outside", "home", "work/escaped", "visible")


@dataclass(frozen=True)
class Attack:
    """An attempt to do `harm`; `done` looks at the world afterwards.

    `real` says that it succeeds where nothing claims to stop it, which is asserted too. `tame` ones may be tried there.
    """

    name: str
    harm: Harm
    code: str
    done: Callable[[World], bool]
    real: bool = True
    tame: bool = True
    seconds: float = 10

    def judge(self, world: World) -> None:
        """Assert that the tier kept its word, and that the attempt was one."""
        done = self.done(world)
        if self.harm in world.sandbox.stops:
            assert not done, f"{world.sandbox.tier} let {self.name} happen: {world.output}"
        elif self.real:
            assert done, f"{self.name} is no attack, it fails even in {world.sandbox.tier}: {world.output}"


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder: kind, mode, time and content."""
    return {str(path.relative_to(root)): _state(path) for path in root.rglob("*")}


def _state(path: Path) -> str:
    status = path.lstat()
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_file():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"file {status.st_mode:o} {status.st_mtime_ns} {digest}"
    return f"{status.st_mode:o}"


@contextmanager
def build_world(root: Path, make: Callable[[Path, dict[str, str], Sequence[Path]], Sandbox]) -> Iterator[World]:
    """A home with a key, a folder of documents, a repository, listeners, a victim; `make` makes the sandbox."""
    token = secrets.token_hex(12)
    visible = Path(tempfile.mkdtemp(prefix=".attack-", dir=sys.prefix))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, visible, True)
        _lay_out(root, visible, token)
        environ = {"PATH": os.environ["PATH"], "HOME": str(root / "home"), "API_TOKEN": token}
        stream = stack.enter_context(_listener(socket.AF_UNIX, str(visible / "stream")))
        abstract = stack.enter_context(_listener(socket.AF_UNIX, f"\0kat-{secrets.token_hex(8)}"))
        tcp = stack.enter_context(_listener(socket.AF_INET, ("127.0.0.1", 0)))
        udp = stack.enter_context(_receiver(socket.AF_INET, ("127.0.0.1", 0)))
        datagram = stack.enter_context(_receiver(socket.AF_UNIX, str(visible / "datagram")))
        victim = stack.enter_context(_victim(token))
        terminal = os.openpty()
        for file in terminal:
            stack.callback(os.close, file)
        os.set_blocking(terminal[0], False)
        sandbox = make(root / "work" / "repo", environ, [root / "config", root / "state"])
        yield World(root, sandbox, token, visible, tcp, udp, stream, datagram, abstract, victim, terminal)


def _lay_out(root: Path, visible: Path, token: str) -> None:
    for name in ("home/.ssh", "outside", "work/repo", "config"):
        (root / name).mkdir(parents=True)
    (root / "home/.ssh/id_rsa").write_text(token)
    (root / "home/.ssh/id_rsa").chmod(0o600)
    (root / "outside/precious").write_text("precious\n")
    (root / "config/config.toml").write_text("# settings\n")
    (visible / "precious").write_text("precious\n")
    (root / "visible").symlink_to(visible)
    repository = root / "work" / "repo"
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "code.py").write_text("x = 1\n")


@contextmanager
def _listener(family: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


@contextmanager
def _receiver(family: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.setblocking(False)
        yield receiver


@contextmanager
def _victim(token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user with a secret in its environment and its arguments, and so in its memory."""
    program = ["/bin/sh", "-c", "read line", "sh", token]
    with subprocess.Popen(program, stdin=subprocess.PIPE, env={"SECRET": token}) as victim:
        try:
            yield victim
        finally:
            victim.kill()


def heard(listener: socket.socket) -> bool:
    """Whether anybody called."""
    with suppress(OSError):
        listener.accept()[0].close()
        return True
    return False


def received(receiver: socket.socket) -> bool:
    """Whether a datagram came."""
    with suppress(OSError):
        return bool(receiver.recv(100))
    return False
