"""Mounts of our own: this process in a user and mount namespace, where a view of a repository costs one mount. Linux.

Constants are those of the kernel's headers. Nothing outside this process and its children sees what is mounted here.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from assistant.interrupts import held
from assistant.safety.confinement.layering import clear_work
from assistant.safety.confinement.private import private_folder

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_NO_SETUID, _NO_DEVICES = 2, 4
_DETACH = 2
_WORKS, _FAILS = 0, 1
_NOT_WRITTEN = frozenset({".git", "node_modules", ".venv", "venv"})
"""Folders in which a view changes nothing."""
_entered = False


def enter(repository: Path, state: Path) -> bool:
    """Move this process into namespaces of its own, if mounts then work here; says whether it is in them.

    To be called before anything starts a thread. Only for the owner of `repository` and of the folder `state`, and for
    root only if all files are its own: it would lose its power over those of others. There is no way back.
    """
    global _entered
    if _entered:
        return True
    if not sys.platform.startswith("linux") or _threads() != 1 or not _owned(repository) or not _owned(state):
        return False
    if os.geteuid() == 0 and not _all_owned(repository):
        return False
    with held(), private_folder() as folder:
        if not _works(repository, folder):
            return False
    with suppress(OSError):
        _unshare()
        _entered = True
    return _entered


def entered() -> bool:
    """Whether this process is in namespaces of its own."""
    return _entered


def mount_overlay(lower: Path, files: Path, work: Path, place: Path) -> None:
    """Show at `place` the files of `lower`, and let `files` take what is written there. Raises OSError."""
    layers = {"lowerdir": lower, "upperdir": files, "workdir": work}
    options = ",".join(f"{name}={_escaped(path)}" for name, path in layers.items())
    data = os.fsencode(f"{options},userxattr")
    _call("mount", b"overlay", os.fsencode(place), b"overlay", _NO_SETUID | _NO_DEVICES, data)


def unmount(place: Path) -> None:
    """Take a mount away, also where somebody still uses it. Raises OSError."""
    _call("umount2", os.fsencode(place), _DETACH)


def _works(repository: Path, folder: Path) -> bool:
    """Try it in a child: enter, lay an overlay on the repository, write into it."""
    child = os.fork()
    if child == 0:
        code = _FAILS
        with suppress(BaseException):
            _unshare()
            _write_through(repository, folder)
            code = _WORKS
        os._exit(code)
    _, status = os.waitpid(child, 0)
    clear_work(folder / "work")
    return os.waitstatus_to_exitcode(status) == _WORKS


def _write_through(repository: Path, folder: Path) -> None:
    for name in ("files", "work", "place"):
        (folder / name).mkdir()
    mount_overlay(repository, folder / "files", folder / "work", folder / "place")
    with tempfile.NamedTemporaryFile(dir=folder / "place", delete=False):
        pass


def _unshare() -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEW_USER | _NEW_MOUNTS)
    with suppress(FileNotFoundError):
        Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")


def _call(name: str, *arguments: bytes | int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(word) if isinstance(word, int) and name == "mount" else word for word in arguments]
    if getattr(library, name)(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _escaped(path: Path) -> str:
    """A path in the options of an overlay."""
    return "".join(f"\\{char}" if char in "\\,:" else char for char in os.fspath(path))


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _owned(path: Path) -> bool:
    """Whether the nearest folder that exists is ours."""
    there = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    return there.stat().st_uid == os.geteuid()


def _all_owned(repository: Path) -> bool:
    """Whether nothing that a view may have to write belongs to somebody else."""
    user, pending = os.geteuid(), [os.fspath(repository)]
    with suppress(FileNotFoundError):
        while pending:
            for entry in os.scandir(pending.pop()):
                if entry.stat(follow_symlinks=False).st_uid != user:
                    return False
                if entry.is_dir(follow_symlinks=False) and entry.name not in _NOT_WRITTEN:
                    pending.append(entry.path)
        return True
    return False
