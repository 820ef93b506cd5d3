"""Files replaced, moved or deleted whole or not at all, by descriptor, so that no link can lead the write elsewhere."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.kat")
"""Names of files being written; one that is left over from a crash may be deleted."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED = getattr(os, "O_TMPFILE", None)
_NO_LINK = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def replace_file(name: str, directory: int, data: bytes, mode: int, check: Callable[[], None] = lambda: None) -> None:
    """Put `data` in the place of `name` in an open directory: written beside, synced, renamed, the directory synced.

    `check` is called right before the rename and may raise to stop it. Nothing is left behind then. Raises OSError.
    """
    _put(lambda temporary: _write_beside(temporary, name, directory, data, mode), name, directory, check)


def replace_link(name: str, directory: int, target: bytes, check: Callable[[], None] = lambda: None) -> None:
    """The same with a link to `target`. Raises OSError."""
    _put(lambda temporary: os.symlink(target, temporary, dir_fd=directory), name, directory, check)


def _put(make: Callable[[str], None], name: str, directory: int, check: Callable[[], None]) -> None:
    temporary = f".{secrets.token_hex(8)}.kat"
    try:
        make(temporary)
        check()
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def delete_file(name: str, directory: int) -> None:
    """Take a name, a link's too, out of an open directory, and sync the directory. Raises OSError."""
    os.unlink(name, dir_fd=directory)
    os.fsync(directory)


def move_file(name: str, directory: int, new_name: str, new_directory: int) -> None:
    """Give a file another name, which must be free, also at the moment of moving. Raises FileExistsError, OSError.

    A crash in between leaves the file under both names.
    """
    try:
        os.link(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _rename_if_free(name, directory, new_name, new_directory)
    else:
        os.fsync(new_directory)
        os.unlink(name, dir_fd=directory)
    os.fsync(new_directory)
    os.fsync(directory)


def new_file_mode() -> int:
    """Permission bits for a new file, as the user's umask leaves them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def _write_beside(temporary: str, name: str, directory: int, data: bytes, mode: int) -> None:
    """A new file next to `name`; where the system can, it gets its own name only when it is whole."""
    descriptor, unnamed = _spare(temporary, directory)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - by descriptor
        file.write(data)
        file.flush()
        _copy_owner(name, directory, file.fileno())
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
        if unnamed:
            os.link(f"/proc/self/fd/{file.fileno()}", temporary, dst_dir_fd=directory, follow_symlinks=True)


def _spare(temporary: str, directory: int) -> tuple[int, bool]:
    """A descriptor to write to, and whether it has no name yet."""
    if _UNNAMED is not None and os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        with suppress(OSError):
            return os.open(".", _UNNAMED | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory), True
    return os.open(temporary, _NEW, 0o600, dir_fd=directory), False


def _rename_if_free(name: str, directory: int, new_name: str, new_directory: int) -> None:
    """For file systems without hard links: the name is taken first, so that it cannot be another's."""
    os.close(os.open(new_name, _NEW, 0o600, dir_fd=new_directory))
    os.replace(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory)


def _copy_owner(name: str, directory: int, descriptor: int) -> None:
    """Give the new file to the owner of the old one, or of the directory, where we may."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        info = os.fstat(directory)
    with suppress(PermissionError):
        os.fchown(descriptor, info.st_uid, info.st_gid)
