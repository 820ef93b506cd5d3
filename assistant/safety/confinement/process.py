"""Runs one program to its end: time limit, bounded output, and nothing left behind."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.safety.confinement.watch import Watcher, descendants, until_exceeded

_CHUNK = 65_536
_GRACE = 1.0
"""Seconds that output may still come after the program has ended."""
_CLEARING = 6.0
"""Seconds that a launcher has to end what it started."""
_LOOK = 0.05
"""Seconds between two looks whether a program has ended; our choice."""
_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. A signal N gives exit code 128 + N, the time limit 124; `truncated` says output was cut.

    `stopped` is a sentence where the whole run went over a limit and was killed for it; the output ends with it too.
    `place` is where the repository lay for the command: paths in the output begin with it.
    """

    exit_code: int
    output: str
    timed_out: bool
    truncated: bool
    seconds: float
    stopped: str = ""
    place: Path | None = None


class HeadTail:
    """Keeps the first and the last half of `limit` characters of a stream, and counts what fell out between."""

    def __init__(self, limit: int) -> None:
        self._head_room = limit // 2
        self._tail_room = limit - limit // 2
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._tail_length = 0
        self.left_out = 0

    def add(self, text: str) -> None:
        """Take the next piece."""
        head, tail = text[: self._head_room], text[self._head_room :]
        self._head_room -= len(head)
        if head:
            self._head.append(head)
        if tail:
            self._tail.append(tail)
            self._tail_length += len(tail)
            self._trim()

    def text(self) -> str:
        """Head and tail, with a line between them that says how much is missing."""
        gap = f"\n… {self.left_out:,} characters left out …\n" if self.left_out else ""
        return "".join(self._head) + gap + "".join(self._tail)

    def _trim(self) -> None:
        while (excess := self._tail_length - self._tail_room) > 0:
            first = self._tail.popleft()
            dropped = min(excess, len(first))
            if dropped < len(first):
                self._tail.appendleft(first[dropped:])
            self._tail_length -= dropped
            self.left_out += dropped


class Deadline:
    """When a run must be over: so many seconds from its start. It may be put off while it runs."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timeout: asyncio.Timeout | None = None

    def begin(self) -> asyncio.Timeout:
        """The run starts now."""
        self._timeout = asyncio.timeout(self.seconds)
        return self._timeout

    def put_off(self, seconds: float) -> None:
        """So many seconds from now; too late for a run that is over."""
        self.seconds = seconds
        if self._timeout is not None:
            with suppress(RuntimeError):
                self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)


async def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | Deadline,  # noqa: ASYNC109 - the result says that time ran out, with the output so far
    output_limit: int,
    on_output: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
    launcher: bool = False,
    watcher: Watcher | None = None,
) -> CommandResult:
    """Run `argv` for at most `timeout` seconds; its process group is killed at the end, whatever the end was.

    A `launcher` is first asked (SIGTERM) to end what it started. `watcher` may end the run with a sentence.
    stdout and stderr arrive together, undecodable bytes as U+FFFD. Raises OSError if the program cannot be started.
    """
    deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)
    started = time.monotonic()
    process = await _started(argv, cwd, env, pass_fds, launcher)
    kept = HeadTail(output_limit)
    reader = asyncio.ensure_future(_read(process, kept, on_output))
    watching = asyncio.ensure_future(until_exceeded(watcher, process.pid)) if watcher else None
    try:
        timed_out = await _wait(process, reader, watching, deadline)
    finally:
        stopped = _said(watching)
        await _end(process, reader, launcher)
    if stopped:
        kept.add(f"\n[The command was ended: {stopped}.]\n")
    code = 124 if timed_out else _KILLED if stopped else _exit_code(process)
    return CommandResult(code, kept.text(), timed_out, kept.left_out > 0, time.monotonic() - started, stopped)


async def _started(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], pass_fds: Sequence[int], launcher: bool
) -> asyncio.subprocess.Process:
    """The program, started. A cancel waits until it is, and then ends it: asyncio may wait for ever for a half one."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with suppress(asyncio.CancelledError):  # a second one may not end the start half way either
                await asyncio.wait([starting])
        with suppress(OSError):
            process = starting.result()
            await _end(process, asyncio.ensure_future(_read(process, HeadTail(0), None)), launcher)
        raise


def _said(watching: asyncio.Future[str] | None) -> str:
    """Why the watcher ended the run, or an empty string; it stops watching."""
    if watching is None:
        return ""
    if watching.done() and not watching.cancelled():
        return watching.result()
    watching.cancel()
    return ""


async def _read(process: asyncio.subprocess.Process, kept: HeadTail, on_output: Callable[[str], None] | None) -> None:
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := await process.stdout.read(_CHUNK):
        text = decoder.decode(chunk)
        kept.add(text)
        if on_output:
            on_output(text)
    kept.add(decoder.decode(b"", final=True))


async def _wait(
    process: asyncio.subprocess.Process,
    reader: asyncio.Future[None],
    watching: asyncio.Future[str] | None,
    deadline: Deadline,
) -> bool:
    """Wait for the program; True if time ran out. A failing reader ends the wait, and its error is raised."""
    waiter = asyncio.ensure_future(_ended(process))
    ends: list[asyncio.Future[Any]] = [waiter, watching] if watching else [waiter]
    try:
        async with deadline.begin():
            await asyncio.wait([*ends, reader], return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        return True
    finally:
        waiter.cancel()
    return False


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for its end; asyncio, in many a version, waits until nobody holds its pipe, which a daemon may for ever."""
    waiter = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait([waiter], timeout=_LOOK)
    finally:
        waiter.cancel()


async def _end(process: asyncio.subprocess.Process, reader: asyncio.Future[None], launcher: bool) -> None:
    if launcher and process.returncode is None:
        await _ask(process)
    _kill(process)
    await _ended(process)
    await asyncio.wait([reader], timeout=_GRACE)
    reader.cancel()
    await asyncio.wait([reader])
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - a daemon may hold the pipe for ever
    if not reader.cancelled():
        reader.result()


def _kill(process: asyncio.subprocess.Process) -> None:
    """End it with all that it started (without /proc, its group): what a sandbox has just begun is not bound yet to die
    with its parent.
    """
    with suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:
            os.kill(process.pid, signal.SIGSTOP)
            for pid in descendants(process.pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _signal(process, signal.SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Not by the process's own methods: they look whether it ended, and then asyncio never hears how."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _ask(process: asyncio.subprocess.Process) -> None:
    _signal(process, signal.SIGTERM)
    _signal(process, signal.SIGCONT)
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLEARING):  # wait_for of Python 3.11 may lose a cancel
            await _ended(process)


def _exit_code(process: asyncio.subprocess.Process) -> int:
    code = process.returncode
    assert code is not None
    return code if code >= 0 else 128 - code
