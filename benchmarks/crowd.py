"""Two hundred clients at once on one scripted server: some go away, some read slowly, some send a megabyte.

Each client's prompt carries a mark, which the server repeats in its reply; who reads another's mark, or not all of his
own reply, is a fault. Between rounds nothing may stay behind: sockets, tasks, threads, memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from model.dialects import dialect
from model.engine import Engine, Sampling
from model.engines.http import HttpEngine
from model.engines.script import Script, ScriptLine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.prompt import Message, Prompt

CLIENTS = 200
_PIECE = 60
_LARGE = "every word of this is as long as a line, so that it is counted quickly ".replace(" ", "_") * 14 + " "
LARGE = _LARGE * (1_000_000 // len(_LARGE) + 1)
"""More than a megabyte."""
KAT = dialect("kat")


class Manner(StrEnum):
    """How a client behaves."""

    PLAIN = "plain"
    LEAVES = "leaves"
    SLOW = "slow"
    LARGE = "large"


MANNERS = (*[Manner.PLAIN] * 5, Manner.LEAVES, Manner.SLOW, Manner.LARGE)


@dataclass(frozen=True, slots=True)
class Visit:
    """What a client got: its text, and the seconds to the first piece and to the end; `alien` is not its own text."""

    manner: Manner
    first: float
    seconds: float
    alien: str


@dataclass(frozen=True, slots=True)
class Left:
    """What a process holds: open files (sockets too), tasks, threads, and memory in bytes."""

    files: int
    tasks: int
    threads: int
    memory: int


class Echo(Script):
    """A script that answers each with his own mark, many times over."""

    def __init__(self) -> None:
        super().__init__([])

    def take(self, prompt: str) -> ScriptLine:
        """A reply of about 2.4 kB in pieces."""
        return ScriptLine(_reply(prompt.rpartition("mark ")[2].partition(".")[0]), chunk=_PIECE)


def _reply(mark: str) -> str:
    return f"Mine.\n</judge>\n\n<think_off>\n<answer>\n{f'{mark} ' * 300}end\n</answer>"


def prompt_of(mark: str, text: str = "") -> Prompt:
    """A prompt that carries a mark at its end."""
    return KAT.render([Message("user", f"{text}mark {mark}.")], (), ThinkRequest.AUTO, "")


async def visit(engine: Engine, number: int, manner: Manner) -> Visit:
    """One client."""
    mark = f"c{number:05d}"
    prompt = prompt_of(mark, LARGE if manner is Manner.LARGE else "")
    began, first, text, whole = time.perf_counter(), 0.0, "", _reply(mark)
    async with aclosing(engine.stream(prompt, Sampling(max_tokens=4096))) as deltas:
        async for delta in deltas:
            first = first or time.perf_counter() - began
            text += delta.text
            if manner is Manner.LEAVES and len(text) > 500:
                break
            if manner is Manner.SLOW:
                await asyncio.sleep(0.01)
    same = whole.startswith(text) if manner is Manner.LEAVES else whole == text
    return Visit(manner, first, time.perf_counter() - began, "" if same else text)


async def round_of(address: str, clients: int = CLIENTS) -> list[Visit]:
    """All clients at once, each with connections of its own."""
    engines = [HttpEngine(address) for _ in range(clients)]
    seats = ((engine, number, MANNERS[number % len(MANNERS)]) for number, engine in enumerate(engines))
    try:
        return await asyncio.gather(*(visit(*seat) for seat in seats))
    finally:
        await asyncio.gather(*(engine.aclose() for engine in engines))


def left() -> Left:
    """What this process holds now; what its allocator merely keeps for later does not count."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    tasks = len(asyncio.all_tasks())
    return Left(sum(1 for _ in Path("/proc/self/fd").iterdir()), tasks, threading.active_count(), memory)


async def settled(wanted: Left, seconds: float = 5.0) -> Left:
    """What is held as soon as files and threads are no more than wanted, or when time is over."""
    end = time.monotonic() + seconds
    while (now := left()).files > wanted.files or now.threads > wanted.threads:
        if time.monotonic() > end:
            break
        await asyncio.sleep(0.05)
    return now


async def stress(socket: Path, rounds: int = 2, clients: int = CLIENTS) -> tuple[list[Visit], Left, Left]:
    """The visits of the last round, and what was held behind the first and behind the last one.

    Of memory it is the least that one round added: what leaks does so in each, and an allocator swings.
    """
    server = ScriptedServer([], uds=socket)
    server.script = Echo()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        before, visits, held = left(), [], []
        for _ in range(rounds):
            visits = await round_of(server.url, clients)
            server.requests.clear()
            server.headers.clear()
            held.append(await settled(before))
    least = min((after.memory - before.memory for before, after in pairwise(held)), default=0)
    return visits, held[0], replace(held[-1], memory=held[0].memory + least)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not pass."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of the plain clients to the first piece and to the end, and what the last round left behind."""

    clients: int
    first_p50: float
    first_p99: float
    p50: float
    p99: float
    aliens: int
    files: int
    tasks: int
    threads: int
    memory: int


def figures(visits: Sequence[Visit], before: Left, after: Left) -> Figures:
    """The numbers of a stress."""
    plain = [visit for visit in visits if visit.manner is Manner.PLAIN]
    firsts, wholes = [visit.first for visit in plain], [visit.seconds for visit in plain]
    return Figures(
        len(visits),
        *(percentile(firsts, 0.5), percentile(firsts, 0.99), percentile(wholes, 0.5), percentile(wholes, 0.99)),
        sum(bool(visit.alien) for visit in visits),
        after.files - before.files,
        after.tasks - before.tasks,
        after.threads - before.threads,
        after.memory - before.memory,
    )


def main() -> int:
    """Measure and print."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="kat") as folder:
        found = figures(*asyncio.run(stress(Path(folder) / "s", rounds=3)))
    if "--json" in sys.argv:
        print(json.dumps(asdict(found)))
        return 0
    print(f"{found.clients} clients at once on one scripted server, {machine()}")
    print(f"  first piece  p50 {found.first_p50:.2f} s   p99 {found.first_p99:.2f} s")
    print(f"  whole reply  p50 {found.p50:.2f} s   p99 {found.p99:.2f} s")
    print(f"  replies with text of others: {found.aliens}")
    held = f"{found.files} files, {found.tasks} tasks, {found.threads} threads, {found.memory / 2**20:.1f} MiB"
    print(f"  left behind by a round: {held}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
