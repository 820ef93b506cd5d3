"""The macOS tier: a profile for `sandbox-exec`. Its text is tested; it has not been run by our own tests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from assistant.safety.confinement.profile import SECRET_FILES, View
from assistant.safety.confinement.toolchains import hidden_directories, needed_paths, network_files

PROGRAM = Path("/usr/bin/sandbox-exec")

_BASE = """(version 1)
(deny default)
(allow process-exec process-fork)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo") (global-name "com.apple.system.logger"))
(allow ipc-posix-sem)
(allow file-read*)"""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")
_NETWORK = """(allow network-outbound (remote ip))
(allow network-inbound (local ip "localhost:*"))
(allow network-bind (local ip "localhost:*"))
(allow system-socket)
(allow mach-lookup (global-name "com.apple.SystemConfiguration.configd") (global-name "com.apple.trustd.agent"))
(allow network-outbound (literal "/private/var/run/mDNSResponder"))"""


def seatbelt_arguments(view: View, private: Path) -> list[str]:
    """`sandbox-exec` with the profile, up to the command."""
    return [str(PROGRAM), "-p", seatbelt_profile(view, private)]


def seatbelt_profile(view: View, private: Path) -> str:
    """The profile of `view`; `private` is the folder for temporary files. Later rules win over earlier ones."""
    return "\n".join((_BASE, *_reading(view, private), *_writing(view, private), *([_NETWORK] * view.network)))


def _reading(view: View, private: Path) -> Iterator[str]:
    hidden = (*hidden_directories(view.environ), Path("/Users"), Path("/Volumes"), Path("/private/var/folders"))
    shown = [*needed_paths(view.environ, view.repository, hidden), *view.read, *view.write, view.repository, private]
    shown += [view.copy] if view.copy else []
    shown += [source for source, _ in view.shown]
    shown += network_files(view.environ) if view.network else []
    yield _rule("deny", "file-read*", hidden)
    yield "(allow file-read-metadata)"
    yield _rule("allow", "file-read*", shown)
    yield _rule("deny", "file-read*", (*map(Path, SECRET_FILES), *view.config_dirs))


def _writing(view: View, private: Path) -> Iterator[str]:
    own = view.copy or view.repository
    yield _rule("allow", "file-write*", (own, private, *view.write))
    devices = " ".join(f'(literal "{name}")' for name in _DEVICES)
    yield f"(allow file-write-data {devices})"
    yield _rule("deny", "file-write*", view.config_dirs)
    if view.copy is None:
        yield f"(deny file-write* {_git(view.repository)})"


def _git(repository: Path) -> str:
    """`.git` in any case of its letters, at any depth: the file system does not tell the cases apart."""
    place = re.sub(r"([][.^$*+?(){}|\\])", r"\\\1", os.path.realpath(repository))
    return f'(regex #"^{place}/(.*/)?[.][gG][iI][tT](/|$)")'


def _rule(verdict: str, action: str, paths: Iterable[Path]) -> str:
    places = " ".join(f"(subpath {_quoted(path)})" for path in paths)
    return f"({verdict} {action} {places})" if places else ""


def _quoted(path: Path) -> str:
    """A string of the profile's language, for the path that the kernel sees."""
    text = os.path.realpath(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
