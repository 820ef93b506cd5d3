"""Starts a server, watches it, starts it again when it dies, and ends it with all its processes."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from model.serving.plan import Endpoint, Launch
from model.serving.starting.endpoints import prepare
from model.serving.starting.launch import shown
from model.serving.supervision.diagnosis import cause, telling
from model.serving.supervision.health import is_healthy
from model.serving.supervision.loaded import HasAdapters, LoadedAdapters, LoadedAgain
from model.serving.supervision.logs import ServerLog
from model.serving.supervision.processes import group_lives
from model.serving.supervision.stages import Stage, StageReader, Timings

_DYING, _DYING_POLL = 10.0, 0.02
"""Seconds that the system may take to end a process that was killed: a GPU's memory is freed first; our choice."""
_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2): the signal that a process gets when its parent dies."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a supervisor is, in seconds; all of it is our choice.

    It waits `backoff` before the first restart and twice as long before each next, at most `longest`; after `crashes`
    within `within` it gives up. A server has `grace` to end by itself. `poll` is how often a start is looked at,
    `check` how often a server that is ready; one that does not answer for `silence` counts as dead.
    """

    backoff: float = 1.0
    longest: float = 30.0
    crashes: int = 5
    within: float = 600.0
    grace: float = 20.0
    poll: float = 0.2
    check: float = 2.0
    silence: float = 120.0


@dataclass(frozen=True, slots=True)
class Started:
    """The process is there."""

    pid: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the start is, `seconds` after its begin; `estimate` is how long it took the last time, in all."""

    stage: Stage
    seconds: float
    estimate: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """It answers, `seconds` after its start."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Crashed:
    """It died, and starts again after `wait` seconds; `lines` of the log tell why."""

    reason: str
    lines: tuple[str, ...]
    wait: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """It died, and is not started again."""

    reason: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was asked to end, and has."""


ServerEvent = Started | Progress | Ready | HasAdapters | LoadedAgain | Crashed | GaveUp | Stopped
Health = Callable[[Endpoint, float], Awaitable[bool]]


