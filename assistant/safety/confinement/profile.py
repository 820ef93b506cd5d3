"""The bubblewrap profile: which parts of the machine a command sees, and how."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from assistant.safety.confinement.toolchains import (
    HOME_INSIDE,
    hidden_directories,
    is_under,
    needed_paths,
    network_files,
)

_TMPFS_BYTES = str(4 << 30)
_SMALL_BYTES = str(64 << 20)
_ROOMY = ("/tmp", "/var/tmp")  # noqa: S108
_UNIX_SOCKETS = Path("/proc/net/unix")
SECRET_FILES = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/krb5.keytab")
_SUBMODULE_PATH = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE)
_WORK_TREE = re.compile(r"^\s*worktree\s*=\s*(.+?)\s*$", re.MULTILINE)


class Mount(NamedTuple):
    """One mount. Parents come before children; on the same path the higher rank wins by coming last."""

    path: Path
    rank: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What a command is to see of the repository: itself, an overlay on it, or the copy at `copy`."""

    repository: Path
    environ: Mapping[str, str]
    config_dirs: tuple[Path, ...] = ()
    proc: bool = True
    overlay: bool = False
    copy: Path | None = None
    shown: tuple[tuple[Path, Path], ...] = ()
    """Folders from elsewhere, and where in the repository they are seen, read-only."""
    network: bool = False
    write: tuple[Path, ...] = ()
    """Folders outside the repository that may be written."""
    read: tuple[Path, ...] = ()
    """Folders that stay readable although they lie in hidden ones."""

    @property
    def throwaway(self) -> bool:
        """Whether writes to the repository vanish."""
        return self.overlay or self.copy is not None


def bubblewrap_arguments(view: View) -> list[str]:
    """Options for bwrap, up to the environment and the command."""
    arguments = [*_namespaces(view), "--new-session", "--die-with-parent", "--hostname", "sandbox"]
    arguments += ["--ro-bind", "/", "/", *_devices()]
    arguments += ["--proc", "/proc"] if view.proc else ["--size", _SMALL_BYTES, "--tmpfs", "/proc"]
    for mount in sorted(_mounts(view), key=lambda mount: (len(mount.path.parts), mount.path, mount.rank)):
        arguments += mount.arguments
    return [*arguments, "--dir", HOME_INSIDE]


