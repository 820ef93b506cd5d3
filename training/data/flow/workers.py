"""Stages in processes of this machine, of which one that dies takes nobody with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from assistant.errors import RefusedError, UserError
from model.engine import EngineError
from training.data.flow.chunks import Chunk, Row, crashed, work
from training.data.stage import Context, Stage

_AHEAD = 4
"""Chunks, for each process, that may be begun behind one that is not done yet; our choice."""
_PATIENCE = 5.0
"""Seconds that a process has to leave its sandboxes when the run ends; our choice."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl(2)."""
_ERRORS: dict[str, type[Exception]] = {"user": UserError, "refused": RefusedError, "engine": EngineError}


@dataclass(frozen=True, slots=True)
class Here:
    """Runs chunks in this process, one behind the other."""

    def outcomes(self, stage: Stage, chunks: Iterator[Chunk], context: Context) -> Iterator[tuple[Chunk, list[Row]]]:
        """What becomes of each chunk."""
        for chunk in chunks:
            yield chunk, work(stage, chunk.rows, context)


@dataclass(frozen=True, slots=True)
class Local:
    """Runs chunks in `processes` of this machine, each in namespaces of its own where the system allows it."""

    processes: int = 1

    def outcomes(self, stage: Stage, chunks: Iterator[Chunk], context: Context) -> Iterator[tuple[Chunk, list[Row]]]:
        """What becomes of each chunk, as soon as it is known."""
        pool = Pool(stage, context, max(1, self.processes))
        try:
            yield from pool.outcomes(chunks)
        finally:
            pool.end()


@dataclass(slots=True)
class _Job:
    """A chunk under way: rows that are still to be handed over (those of the first batch are), and what was found."""

    chunk: Chunk
    batches: deque[tuple[Row, ...]]
    alone: bool = False
    found: list[Row] = field(default_factory=list)

    def died(self, how: str) -> None:
        """A process died of the first batch: its rows are tried one by one, and one that kills again is refused."""
        batch = self.batches.popleft()
        if not self.alone:
            self.alone = True
            self.batches.extendleft((row,) for row in reversed(batch))
            return
        self.found += [crashed(row, f"the process that worked on it {how}, twice") for row in batch]


@dataclass(slots=True)
class _Worker:
    """A process and what it works on."""

    process: Any
    pipe: Connection
    job: _Job | None = None
    ready: bool = False

    def send(self) -> None:
        """Hand over the next batch; that the process is dead is noticed when its answer is read."""
        if self.job is not None and self.job.batches:
            with suppress(OSError):
                self.pipe.send(self.job.batches[0])


class Pool:
    """Processes that work on the chunks of one stage."""

    def __init__(self, stage: Stage, context: Context, processes: int) -> None:
        self._stage, self._context, self._count = stage, context, processes
        self._system: Any = _system()
        self._workers: list[_Worker] = []
        self._done: deque[tuple[Chunk, list[Row]]] = deque()
        self._behind: set[int] = set()

    def outcomes(self, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        """Keep everybody at work, and hand out what is done as soon as it is."""
        order: deque[int] = deque()
        while self._feed(chunks, order) or order:
            if busy := [worker for worker in self._workers if worker.job]:
                self._listen(busy)
            finished = {chunk.index for chunk, _ in self._done}
            self._behind |= finished
            while order and order[0] in self._behind:
                self._behind.remove(order.popleft())
            while self._done:
                yield self._done.popleft()

    def end(self) -> None:
        """End all processes: asked first, so that they leave their sandboxes tidily."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers = []

    def _feed(self, chunks: Iterator[Chunk], order: deque[int]) -> bool:
        """Give whoever is free a chunk, and start one more process while all are busy; says whether anybody got one."""
        fed = False
        while len(order) < _AHEAD * self._count:
            worker = next((one for one in self._workers if one.job is None), None)
            if worker is None and len(self._workers) == self._count:
                break
            chunk = next(chunks, None)
            if chunk is None:
                break
            if worker is None:
                worker = self._start()
                self._workers.append(worker)
            worker.job = _Job(chunk, deque([chunk.rows]))
            worker.send()
            order.append(chunk.index)
            fed = True
        return fed

    def _start(self) -> _Worker:
        ours, theirs = self._system.Pipe()
        bare = Context(self._context.cache, watch=silent)
        process = self._system.Process(target=_serve, args=(theirs, self._stage, bare))
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _listen(self, busy: list[_Worker]) -> None:
        ready = wait([worker.pipe for worker in busy])
        for worker in busy:
            if worker.pipe not in ready:
                continue
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                self._died(worker)
            else:
                self._heard(worker, kind, value)

    def _heard(self, worker: _Worker, kind: str, value: Any) -> None:
        match kind:
            case "ready":
                worker.ready = True
            case "watch":
                self._context.watch(value)
            case "rows":
                if worker.job is not None:
                    worker.job.found += value
                    worker.job.batches.popleft()
                    self._go_on(worker)
            case _:
                raise _ERRORS[kind](value)

    def _go_on(self, worker: _Worker) -> None:
        if worker.job is not None and not worker.job.batches:
            self._done.append((worker.job.chunk, worker.job.found))
            worker.job = None
        worker.send()

    def _died(self, worker: _Worker) -> None:
        """Another process takes over what this one left."""
        worker.process.join()
        worker.pipe.close()
        how = _how(worker.process.exitcode)
        if not worker.ready:
            raise UserError(f"a process for the stage {self._stage.name} {how} before it began; --jobs 0 shows why")
        self._context.watch(f"a process {how}; its records are tried one by one")
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        if worker.job is not None:
            worker.job.died(how)
            fresh.job = worker.job
            self._go_on(fresh)


def _system() -> Any:
    """How processes start: from a small server that has no threads, else each anew."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    system = multiprocessing.get_context("forkserver")
    system.set_forkserver_preload([__name__])
    return system


def _serve(pipe: Connection, stage: Stage, context: Context) -> None:
    """The life of a process: batches in, rows out, until nobody asks any more."""
    _settle(context)
    pipe.send(("ready", None))
    told = replace(context, watch=lambda text: pipe.send(("watch", text)))
    with suppress(EOFError, OSError):
        while True:
            pipe.send(_answer(stage, pipe.recv(), told))


def _answer(stage: Stage, rows: tuple[Row, ...], context: Context) -> tuple[str, Any]:
    try:
        return "rows", work(stage, rows, context)
    except RefusedError as error:
        return "refused", str(error)
    except UserError as error:
        return "user", str(error)
    except EngineError as error:
        return "engine", str(error)


def _settle(context: Context) -> None:
    """Namespaces of its own; the terminal's Ctrl-C is the parent's affair, and when that is gone so is this process.

    A handler, and not SIG_IGN, which the tests that are run here would inherit.
    """
    from assistant.fix.namespace import enter

    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, _leave)
    context.cache.mkdir(parents=True, exist_ok=True)
    enter(context.cache, context.cache)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def _leave(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def silent(_: str) -> None:
    """Says nothing: a lambda could not travel to another process."""
