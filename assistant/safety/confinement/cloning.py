"""Files copied at the price of their names: the copy shares its blocks with the original where the disk can do that."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys

_SHARE_BLOCKS = 0x40049409
"""FICLONE of the kernel's headers."""
_CHUNK = 1 << 16
"""Bytes that are copied at once; our choice."""


def clone(source: str, target: str) -> None:
    """Make `target`, which must not be there, a file of the same blocks, mode and time. Raises OSError if it cannot."""
    if sys.platform == "darwin":
        _clone_on_mac(source, target)
        return
    import fcntl

    with open(source, "rb", buffering=0) as original, open(target, "xb", buffering=0) as copy:  # noqa: PTH123
        fcntl.ioctl(copy, _SHARE_BLOCKS, original.fileno())
        _keep_looks(original.fileno(), copy.fileno())


def copy_data(source: str, target: str) -> None:
    """Make `target`, which must not be there, a file of the same bytes, mode and time. Raises OSError."""
    with open(source, "rb", buffering=0) as original, open(target, "xb") as copy:  # noqa: PTH123
        shutil.copyfileobj(original, copy, _CHUNK)
        copy.flush()
        _keep_looks(original.fileno(), copy.fileno())


def cheapest(source: str, target: str) -> str:
    """Copy a file the cheaper way that works; for `shutil.copytree`."""
    try:
        clone(source, target)
    except OSError:
        return shutil.copy2(source, target)
    return target


def _keep_looks(original: int, copy: int) -> None:
    info = os.fstat(original)
    os.fchmod(copy, info.st_mode & 0o7777)
    os.utime(copy, ns=(info.st_atime_ns, info.st_mtime_ns))


def _clone_on_mac(source: str, target: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.clonefile(os.fsencode(source), os.fsencode(target), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source)
