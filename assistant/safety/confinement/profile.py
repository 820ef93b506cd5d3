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
    """What a command is to see of the repository: itself, an overlay on it, or the copy at `copy`.

    Paths are those outside; `inside` says where the command finds them.
    """

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
    at: Path | None = None
    """Where the repository is seen, if not where it lies."""
    layers: tuple[Path, ...] = ()
    """With `overlay`: folders that are laid over the repository, each over the one before."""
    written: Path | None = None
    """With `overlay`: a folder with `files`, which takes what is written, and `work`, of the kernel's own."""

    @property
    def place(self) -> Path:
        """Where the command finds the repository."""
        return self.at or self.repository

    def inside(self, path: Path) -> Path:
        """Where the command finds what lies at `path`."""
        return self.place / path.relative_to(self.repository) if is_under(path, (self.repository,)) else path

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
    needed = (*needed_paths(view.environ, view.place, hidden), *view.read)
    for path in needed:
        yield _read_only(path, 1)
    for path in _reached(view, hidden):
        yield _read_only(path, 1)
    for path in view.write:
        yield Mount(path, 2, ("--bind", str(path), str(path)))
    yield _repository(view)
    for source, target in view.shown:
        yield _bound(source, view.inside(target), 5)
    for path in _git_directories(view, hidden):
        yield _read_only(path, 1)
    yield from _masks(view, (*needed, *view.write, view.repository), hidden)


def _reached(view: View, hidden: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files for the network that hiding would take away."""
    return tuple(path for path in network_files(view.environ) if is_under(path, hidden)) if view.network else ()


def _repository(view: View) -> Mount:
    place = str(view.place)
    if not view.overlay:
        return Mount(view.place, 2, ("--bind", str(view.copy or view.repository), place))
    sources = [word for folder in (view.repository, *view.layers) for word in ("--overlay-src", str(folder))]
    if view.written is None:
        return Mount(view.place, 2, (*sources, "--tmp-overlay", place))
    return Mount(
        view.place, 2, (*sources, "--overlay", *(str(view.written / name) for name in ("files", "work")), place)
    )


def _masks(view: View, shown: tuple[Path, ...], hidden: tuple[Path, ...]) -> Iterator[Mount]:
    for path in _protected(view):
        if path.is_symlink():
            yield from _linked(path.resolve(), view)
        elif path.exists():
            yield _bound(path.resolve(), view.inside(path), 3)
        elif path.parent.is_dir():
            yield _empty(view.inside(path), 3)
    for path in _ours(view):
        visible = is_under(path, shown) or not is_under(path, hidden)
        if path.is_dir() and visible and path not in view.place.parents:
            yield _empty(view.inside(path), 4)
    for path in (*map(Path, SECRET_FILES), *_sockets(shown, hidden)):
        if path.exists():
            yield Mount(path, 4, ("--ro-bind", "/dev/null", str(path)))


def _linked(target: Path, view: View) -> Iterator[Mount]:
    """Nothing can be mounted on a link; what it leads to is protected, where it could be written at all."""
    if target.exists() and view.repository in target.parents:
        yield _bound(target, view.inside(target), 3)


def _ours(view: View) -> Iterator[Path]:
    """The folders of our own settings; one in the repository that a view stands for lies in the view."""
    for path in (path.resolve() for path in view.config_dirs):
        yield view.repository / path.relative_to(view.place) if is_under(path, (view.place,)) else path


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
    for path in _ours(view):
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


def _git_directories(view: View, hidden: tuple[Path, ...]) -> Iterator[Path]:
    """The git directory of a linked work tree or submodule, if hidden, and only if it names this work tree itself."""
    link = view.place / ".git"
    if not link.is_file():
        return
    directory = (view.place / _text(link).removeprefix("gitdir:").strip()).resolve()
    if not is_under(directory, hidden):
        return
    if _is_work_tree_of(directory, link):
        yield (directory / _text(directory / "commondir").strip()).resolve()
    found = _WORK_TREE.search(_text(directory / "config"))
    if found and (directory / found[1].strip('"')).resolve() == view.place:
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
    return _bound(path.resolve(), path, rank)


def _bound(source: Path, place: Path, rank: int) -> Mount:
    return Mount(place, rank, ("--ro-bind", str(source), str(place)))


def _empty(place: Path, rank: int) -> Mount:
    return Mount(place, rank, ("--size", _SMALL_BYTES, "--tmpfs", str(place)))
