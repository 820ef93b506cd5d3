"""Tokens a second for 64 replies to one prompt from the embedded model: in batches, and one after another.

    python benchmarks/sample.py [--threads 1] [--samples 64]

The prompt is that of the line strategy. Both ways use the same number of threads; nothing else should run beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from model.batch import Samples, sample, side_by_side
from model.catalog import CATALOG
from model.dialects import dialect
from model.engine import Sampling
from model.engines.embedded import BATCH_REPLIES, EmbeddedEngine
from model.line import LineTask, render
from model.pull import pull

CODE = """
def mean(values):
    if not values:
        return 0.0
    total = 0
    for value in values:
        total += value
    return total / (len(values) + 1)
"""
TASK = LineTask("stats.py", 1, tuple(CODE.strip().splitlines()), "assert mean([2, 4]) == 3\nE   assert 2.0 == 3")
SAMPLING = Sampling(temperature=1.0, max_tokens=24, seed=1)


async def measure(threads: int, samples: int) -> list[str]:
    """A line for each way: seconds, tokens and tokens a second, and the most memory used until then."""
    engine = EmbeddedEngine(pull(CATALOG["nano"]), dialect="qwen3", threads=threads)
    prompt = render(TASK, dialect("qwen3"), 7)
    found = []
    for name, draw in (("one after another", side_by_side), (f"{BATCH_REPLIES} at once", sample)):
        await draw(engine, prompt, SAMPLING, 1)
        began = time.perf_counter()
        drawn = await draw(engine, prompt, SAMPLING, samples)
        found.append(line(name, drawn, time.perf_counter() - began))
    await engine.aclose()
    return found


def line(name: str, drawn: Samples, seconds: float) -> str:
    """What came of one way."""
    tokens, memory = drawn.usage.completion, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    different = len({reply.text for reply in drawn.replies})
    rate = f"{seconds:6.1f} s, {tokens} tokens, {tokens / seconds:6.1f} tokens/s"
    return f"{name:18} {rate}, {different} different replies of {len(drawn.replies)}, {memory} MB at most"


def main() -> None:
    """Print both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=64)
    given = parser.parse_args()
    print(f"{machine()}; {given.threads} threads, {given.samples} samples of at most {SAMPLING.max_tokens} tokens")
    print("\n".join(asyncio.run(measure(given.threads, given.samples))))


if __name__ == "__main__":
    main()
