"""A filter of system calls, as a BPF program: what namespaces and Landlock leave open.

Numbers are those of the kernel's tables (asm/unistd.h); the program's form is that of linux/seccomp.h.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NEW_USER_NAMESPACE = 0x10000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_DATAGRAM, _TYPE_MASK = 2, 0xF

LOCAL = (socket.AF_UNIX,) if hasattr(socket, "AF_UNIX") else ()
INTERNET = (socket.AF_INET, socket.AF_INET6)
_NETLINK = 16

_Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Machine:
    """One architecture: its audit number, and numbers of system calls by name."""

    audit: int
    calls: dict[str, int]


_NEWER = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "mount_setattr": 442,
}  # fmt: skip
_X86_64 = {
    "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "unshare": 272, "setns": 308, "shmget": 29, "semget": 64,
    "msgget": 68, "mq_open": 240, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "add_key": 248,
    "request_key": 249, "keyctl": 250, "perf_event_open": 298, "open_by_handle_at": 304, "kexec_load": 246,
    "init_module": 175, "delete_module": 176, "finit_module": 313, "bpf": 321, "userfaultfd": 323, "syslog": 103,
}  # fmt: skip
_AARCH64 = {
    "ioctl": 29, "socket": 198, "socketpair": 199, "clone": 220, "unshare": 97, "setns": 268, "shmget": 194,
    "semget": 190, "msgget": 186, "mq_open": 180, "pivot_root": 41, "chroot": 51, "mount": 40, "umount2": 39,
    "add_key": 217, "request_key": 218, "keyctl": 219, "perf_event_open": 241, "open_by_handle_at": 265,
    "kexec_load": 104, "init_module": 105, "delete_module": 106, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
    "syslog": 116,
}  # fmt: skip
_MACHINES = {"x86_64": _Machine(0xC000003E, _X86_64 | _NEWER), "aarch64": _Machine(0xC00000B7, _AARCH64 | _NEWER)}

_MISSING = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
"""Answered as by an old kernel: what they ask for cannot be read here, and programs know how to do without."""
_SHARED = ("shmget", "semget", "msgget", "mq_open")
_SPECIAL = frozenset({"ioctl", "socket", "socketpair", "clone", *_MISSING, *_SHARED})


def available(machine: str = platform.machine()) -> bool:
    """Whether a filter can be written for this machine."""
    return platform.system() == "Linux" and machine in _MACHINES


def program(families: Sequence[int], *, shared_memory: bool, machine: str = platform.machine()) -> bytes:
    """The filter, ready for the kernel: sockets of `families` only, no new namespaces or mounts, no keyrings.

    Without `shared_memory` System V and POSIX objects are closed too. Raises KeyError for an unknown machine.
    """
    known = _MACHINES[machine]
    denied = [known.calls[name] for name in known.calls if name not in _SPECIAL]
    denied += [] if shared_memory else [known.calls[name] for name in _SHARED]
    code = _foreign(known.audit)
    for name in _MISSING:
        code += _rule(known.calls[name], [_answer(errno.ENOSYS)])
    for number in denied:
        code += _rule(number, [_answer(errno.EPERM)])
    code += _rule(known.calls["ioctl"], _one_of(1, (_TIOCSTI, _TIOCLINUX)))
    code += _rule(known.calls["clone"], [_argument(0), (_ANY_BIT, 0, 1, _NEW_USER_NAMESPACE), _answer(errno.EPERM)])
    code += _rule(known.calls["socket"], _none_of(0, (*families, _NETLINK)))
    if not set(LOCAL) & set(families):
        code += _rule(known.calls["socketpair"], _datagrams())
    return b"".join(struct.pack("=HBBI", *each) for each in [*code, (_RETURN, 0, 0, _ALLOW)])


def _foreign(audit: int) -> list[_Instruction]:
    """Calls in the numbers of another architecture are answered as missing."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        _answer(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _answer(errno.ENOSYS),
    ]


def _rule(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """`body` for one system call; the number is loaded again behind it, for the next rule."""
    return [(_EQUAL, 0, len(body) + 1, number), *body, (_LOAD, 0, 0, _NUMBER)]


def _one_of(argument: int, values: Iterable[int]) -> list[_Instruction]:
    code = [_argument(argument)]
    for value in values:
        code += [(_EQUAL, 0, 1, value), _answer(errno.EPERM)]
    return code


def _none_of(argument: int, values: Sequence[int]) -> list[_Instruction]:
    """Refuse unless the argument is one of `values`."""
    jumps = [(_EQUAL, len(values) - at, 0, int(value)) for at, value in enumerate(values)]
    return [_argument(argument), *jumps, _answer(errno.EPERM)]


def _datagrams() -> list[_Instruction]:
    """A pair of datagram sockets could write to any named socket; pairs of streams cannot."""
    return [_argument(1), (_AND, 0, 0, _TYPE_MASK), (_EQUAL, 0, 1, _DATAGRAM), _answer(errno.EPERM)]


def _argument(index: int) -> _Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _answer(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)
