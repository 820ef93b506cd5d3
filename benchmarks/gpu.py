"""What real GPUs do with a model of the catalogue, beside what the plan says of it: memory, cache, start, speed.

    python benchmarks/gpu.py [MODEL] [--users N] [--kv-cache-dtype fp8] [--speculate off|ngram|auto] [--json FILE]
                             [--tokenizer FOLDER] [--log FILE] [-- ARGUMENTS OF VLLM]

vLLM is started as `kat serve` starts it, for the plan that `kat serve` makes for this machine. It draws the weights at
random (`--load-format dummy`), so nothing is downloaded: memory and speed do not depend on what the weights are.
Prompts are random token ids, each one new, so the prefix cache has no part in it. The tokenizer may be any; without
a folder it is the embedded model's. KAT_VLLM_PYTHON names the Python with vLLM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from model.architecture import Architecture
from model.catalog import CATALOG, CatalogEntry, resolve
from model.engine import EngineError
from model.engines.transport import Patience, Transport
from model.pull import pull
from model.serving.fitting import cost
from model.serving.fitting.sizing import plan as planned
from model.serving.hardware.devices import find_machine
from model.serving.hardware.nvidia import library_gpus
from model.serving.plan import DoesNotFit, Launch, Plan, Wish
from model.serving.starting.endpoints import Place, endpoint_for
from model.serving.starting.launch import Options, Speculation, vllm_launch
from model.serving.starting.lent_plugin import lent_plugin
from model.serving.starting.versions import Installed, NoVllm, find, usable
from model.serving.starting.weights import safetensors_of, weights_directory
from model.serving.supervision.supervise import GaveUp, Progress, Ready, Supervisor

SHAPES = ((1, 512), (8, 512), (32, 512), (8, 8_192))
"""How many streams write at once, and the tokens of each one's prompt."""
WRITTEN = 160
"""Tokens of each reply."""
PROMPTS = (4_000, 32_000)
"""Tokens of the prompts that are only read."""
IDS = range(1_000, 40_000)
"""Token ids that prompts are drawn from: ordinary ones in any vocabulary of today."""
_MODEL_TYPES = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3", "LlamaForCausalLM": "llama"}
_SAID = {
    "weights_gib": r"Model loading took ([\d.]+) GiB",
    "loading_seconds": r"Model loading took [\d.]+ GiB (?:memory )?and ([\d.]+) seconds",
    "cache_gib": r"Available KV cache memory: ([\d.]+) GiB",
    "cache_tokens": r"KV cache size: ([\d,]+) tokens",
    "compile_seconds": r"torch\.compile took ([\d.]+) s in total",
    "graphs_gib": r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB",
    "graph_seconds": r"Graph capturing finished in (\d+) secs",
    "engine_seconds": r"init engine \(.*?\) took ([\d.]+) s",
}
"""What vLLM's log says of itself, by patterns."""


@dataclass(frozen=True, slots=True)
class Written:
    """Tokens a second of all streams while all of them write; `planned` is what the plan says."""

    streams: int
    context: int
    speed: float
    planned: float
    first_seconds: float
    """The median wait for a first token, when all prompts come at once."""
    read_share: float
    """The share of the GPUs' bandwidth that this is, by the plan's formula."""


@dataclass(frozen=True, slots=True)
class Read:
    """Tokens of prompts read in a second, `streams` prompts at once; `math_share` is of the GPUs' 16-bit peak."""

    streams: int
    tokens: int
    speed: float
    planned: float
    math_share: float


@dataclass(slots=True)
class Figures:
    """Everything measured; memory in GiB, times in seconds."""

    gpus: str
    model: str
    vllm: str
    plan: dict[str, Any]
    command: tuple[str, ...]
    start_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)
    peak_gib: float = 0.0
    used_gib: float = 0.0
    written: list[Written] = field(default_factory=list)
    read: list[Read] = field(default_factory=list)


class NotReady(Exception):
    """The server did not start; the message is one sentence."""


def folder_of(entry: CatalogEntry, place: Path, tokenizer: Path) -> Path:
    """A folder that vLLM can start from: the model's shape, and the files of a tokenizer."""
    folder = place / entry.name
    folder.mkdir()
    if entry.architecture is None:
        raise ValueError(f"the shape of {entry.name} is not known")
    (folder / "config.json").write_text(json.dumps(config_of(entry.architecture)))
    for file in tokenizer.glob("*token*.json"):
        shutil.copy(file, folder)
    return folder


def small_tokenizer(python: str) -> Path:
    """A folder with the embedded model's tokenizer, which is fetched if need be."""
    return safetensors_of(pull(CATALOG["nano"]), weights_directory(), python)


