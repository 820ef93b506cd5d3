"""Runs one program under limits and, if asked, Landlock rules and a filter of system calls; ends all it left behind.

A script of its own (``python -I -S launcher.py SPECIFICATION PROGRAM ARGUMENT…``) that imports nothing of ours. It
becomes the reaper of its descendants, so that a daemon that left its session or its parent is found and killed too.
SIGTERM, also from the death of whoever started it, ends everything. Exit code: the program's, or 128 + its signal.

The specification is JSON: `limits` (names of `resource` without RLIMIT_, to numbers) and, for Landlock, `read` and
`write` (lists of paths), `rights`, `network` and `scopes` (bits that are handled), `abi`, `filter` (base64), `keep`
(capabilities that root keeps). Linux only; constants are those of the kernel's headers.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
import time
from types import FrameType
from typing import Any

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1, 2, 4, 8
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_DIRECTORY
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_PARENT_DEATH, _SECCOMP, _DROP_BOUND, _REAPER, _NO_NEW_PRIVILEGES = 1, 22, 24, 36, 38
_CAPABILITIES_3 = 0x20080522
_CANNOT_RUN, _CANNOT_CONFINE = 126, 125
_PATIENCE = 5.0
"""Seconds in which descendants must be gone."""

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Run it; the exit code."""
    specification = json.loads(arguments[0])
    _control(_REAPER, 1)
    _control(_PARENT_DEATH, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _terminated)
    child = os.fork()
    if child == 0:
        _become(specification, arguments[1:])
    try:
        return _status(child)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all()


def _terminated(_number: int, _frame: FrameType | None) -> None:
    _end_all()
    os._exit(128 + signal.SIGTERM)


def _status(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _become(specification: dict[str, Any], program: list[str]) -> None:
    """Confine this process and turn it into the program; never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = _CANNOT_CONFINE
    try:
        os.setsid()
        _limit(specification["limits"])
        if "abi" in specification:
            _confine(specification)
        code = _CANNOT_RUN
        os.execvp(program[0], program)  # noqa: S606 - the command's own shell, if it asked for one, is in `program`
    except FileNotFoundError as error:
        code = code + 1 if code == _CANNOT_RUN else code
        _say(f"{error.filename or program[0]}: {error.strerror}")
    except OSError as error:
        _say(f"{program[0]}: {error.strerror}")
    finally:
        os._exit(code)


def _say(words: str) -> None:
    os.write(2, f"launcher: {words}\n".encode("utf-8", "surrogateescape"))


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def _confine(specification: dict[str, Any]) -> None:
    rules = _rules(specification)
    _drop_capabilities(specification["keep"])
    _control(_NO_NEW_PRIVILEGES, 1)
    _system(_RESTRICT, rules, 0)
    os.close(rules)
    if specification["filter"]:
        _filter(base64.b64decode(specification["filter"]))


def _rules(specification: dict[str, Any]) -> int:
    """A Landlock rule set: what is not named here cannot be opened, changed or connected to."""
    rights, abi = specification["rights"], specification["abi"]
    fields = (rights, specification["network"], specification["scopes"])
    attribute = struct.pack("QQQ", *fields)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _system(_CREATE, attribute, len(attribute), 0)
    for path in specification["read"]:
        _allow(rules, path, _READ & rights)
    for path in specification["write"]:
        _allow(rules, path, rights)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        kind = os.fstat(place).st_mode
        if not stat.S_ISLNK(kind):
            of_kind = rights if stat.S_ISDIR(kind) else rights & _OF_FILES
            _system(_ADD, rules, 1, struct.pack("=Qi", of_kind, place), 0)
    finally:
        os.close(place)


def _drop_capabilities(keep: list[int]) -> None:
    """Root keeps only those in `keep`; for others there is nothing to drop."""
    kept = sum(1 << number for number in keep) if os.geteuid() == 0 else 0
    for number in range(64):
        if not kept >> number & 1:
            _libc.prctl(_DROP_BOUND, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    if _libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter(program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    given = Program(len(program) // 8, ctypes.addressof(code))
    if _libc.prctl(_SECCOMP, 2, ctypes.byref(given), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _end_all() -> None:
    """Kill what descends from here until nothing does; orphans come to us, who are their reaper."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for pid in _descendants():
            _kill(pid)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _descendants() -> list[int]:
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    """Children of every thread of a process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib would double the time to start
            with open(f"/proc/{pid}/task/{thread}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _control(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _system(*arguments: Any) -> int:
    result: int = _libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