class Supervisor:
    """One server. `events` runs it, as long as they are read; leaving the context ends it.

    `title` names what is started in `timings`, so that a start can be compared with the last one like it.
    """

    def __init__(
        self,
        launch: Launch,
        log: Path,
        *,
        title: str = "",
        timings: Timings | None = None,
        policy: Policy | None = None,
        environ: Mapping[str, str] = os.environ,
        health: Health = is_healthy,
    ) -> None:
        self._launch, self._title = launch, title
        self._log = ServerLog(log)
        self._timings = timings
        self._policy = policy or Policy()
        self._environ = {**environ, **launch.environ}
        self._health = health
        self._adapters = LoadedAdapters(launch.endpoint)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._crashes: list[float] = []
        self._was_ready: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    def stop(self) -> None:
        """End the server; asked twice, at once."""
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    async def events(self) -> AsyncGenerator[ServerEvent, None]:
        """Start and watch. Ends with `Stopped` or `GaveUp`.

        Raises:
            BadEndpoint: it could not listen where it should.
        """
        while not self._stopping.is_set():
            await asyncio.to_thread(prepare, self._launch.endpoint)
            try:
                process = await self._start()
            except OSError as error:
                yield GaveUp(f"{self._launch.argv[0]} cannot be started: {error.strerror or error}", ())
                return
            yield Started(process.pid)
            async with aclosing(self._watch(process)) as watched:
                async for event in watched:
                    yield event
            if self._stopping.is_set():
                break
            code = process.returncode  # None for one that only does not answer: how we end it tells nothing
            await self._end()
            yield (verdict := self._verdict(code))
            if isinstance(verdict, GaveUp):
                return
            await _first(verdict.wait, self._stopping.wait())
        await self._end()
        yield Stopped()

    async def _start(self) -> asyncio.subprocess.Process:
        with self._log.begin(f"starting {shown(self._launch)}") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._launch.argv,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=_dies_with_us(os.getpid()),
            )
        return self._process

    async def _watch(self, process: asyncio.subprocess.Process) -> AsyncGenerator[ServerEvent, None]:
        async with aclosing(self._starting(process)) as starting:
            async for event in starting:
                yield event
        async with aclosing(self._serving(process)) as serving:
            async for event in serving:
                yield event

    async def _starting(self, process: asyncio.subprocess.Process) -> AsyncGenerator[ServerEvent, None]:
        """Progress, as often as one looks, until it is ready or has ended."""
        began, reader = time.monotonic(), StageReader()
        estimate = self._timings.last(self._title) if self._timings else None
        while self._goes_on(process):
            for line in self._log.new():
                reader.read(line)
            seconds = time.monotonic() - began
            if await self._health(self._launch.endpoint, 1.0) and self._goes_on(process):
                self._note_ready(seconds)
                yield Ready(seconds)
                return
            yield Progress(reader.stage, seconds, estimate)
            await _first(self._policy.poll, process.wait(), self._stopping.wait())
        self._log.new()

    def _note_ready(self, seconds: float) -> None:
        self._was_ready = time.monotonic()
        self._log.lines.clear()
        if self._timings:
            self._timings.remember(self._title, seconds)

    async def _serving(self, process: asyncio.subprocess.Process) -> AsyncGenerator[ServerEvent, None]:
        """Look after it until it ends; one that answers no more is ended."""
        async with aclosing(self._restoring(process)) as restoring:
            async for event in restoring:
                yield event
        answered = time.monotonic()
        while self._goes_on(process):
            await _first(self._policy.check, process.wait(), self._stopping.wait())
            self._log.new()
            self._log.trim()
            if self._goes_on(process) and await self._health(self._launch.endpoint, self._policy.silence):
                answered = time.monotonic()
                if changed := await self._adapters.look():
                    yield changed
            if time.monotonic() - answered > self._policy.silence:
                return

    async def _restoring(self, process: asyncio.subprocess.Process) -> AsyncGenerator[ServerEvent, None]:
        """Load the adapters that the one before had; a load may take minutes, and a stop does not wait for it."""
        for served in await self._adapters.missing() if self._goes_on(process) else ():
            task = asyncio.ensure_future(self._adapters.restore(served))
            while not task.done() and self._goes_on(process):
                await _first(self._policy.check, asyncio.wait([task]), process.wait(), self._stopping.wait())
            if not task.done():
                task.cancel()
                return
            yield task.result()

    def _goes_on(self, process: asyncio.subprocess.Process) -> bool:
        return process.returncode is None and not self._stopping.is_set()

    def _verdict(self, code: int | None) -> Crashed | GaveUp:
        """A server that never was ready would fail again; any other gets another chance, but not for ever."""
        self._log.new()
        lines = [*self._log.lines]
        reason = cause(lines, code)
        shown_lines = tuple(line for line in telling(lines) if reason not in line)
        if self._was_ready is None:
            return GaveUp(reason, shown_lines)
        policy, now = self._policy, time.monotonic()
        # Starts that fail one after the other all count, however long each of them takes.
        oldest = min(now - policy.within, self._was_ready)
        self._crashes = [*(when for when in self._crashes if when > oldest), now]
        number = len(self._crashes)
        if number >= policy.crashes:
            when = f"within {policy.within / 60:g} minutes" if oldest < self._was_ready else "since it was last ready"
            return GaveUp(f"it died {number} times {when}; the last time {reason}", shown_lines)
        return Crashed(reason, shown_lines, min(policy.longest, policy.backoff * 2 ** (number - 1)))

    async def _end(self) -> None:
        """SIGTERM to all its processes, and after a while SIGKILL to those that are left."""
        if (process := self._process) is None:
            return
        self._process = None
        await end_group(process.pid, process.wait(), self._policy.grace, self._hurried)
        if self._launch.endpoint.socket:
            self._launch.endpoint.socket.unlink(missing_ok=True)


async def end_group(pid: int, ended: Awaitable[object], grace: float, hurried: asyncio.Event) -> None:
    """End a group of processes: politely, then after `grace` seconds, or once `hurried`, whatever it wants."""
    _signal(pid, signal.SIGTERM)
    await _first(grace, ended, hurried.wait())
    end = time.monotonic() + _DYING
    while group_lives(pid) and time.monotonic() < end:
        _signal(pid, signal.SIGKILL)
        await asyncio.sleep(_DYING_POLL)


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _first(seconds: float, *awaited: Awaitable[object]) -> None:
    """Wait for the first of these, at most so long."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _dies_with_us(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes the server: on Linux it asks for SIGTERM when we die, even by kill -9."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(_DEATH, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return tie