def config_of(shape: Architecture) -> dict[str, Any]:
    """The config.json of a dense model."""
    return {
        "architectures": [shape.model_class],
        "model_type": _MODEL_TYPES[shape.model_class],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "dtype": "bfloat16",
    }


@contextmanager
def peak(figures: Figures) -> Iterator[None]:
    """Look at the memory in use of the first GPU, ten times a second, and keep the most."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            figures.peak_gib = max(figures.peak_gib, used())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def used() -> float:
    """GiB in use of the first GPU."""
    found = library_gpus() or []
    return found[0].gpu.memory - (found[0].gpu.free or 0.0) if found else 0.0


@asynccontextmanager
async def served(launch: Launch, log: Path, figures: Figures) -> AsyncGenerator[str, None]:
    """The server, once it is ready; its address. Raises `NotReady`."""
    async with Supervisor(launch, log) as supervisor:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watching = asyncio.create_task(_watch(supervisor, figures, ready))
        try:
            await asyncio.wait((ready, watching), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise NotReady("the server was given up before it answered")
            ready.result()
            yield launch.endpoint.url
        finally:
            supervisor.stop()
            await watching


async def _watch(supervisor: Supervisor, figures: Figures, ready: asyncio.Future[None]) -> None:
    async with aclosing(supervisor.events()) as events:
        async for event in events:
            match event:
                case Progress(stage, seconds):
                    figures.stages.setdefault(stage.name, round(seconds, 1))
                case Ready(seconds) if not ready.done():
                    figures.start_seconds = round(seconds, 1)
                    ready.set_result(None)
                case GaveUp(reason, lines) if not ready.done():
                    ready.set_exception(NotReady("\n".join((reason, *lines))))


def prompt(tokens: int) -> list[int]:
    """Random token ids."""
    return random.choices(IDS, k=tokens)


async def reply(transport: Transport, model: str, tokens: int, written: int) -> list[tuple[float, int]]:
    """When how many tokens had come of the reply to a prompt of so many tokens."""
    body = {"model": model, "prompt": prompt(tokens), "max_tokens": written, "ignore_eos": True, "temperature": 0.6}
    body |= {"top_p": 0.95, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    async with aclosing(transport.events("/v1/completions", body)) as events:
        usages = [(time.perf_counter(), event["usage"]) async for event in events if event.get("usage")]
    return [(when, int(usage["completion_tokens"])) for when, usage in usages]


async def write(transport: Transport, plan: Plan, streams: int, context: int) -> Written:
    """How fast so many streams write."""
    began = time.perf_counter()
    replies = await asyncio.gather(*(reply(transport, plan.model.name, context, WRITTEN) for _ in range(streams)))
    start = max(came[0][0] for came in replies)
    end = min(came[-1][0] for came in replies)
    count = sum(_at(came, end) - _at(came, start) for came in replies)
    speed = count / (end - start)
    step = cost.decode(plan, streams, context + WRITTEN // 2)
    first = statistics.median(came[0][0] for came in replies) - began
    share = cost.READ * step.memory * speed / streams
    return Written(streams, context, round(speed, 1), round(step.all, 1), round(first, 3), round(share, 3))


def _at(came: Sequence[tuple[float, int]], moment: float) -> int:
    """Tokens that had come by a moment."""
    return max((count for when, count in came if when <= moment), default=0)


async def read(transport: Transport, plan: Plan, streams: int, tokens: int, rounds: int = 3) -> Read:
    """How fast so many prompts at once are read; the median of some rounds."""
    speeds = []
    for _ in range(rounds):
        began = time.perf_counter()
        await asyncio.gather(*(reply(transport, plan.model.name, tokens, 1) for _ in range(streams)))
        speeds.append(streams * tokens / (time.perf_counter() - began))
    speed, reckoned = statistics.median(speeds), cost.prefill(plan, tokens)
    share = cost.MATH * (cost.FASTER_IN_FP8 if cost.computes_in_fp8(plan) else 1)
    return Read(streams, tokens, round(speed), round(reckoned), round(share * speed / reckoned, 3))


async def measured(launch: Launch, plan: Plan, log: Path, figures: Figures) -> None:
    """Start, write, read; into `figures`."""
    with peak(figures):
        async with served(launch, log, figures) as address:
            figures.said = await asyncio.to_thread(said, log)
            figures.used_gib = round(used(), 2)
            transport = Transport(address, launch.endpoint.key, Patience())
            try:
                await _speeds(transport, plan, figures)
            finally:
                await transport.aclose()


async def _speeds(transport: Transport, plan: Plan, figures: Figures) -> None:
    """Whatever has room in the context and in the cache; the first reply warms up and does not count."""
    await write(transport, plan, 2, 64)
    for streams, context in SHAPES:
        if streams * (context + WRITTEN) < plan.kv_tokens and context + WRITTEN < plan.context:
            figures.written.append(await write(transport, plan, streams, context))
    for streams, tokens in ((1, PROMPTS[0]), (8, PROMPTS[0]), (1, PROMPTS[1])):
        if tokens < plan.context:
            figures.read.append(await read(transport, plan, streams, tokens))


def said(log: Path) -> dict[str, float]:
    """What vLLM says of itself in its log; of several, the last."""
    text = log.read_text("utf-8", "replace")
    found = {name: re.findall(pattern, text) for name, pattern in _SAID.items()}
    return {name: float(values[-1].replace(",", "")) for name, values in found.items() if values}


def run(options: argparse.Namespace, installed: Installed, folder: Path) -> Figures:
    """Plan, start, measure. Raises `NotReady`, `DoesNotFit`, `EngineError` or ValueError."""
    wish = Wish(options.context, options.users, options.quantization, options.kv_cache_dtype)
    plan = planned(resolve(options.model), find_machine(), wish)
    weights = folder_of(plan.model, folder, options.tokenizer or small_tokenizer(installed.python))
    launch = vllm_launch(
        plan,
        endpoint_for(Place(socket=folder / "s"), plan.model.name, os.environ),
        Options(
            installed, str(weights), users=options.users, speculation=Speculation(options.speculate),
            extra=("--load-format", "dummy", *options.extra),
            plugin_path=None if installed.plugin else lent_plugin(folder),
        ),
    )  # fmt: skip
    numbers = {"weights": plan.weights, "kv": plan.kv, "kv_tokens": plan.kv_tokens, "context": plan.context}
    gpus = ", ".join(f"{gpu.name} {gpu.memory:.2f} GiB" for gpu in plan.machine.gpus)
    figures = Figures(gpus, plan.model.name, installed.version, {**numbers, "lines": plan.lines}, launch.argv)
    log = options.log or folder / "vllm.log"
    try:
        asyncio.run(measured(launch, plan, log, figures))
    finally:
        if options.json:
            options.json.write_text(json.dumps(asdict(figures), indent=1))
    return figures


def show(figures: Figures) -> None:
    """Print for people."""
    said_, plan = figures.said, figures.plan
    print(f"{figures.model} with vLLM {figures.vllm} on {figures.gpus}; {machine()}")
    print("\n".join(f"  {line}" for line in plan["lines"]))
    print(f"  start   {figures.start_seconds} s: {figures.stages}")
    print(
        f"  memory  weights {said_.get('weights_gib', 0)} GiB (plan {plan['weights']:.1f}), most {figures.peak_gib:.1f}"
    )
    tokens = int(said_.get("cache_tokens", 0))
    print(
        f"  cache   {said_.get('cache_gib', 0)} GiB, {tokens:,} tokens (plan {plan['kv']:.1f}, {plan['kv_tokens']:,})"
    )
    for w in figures.written:
        print(
            f"  write   {w.streams} × {w.context}: {w.speed} tokens/s (plan {w.planned}), first {w.first_seconds} s, "
            f"{w.read_share:.0%} of bandwidth"
        )
    for r in figures.read:
        print(f"  read    {r.streams} × {r.tokens}: {r.speed} tokens/s (plan {r.planned}), {r.math_share:.0%} of peak")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="KAT-V1-40B")
    parser.add_argument("--users", type=int, default=1)
    for name in ("--context", "--quantization", "--kv-cache-dtype"):
        parser.add_argument(name, type=int if name == "--context" else str)
    parser.add_argument("--speculate", default="off", choices=[*Speculation])
    for name in ("--tokenizer", "--json", "--log"):
        parser.add_argument(name, type=Path)
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    return parser.parse_args(words[:split], argparse.Namespace(extra=tuple(words[split + 1 :])))


def main() -> int:
    """Measure and print; without a GPU or vLLM, say so."""
    options = arguments()
    try:
        if not find_machine().gpus:
            print("skipped: there is no GPU here")
            return 0
        with tempfile.TemporaryDirectory(prefix="kat") as folder:
            show(run(options, usable(find(os.environ), gpus=True), Path(folder)))
    except (NoVllm, NotReady, DoesNotFit, EngineError, ValueError) as error:
        print(f"not measured: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
