"""The Landlock tier: what a command may open when namespaces are not to be had. Linux 6.2 (version 3) or newer.

Rules only add: a writable folder cannot have a part taken out again, so `.git` is as writable as the repository.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.safety.confinement import seccomp
from assistant.safety.confinement.profile import SECRET_FILES, View
from assistant.safety.confinement.tiers import NETWORK_ABI, SCOPES_ABI
from assistant.safety.confinement.toolchains import hidden_directories, needed_paths, network_files

OLDEST = 3
"""The first version that keeps files from being truncated."""

_LAUNCHER = Path(__file__).with_name("launcher.py")
_CREATE_RULESET = 444
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_OVERRIDE, _OWNER = 1, 3
"""CAP_DAC_OVERRIDE and CAP_FOWNER, for root in another user's repository."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Paths that a command may read, and those that it may also write; everything else cannot be opened."""

    read: tuple[Path, ...]
    write: tuple[Path, ...]


def version() -> int:
    """The version of Landlock in this kernel, 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    found: int = ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, 0, 1)
    return max(found, 0)


def grants(view: View, private: Path) -> Grants:
    """What `view` comes to: all but hidden folders is read, the repository (or its copy) and `private` are written."""
    hidden = hidden_directories(view.environ)
    ours = tuple(path.resolve() for path in view.config_dirs)
    closed = {*hidden, *ours, Path("/dev"), *map(Path, SECRET_FILES)}
    read = list(_without(Path("/"), closed))
    for path in (*needed_paths(view.environ, view.repository, hidden), *view.read):
        read += _without(path.resolve(), set(ours))
    write = [*map(Path, _DEVICES), private, *view.write, view.copy or view.repository]
    if view.copy is not None:
        read.append(view.repository)
    read += [source for source, _ in view.shown]
    if view.network:
        read += network_files(view.environ)
    return Grants(tuple(read), tuple(write))


def landlock_arguments(view: View, private: Path, limits: Mapping[str, int], abi: int) -> list[str]:
    """The launcher and its orders, up to the command. `limits` are names of `resource` without RLIMIT_."""
    found = grants(view, private)
    order = {
        "limits": dict(limits),
        "abi": abi,
        "rights": _rights(abi),
        "network": 0 if view.network or abi < NETWORK_ABI else 3,
        "scopes": 3 if abi >= SCOPES_ABI else 0,
        "read": [str(path) for path in found.read],
        "write": [str(path) for path in found.write],
        "keep": [_OVERRIDE, _OWNER] if os.geteuid() == 0 and view.repository.stat().st_uid != 0 else [],
        "filter": _filter(view.network),
    }
    return launcher(order)


def launcher(order: Mapping[str, object]) -> list[str]:
    """The launcher with this specification, up to the command."""
    return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(order)]


def _filter(network: bool) -> str:
    if not seccomp.available():
        return ""
    families: Sequence[int] = seccomp.INTERNET if network else ()
    return base64.b64encode(seccomp.program(families, shared_memory=False)).decode("ascii")


def _rights(abi: int) -> int:
    """Every right on files that this version knows: 15 of them in version 3, one more since 5."""
    return (1 << (16 if abi >= 5 else 15)) - 1


def _without(path: Path, closed: Collection[Path]) -> Iterator[Path]:
    """`path`, or, where something in it is closed, whatever else it holds. Links are left out: targets count."""
    if path in closed:
        return
    if not any(path in place.parents for place in closed):
        yield path
        return
    for child in _children(path):
        yield from _without(child, closed)


def _children(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if not entry.is_symlink()]
    except OSError:
        return []
