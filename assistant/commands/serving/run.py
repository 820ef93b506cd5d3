"""Starting a server and looking after it, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from assistant import interrupts
from assistant.commands.guard import guarded
from assistant.commands.serving.request import NotStarted, Prepared
from assistant.commands.serving.text import Output
from assistant.errors import Exit
from model.serving.starting.endpoints import BadEndpoint, local
from model.serving.supervision import running as state
from model.serving.supervision.keeping import end_orphan, failure, kept
from model.serving.supervision.running import AlreadyClaimed, Running
from model.serving.supervision.stages import Stage, Timings
from model.serving.supervision.supervise import GaveUp, Progress, Ready, Supervisor

_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """A server to run: what it is, and the folder with files of state and logs."""

    ready: Prepared
    folder: Path
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        """What `kat serve stop` takes."""
        return self.ready.name

    @property
    def title(self) -> str:
        """What the time of a start depends on."""
        plan = self.ready.plan
        return f"{plan.model.name} {plan.runner} {plan.quantization} {plan.tensor_parallel}×{plan.pipeline_parallel}"

    @property
    def timings(self) -> Timings:
        """How long starts took."""
        return Timings(self.folder / "timings.json")

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.folder / f"{self.name}.log"

    def running(self) -> Running:
        """The server's state before it has started; this process looks after it."""
        plan = self.ready.plan
        return Running(
            name=self.name,
            model=self.ready.served,
            dialect=plan.model.dialect,
            runner=plan.runner,
            endpoint=local(self.ready.launch.endpoint),
            supervisor=os.getpid(),
            log=self.log,
            started=time.time(),
            context=plan.context,
            adapters=plan.adapters,
            version=self.ready.version,
            source=plan.model.source,
        )


def run(job: Job, output: Output, *, detach: bool) -> int:
    """Use the server that runs already, or start it; without `detach` until it ends.

    Raises:
        NotStarted: it did not start, or died too often.
    """
    try:
        with state.claimed(job.folder, job.name):
            _clear(job, output)
            if not detach:
                return interrupts.run(_supervised(job, output))
            child = _forked(job)
    except AlreadyClaimed:
        return _adopt(job, output)
    return _awaited_child(job, output, child)


def _clear(job: Job, output: Output) -> None:
    """End what a `kat serve` that was killed left of a server of that name."""
    if (left := state.read(job.folder, job.name)) and state.is_alive(left):
        output.note(f"{left.name} was left alone by a `kat serve` that was killed; it is ended and started anew")
        state.write(job.folder, replace(left, stage="ending"))  # so that nobody uses it any more
        interrupts.run(end_orphan(left))
    state.forget(job.folder, job.name)


async def _supervised(job: Job, output: Output) -> int:
    """Run it until it is asked to end."""
    launch = job.ready.launch
    try:
        async with Supervisor(launch, job.log, title=job.title, timings=job.timings, environ=job.environ) as supervisor:
            _stop_on_signals(supervisor)
            await _shown(supervisor, job, output)
    except BadEndpoint as error:
        raise NotStarted(str(error)) from None
    return Exit.DONE


async def _shown(supervisor: Supervisor, job: Job, output: Output) -> None:
    running = job.running()
    async with aclosing(kept(supervisor, job.folder, running)) as events:
        async for event in events:
            output.event(event)
            match event:
                case Ready():
                    output.ready(running)
                case GaveUp():
                    raise NotStarted(f"{job.name} does not run; all that it wrote is in {job.log}")


def _stop_on_signals(supervisor: Supervisor) -> None:
    """The first signal ends the server politely, the second at once; who started us by nohup wants no SIGHUP."""
    loop = asyncio.get_running_loop()
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        loop.add_signal_handler(number, supervisor.stop)


def _adopt(job: Job, output: Output) -> int:
    """Somebody looks after it already: wait until it is ready, and say where it is."""
    running = _awaited(job, output, lambda: state.is_supervised(job.folder, job.name))
    asked = job.ready.plan
    if running.source not in ("", asked.model.source):
        raise NotStarted(
            f"{running.name} is served already, and is {running.source}; to serve {asked.model.source} instead: "
            f"kat serve stop {running.name}"
        )
    output.note(f"{running.name} is served already; it is used as it is")
    if set(asked.adapters) - {*running.adapters, *running.loaded}:
        output.note("it lacks an adapter that you asked for; kat serve adapters load NAME=PATH loads it")
    if (running.context, running.runner) != (asked.context, asked.runner):
        there = f"a context of {running.context} tokens and runs with {running.runner}"
        output.note(f"it has {there}; to change that: kat serve stop {running.name}")
    output.ready(running)
    return Exit.DONE


def _forked(job: Job) -> int:
    """Start a process that looks after the server; our claim on that is its own then."""
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) == 0:
        _live_on(job)
    return child


def _awaited_child(job: Job, output: Output, child: int) -> int:
    """Wait until the server that the process looks after is ready."""
    began = time.monotonic()
    try:
        running = _awaited(job, output, lambda: os.waitpid(child, os.WNOHANG) == (0, 0))
    except KeyboardInterrupt:
        output.note(f"{job.name} goes on starting; to end it: kat serve stop {job.name}")
        raise
    output.event(Ready(time.monotonic() - began))
    output.ready(running)
    return Exit.DONE


def _live_on(job: Job) -> NoReturn:
    """Be the process that looks after the server: in a session of its own, without a terminal."""
    code: int = Exit.NOT_ACHIEVED
    try:
        os.setsid()
        job.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = os.open(job.folder / f"{job.name}.supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (own, 1), (own, 2)):
            os.dup2(source, target)
        code = guarded(lambda: interrupts.run(_supervised(job, Output())), debug=False)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _awaited(job: Job, output: Output, is_there: Callable[[], bool]) -> Running:
    """The state once it is ready; `is_there` says whether somebody looks after it still.

    Raises:
        NotStarted: nobody does.
    """
    began = time.monotonic()
    estimate = job.timings.last(job.title)
    while True:
        goes_on = is_there()
        running = state.read(job.folder, job.name)
        if running and running.is_ready:
            return running
        if not goes_on:
            output.clear()
            reason = failure(running) or "its process ended"
            raise NotStarted(f"{job.name} did not start: {reason}; all that it wrote is in {job.log}")
        if running:
            output.event(Progress(Stage(running.stage), time.monotonic() - began, estimate))
        time.sleep(_POLL)
