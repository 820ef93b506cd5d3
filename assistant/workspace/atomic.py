"""Files replaced whole or not at all, by descriptor, so that no link can lead the write elsewhere."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress


def replace_file(name: str, directory: int, data: bytes, mode: int, check: Callable[[], None] = lambda: None) -> None:
    """Put `data` in the place of `name` in an open directory: written beside, synced, renamed, the directory synced.

    `check` is called right before the rename and may raise to stop it. Nothing is left behind then. Raises OSError.
    """
    temporary = f".{name[:100]}.{secrets.token_hex(4)}.kat"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:  # noqa: PTH123 - by descriptor
            file.write(data)
            file.flush()
            _copy_owner(name, directory, file.fileno())
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        check()
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def new_file_mode() -> int:
    """Permission bits for a new file, as the user's umask leaves them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask


def _copy_owner(name: str, directory: int, descriptor: int) -> None:
    """Give the new file to the owner of the old one, or of the directory, where we may."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        info = os.fstat(directory)
    with suppress(PermissionError):
        os.fchown(descriptor, info.st_uid, info.st_gid)