def _devices() -> list[str]:
    """The usual devices, in a folder that takes no more; shared memory has a limit of its own."""
    return ["--dev", "/dev", "--size", _TMPFS_BYTES, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108


def phantoms(view: View) -> tuple[Path, ...]:
    """Protected paths of the repository that do not exist: bwrap makes an empty directory of each, to be removed."""
    if view.throwaway:
        return ()
    return tuple(path for path in _protected(view) if not os.path.lexists(path) and path.parent.is_dir())


def _namespaces(view: View) -> list[str]:
    """A user namespace too, except for root in another user's repository, whom it would keep from writing there."""
    if os.geteuid() == 0 and view.repository.stat().st_uid != 0:
        kinds = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        kinds += [] if view.network else ["--unshare-net"]
        kept = ["--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_FOWNER"]
        return [*kinds, "--cap-drop", "ALL", *kept]
    return ["--unshare-all", *(["--share-net"] if view.network else []), "--cap-drop", "ALL"]


def _mounts(view: View) -> Iterator[Mount]:
    hidden = hidden_directories(view.environ)
    for path in hidden:
        size = _TMPFS_BYTES if str(path) in _ROOMY else _SMALL_BYTES
        yield Mount(path, 0, ("--size", size, "--tmpfs", str(path)))
    needed = (*needed_paths(view.environ, view.repository, hidden), *view.read)
    for path in needed:
        yield _read_only(path, 1)
    for path in _reached(view, hidden):
        yield _read_only(path, 1)
    for path in view.write:
        yield Mount(path, 2, ("--bind", str(path), str(path)))
    yield _repository(view)
    for source, target in view.shown:
        yield Mount(target, 5, ("--ro-bind", str(source), str(target)))
    for path in _git_directories(view.repository, hidden):
        yield _read_only(path, 1)
    yield from _masks(view, (*needed, *view.write, view.repository), hidden)


def _reached(view: View, hidden: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files for the network that hiding would take away."""
    return tuple(path for path in network_files(view.environ) if is_under(path, hidden)) if view.network else ()


def _repository(view: View) -> Mount:
    path = str(view.repository)
    if view.overlay:
        return Mount(view.repository, 2, ("--overlay-src", path, "--tmp-overlay", path))
    return Mount(view.repository, 2, ("--bind", str(view.copy or path), path))


def _masks(view: View, shown: tuple[Path, ...], hidden: tuple[Path, ...]) -> Iterator[Mount]:
    for path in _protected(view):
        if path.is_symlink():
            yield from _linked(path.resolve(), view.repository)
        elif path.exists():
            yield _read_only(path, 3)
        elif path.parent.is_dir():
            yield Mount(path, 3, ("--size", _SMALL_BYTES, "--tmpfs", str(path)))
    for path in (path.resolve() for path in view.config_dirs):
        visible = is_under(path, shown) or not is_under(path, hidden)
        if path.is_dir() and visible and path not in view.repository.parents:
            yield Mount(path, 4, ("--size", _SMALL_BYTES, "--tmpfs", str(path)))
    for path in (*map(Path, SECRET_FILES), *_sockets(shown, hidden)):
        if path.exists():
            yield Mount(path, 4, ("--ro-bind", "/dev/null", str(path)))


def _linked(target: Path, repository: Path) -> Iterator[Mount]:
    """Nothing can be mounted on a link; what it leads to is protected, where it could be written at all."""
    if target.exists() and repository in target.parents:
        yield _read_only(target, 3)


def _sockets(shown: tuple[Path, ...], hidden: tuple[Path, ...]) -> Iterator[Path]:
    """Sockets of other programs that could still be seen; a read-only mount keeps nobody from writing to those."""
    try:
        listed = _UNIX_SOCKETS.read_text("utf-8", "surrogateescape").splitlines()[1:]
    except OSError:
        return
    for name in {line.split(maxsplit=7)[-1] for line in listed if line.count(" /")}:
        path = Path(name)
        if path.is_socket() and (is_under(path, shown) or not is_under(path, (*hidden, Path("/dev")))):
            yield path.resolve()


def _protected(view: View) -> Iterator[Path]:
    """What of the repository no command may write: its git directory and links, and our own settings."""
    yield view.repository / ".git"
    yield from _submodules(view.repository)
    for path in (path.resolve() for path in view.config_dirs):
        if view.repository in path.parents and not path.exists():
            yield _first_missing(path)


def _first_missing(path: Path) -> Path:
    while not path.parent.exists():
        path = path.parent
    return path


def _submodules(repository: Path) -> Iterator[Path]:
    listing = repository / ".gitmodules"
    if listing.is_symlink() or not listing.is_file():
        return
    for name in _SUBMODULE_PATH.findall(_text(listing)):
        link = repository / name / ".git"
        there = os.path.exists(link)  # noqa: PTH110 - this one never raises
        if there and repository in link.parents and link.parent.resolve() == link.parent:
            yield link


def _git_directories(repository: Path, hidden: tuple[Path, ...]) -> Iterator[Path]:
    """The git directory of a linked work tree or submodule, if hidden, and only if it names this work tree itself."""
    link = repository / ".git"
    if not link.is_file():
        return
    directory = (repository / _text(link).removeprefix("gitdir:").strip()).resolve()
    if not is_under(directory, hidden):
        return
    if _is_work_tree_of(directory, link):
        yield (directory / _text(directory / "commondir").strip()).resolve()
    found = _WORK_TREE.search(_text(directory / "config"))
    if found and (directory / found[1].strip('"')).resolve() == repository:
        yield directory


def _is_work_tree_of(directory: Path, link: Path) -> bool:
    back = _text(directory / "gitdir").strip()
    return bool(back and _text(directory / "commondir")) and Path(back).resolve() == link.resolve()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:100_000] if path.is_file() else ""
    except OSError:
        return ""


def _read_only(path: Path, rank: int) -> Mount:
    return Mount(path, rank, ("--ro-bind", str(path.resolve()), str(path)))
