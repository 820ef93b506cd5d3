"""The servers that `kat serve` runs on this machine: a file of state each, by which `kat` finds and uses them."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.serving.plan import Endpoint, Runner
from model.serving.supervision import processes

READY = "ready"
"""The stage of a server that answers."""
_LOOKS = 5
_LOOK_SECONDS = 0.02


class AlreadyClaimed(Exception):
    """Another `kat serve` looks after the server of that name."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server of ours; the file of state holds its key, so only its owner may read that.

    `name` is what `kat serve stop` takes, `model` what /v1/models lists. `pid` leads the server's group of processes,
    `born` tells it from a later one with its number. `started` and `ready` are in seconds since 1970; `stage` says how
    far the start is. `adapters` are those that were asked for at the start, as NAME=PATH, and `loaded` those that it
    has, as NAME@VERSION=PATH. `source` is the model's folder, file or name on a hub.
    """

    name: str
    model: str
    dialect: str
    runner: Runner
    endpoint: Endpoint
    supervisor: int
    log: Path
    started: float
    pid: int | None = None
    born: int | None = None
    context: int | None = None
    stage: str = "starting"
    ready: float | None = None
    restarts: int = 0
    adapters: tuple[str, ...] = ()
    version: str = ""
    loaded: tuple[str, ...] = ()
    source: str = ""

    @property
    def address(self) -> str:
        """As `--engine` takes it."""
        return self.endpoint.url

    @property
    def is_ready(self) -> bool:
        """Whether it answered when its supervisor last looked."""
        return self.stage == READY


def servers_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where state and logs of servers are: in `KAT_STATE`, else in the user's state directory."""
    if root := environ.get("KAT_STATE"):
        return Path(root).expanduser() / "servers"
    from platformdirs import user_state_path

    return user_state_path("kat-pilot") / "servers"


def servers(folder: Path) -> list[Running]:
    """The servers that live, the latest first; files that cannot be read, or are of dead ones, do not count."""
    found = [running for path in folder.glob("*.json") if (running := read(folder, path.stem))]
    return sorted((one for one in found if lives(folder, one)), key=lambda one: -one.started)


def at(folder: Path, address: str) -> Running | None:
    """The server of ours at an address, as `--engine` takes it; None where there is none."""
    wanted = _plain(address)
    return next((one for one in servers(folder) if _plain(one.address) == wanted), None)


def read(folder: Path, name: str) -> Running | None:
    """The state of that name, of a dead server too; None where there is none that can be read."""
    try:
        data = json.loads((folder / f"{name}.json").read_text("utf-8"))
        return _running(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(folder: Path, running: Running) -> None:
    """Keep the state: written beside with mode 0600, then renamed, so that nobody sees half of it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = asdict(running) | {"log": str(running.log)}
    data["endpoint"]["socket"] = str(running.endpoint.socket) if running.endpoint.socket else None
    temporary = folder / f".{running.name}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "x", encoding="utf-8", opener=_private) as file:
            json.dump(data, file)
        temporary.replace(folder / f"{running.name}.json")
    finally:
        temporary.unlink(missing_ok=True)


def forget(folder: Path, name: str) -> None:
    """Take the state of that name away."""
    (folder / f"{name}.json").unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[None]:
    """Be the one who looks after the server of that name; the system ends a claim with its process.

    Raises:
        AlreadyClaimed: another process is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        if not _locked(lock.fileno()):
            raise AlreadyClaimed
        yield


def is_supervised(folder: Path, name: str) -> bool:
    """Whether a `kat serve` looks after the server of that name now."""
    try:
        lock = (folder / f"{name}.lock").open("r")
    except OSError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def lives(folder: Path, running: Running) -> bool:
    """Whether somebody looks after the server, or it runs on without."""
    return is_supervised(folder, running.name) or is_alive(running)


def is_alive(running: Running) -> bool:
    """Whether the server's process is there and is no later one with the same number."""
    return running.pid is not None and processes.is_alive(running.pid, running.born)


def _plain(address: str) -> str:
    """An address as it is compared."""
    return address.rstrip("/").removesuffix("/v1").replace("//localhost:", "//127.0.0.1:")


def _locked(descriptor: int) -> bool:
    """Take the lock; who only looks whether it is taken holds it for a moment, so try more than once."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOOK_SECONDS)
        else:
            return True
    return False


def _running(data: dict[str, Any]) -> Running:
    place = data["endpoint"]
    endpoint = Endpoint(**(place | {"socket": Path(place["socket"]) if place["socket"] else None}))
    plain = {"log": Path(data["log"]), "runner": Runner(data["runner"])}
    plain |= {key: tuple(data.get(key, ())) for key in ("adapters", "loaded")}
    return Running(**(data | plain | {"endpoint": endpoint}))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
