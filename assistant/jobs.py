"""Commands that run while the agent goes on: started, read and stopped by their ids, and ended with the session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from assistant.errors import UserError
from assistant.safety.confinement.process import CommandResult, Deadline
from assistant.safety.sanitize import Sanitizer
from assistant.spool import Spool

LONGEST = 3600.0
"""Seconds that a command may run in the background; our choice."""
MOST = 8
"""Commands that may be in the background at once; our choice."""
_EVERY = 0.1
"""Seconds between two pieces of output that people are shown."""
_AT_ONCE = 16_000
"""Characters of a piece; of more than that they are shown the end."""

Start = Callable[[Callable[[str], None], Deadline], Coroutine[Any, Any, CommandResult]]
"""Runs a command: gets what takes its raw output, and when it must be over."""


class Job:
    """A command that runs. `id` is empty as long as it is not in the background."""

    def __init__(self, command: str, start: Start, seconds: float, put_out: Callable[[str], None]) -> None:
        self.id = ""
        self.command = command
        self.output = Spool()
        self.deadline = Deadline(seconds)
        self.shown = Shown(put_out)
        self._sanitizer = Sanitizer()
        self._began = time.monotonic()
        self._stopped = False
        self.task = asyncio.create_task(start(self._take, self.deadline))
        self.task.add_done_callback(self._over)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self.task.done()

    @property
    def ok(self) -> bool:
        """Whether it is over, and all went well."""
        return not self.running and not self._stopped and not self._failure() and self.task.result().exit_code == 0

    def state(self) -> str:
        """How it is, in a few words."""
        if self.running:
            return f"running, {time.monotonic() - self._began:.0f} s so far"
        if self._stopped or self.task.cancelled():
            return "stopped"
        return self._failure() or ended(self.task.result(), self.deadline.seconds)

    async def wait(self, seconds: float | None = None, until: asyncio.Event | None = None) -> bool:
        """Wait until it is over, time is up or `until` is set; True if it is over. A wait given up ends nothing."""
        event = asyncio.ensure_future((until or asyncio.Event()).wait())
        try:
            await asyncio.wait({self.task, event}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
        return not self.running

    async def stop(self) -> None:
        """End it, and all that it started; returns when that is done."""
        if self.running and not self._stopped:
            self._stopped = True
            self.task.cancel()
        await asyncio.wait({self.task})

    def _take(self, text: str) -> None:
        clean = self._sanitizer.feed(text)
        self.output.add(clean)
        self.shown.add(clean)

    def _over(self, task: asyncio.Task[CommandResult]) -> None:
        self.shown.flush()
        self._failure()  # nobody may ever ask for it, and asyncio would complain

    def _failure(self) -> str:
        """Why it could not be run, or an empty string."""
        error = None if self.task.cancelled() else self.task.exception()
        return str(error) if error else ""


class Shown:
    """Passes output on to people, at most ten times a second and so much at once."""

    def __init__(self, put_out: Callable[[str], None]) -> None:
        self._put_out = put_out
        self._waiting = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, text: str) -> None:
        """Take the next piece; it is shown soon."""
        self._waiting = (self._waiting + text)[-_AT_ONCE:]
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.flush)

    def flush(self) -> None:
        """Show what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text, self._waiting = self._waiting, ""
        if text:
            self._put_out(text)

    def close(self) -> None:
        """Show what waits, and nothing any more."""
        self.flush()
        self._put_out = _dropped


class Jobs:
    """The commands in the background of one session, by their ids "job1", "job2", …; those that are over stay readable.

    What a job changes while a step runs may be taken for that step's, if it opened a snapshot for unknown paths, else
    for the user's own work. Either way undo loses none of it: what is not known to be a step's is named and asked about
    before it is overwritten. So whoever runs steps opens such a snapshot as long as there are `running` ones.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def begin(self, command: str, start: Start, seconds: float, put_out: Callable[[str], None]) -> Job:
        """Run a command in the foreground; whoever began it waits for it, and stops it or detaches it."""
        return Job(command, start, seconds, put_out)

    def detach(self, job: Job) -> None:
        """Let it go on in the background. Raises `UserError` if there are too many."""
        self.check_room()
        job.id = f"job{len(self._jobs) + 1}"
        self._jobs[job.id] = job
        job.shown.close()
        job.deadline.put_off(LONGEST)

    def check_room(self) -> None:
        """Raise `UserError` if no further one may go to the background."""
        if len(self.running) >= MOST:
            names = ", ".join(job.id for job in self.running)
            raise UserError(f"{MOST} commands run in the background already ({names}); stop one of them first.")

    def get(self, name: str) -> Job | None:
        """The job with this id."""
        return self._jobs.get(name.strip())

    @property
    def running(self) -> tuple[Job, ...]:
        """Those that go on, in the order in which they were sent to the background."""
        return tuple(job for job in self._jobs.values() if job.running)

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all of them."""
        return tuple(self._jobs)

    async def stop_all(self) -> None:
        """End all of them; at the end of the session, so that nothing outlives it."""
        await asyncio.gather(*(job.stop() for job in self.running))


def ended(result: CommandResult, seconds: float) -> str:
    """How a command that could run for `seconds` ended."""
    return f"stopped after {seconds:g} s without an end" if result.timed_out else f"exit code {result.exit_code}"


def _dropped(text: str) -> None:
    """Nobody looks any more."""
