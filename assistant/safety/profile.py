"""The bubblewrap profile: which parts of the machine a command sees, and how."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from assistant.safety.toolchains import HOME_INSIDE, hidden_directories, is_under, needed_paths

_TMPFS_BYTES = str(4 << 30)
_SECRET_FILES = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/krb5.keytab")
_SUBMODULE_PATH = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE)


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

    @property
    def throwaway(self) -> bool:
        """Whether writes to the repository vanish."""
        return self.overlay or self.copy is not None


def bubblewrap_arguments(view: View) -> list[str]:
    """Options for bwrap, up to the environment and the command."""
    arguments = [*_namespaces(view.repository), "--new-session", "--die-with-parent", "--hostname", "sandbox"]
    arguments += ["--ro-bind", "/", "/", "--dev", "/dev"]
    arguments += ["--proc", "/proc"] if view.proc else ["--tmpfs", "/proc"]
    for mount in sorted(_mounts(view), key=lambda mount: (len(mount.path.parts), mount.path, mount.rank)):
        arguments += mount.arguments
    return [*arguments, "--dir", HOME_INSIDE]


def phantoms(view: View) -> tuple[Path, ...]:
    """Protected paths of the repository that do not exist: bwrap makes an empty directory of each, to be removed."""
    if view.throwaway:
        return ()
    return tuple(path for path in _protected(view) if not path.exists() and path.parent.is_dir())


def _namespaces(repository: Path) -> list[str]:
    """A user namespace too, except for root in another user's repository, whom it would keep from writing there."""
    if os.geteuid() == 0 and repository.stat().st_uid != 0:
        kinds = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        kept = ["--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_FOWNER"]
        return [*kinds, "--cap-drop", "ALL", *kept]
    return ["--unshare-all", "--cap-drop", "ALL"]


def _mounts(view: View) -> Iterator[Mount]:
    hidden = hidden_directories(view.environ)
    for path in hidden:
        yield Mount(path, 0, ("--size", _TMPFS_BYTES, "--tmpfs", str(path)))
    needed = needed_paths(view.environ, view.repository, hidden)
    for path in needed:
        yield _read_only(path, 1)
    yield _repository(view)
    for source, target in view.shown:
        yield Mount(target, 5, ("--ro-bind", str(source), str(target)))
    for path in _git_directories(view.repository, hidden):
        yield _read_only(path, 1)
    yield from _masks(view, (*needed, view.repository), hidden)


def _repository(view: View) -> Mount:
    path = str(view.repository)
    if view.overlay:
        return Mount(view.repository, 2, ("--overlay-src", path, "--tmp-overlay", path))
    return Mount(view.repository, 2, ("--bind", str(view.copy or path), path))


def _masks(view: View, shown: tuple[Path, ...], hidden: tuple[Path, ...]) -> Iterator[Mount]:
    for path in _protected(view):
        if path.exists():
            yield _read_only(path, 3)
        elif path.parent.is_dir():
            yield Mount(path, 3, ("--tmpfs", str(path)))
    for path in (path.resolve() for path in view.config_dirs):
        visible = is_under(path, shown) or not is_under(path, hidden)
        if path.is_dir() and visible and path not in view.repository.parents:
            yield Mount(path, 4, ("--tmpfs", str(path)))
    for name in _SECRET_FILES:
        if Path(name).is_file():
            yield Mount(Path(name), 4, ("--ro-bind", "/dev/null", name))


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
    if not listing.is_file() or listing.is_symlink():
        return
    for name in _SUBMODULE_PATH.findall(listing.read_text("utf-8", "replace")[:100_000]):
        link = repository / name / ".git"
        if link.exists() and repository in link.parents and link.parent.resolve() == link.parent:
            yield link


def _git_directories(repository: Path, hidden: tuple[Path, ...]) -> Iterator[Path]:
    """The git directory of a linked work tree, if it is hidden, and only if it names this work tree itself."""
    link = repository / ".git"
    if not link.is_file():
        return
    directory = Path(link.read_text("utf-8", "replace").removeprefix("gitdir:").strip())
    back, common = directory / "gitdir", directory / "commondir"
    if not (directory.is_absolute() and back.is_file() and common.is_file() and is_under(directory, hidden)):
        return
    if Path(back.read_text("utf-8", "replace").strip()).resolve() == link.resolve():
        yield (directory / common.read_text("utf-8", "replace").strip()).resolve()


def _read_only(path: Path, rank: int) -> Mount:
    return Mount(path, rank, ("--ro-bind", str(path.resolve()), str(path)))
