"""What a step costs besides the engine: median milliseconds a step against the scripted server.

Everything but the engine counts: deciding, rendering, parsing, LangGraph, journal with fsync, the tool, events. The
time inside the engine's stream is measured around each item and taken off.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from assistant.config import Settings
from assistant.events import StepFinished, StepStarted
from assistant.opening import Place, open_pilot
from model.engine import Delta, Engine, EngineInfo, Sampling
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.prompt import Prompt

STEPS = 60
CALL = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
REPLY = f"Simple.\n</judge>\n\n<think_off>\n<answer>\n{'I look at the file. ' * 20}\n</answer>\n{CALL}"


class Timed:
    """An engine that counts the seconds spent inside it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = 0.0

    async def info(self) -> EngineInfo:
        """As the engine has it."""
        return await self._engine.info()

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The engine's items, each wait counted."""
        stream = self._engine.stream(prompt, sampling)
        while True:
            start = time.perf_counter()
            item = await anext(stream, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item

    async def count(self, prompt: Prompt) -> int | None:
        """As the engine has it."""
        return await self._engine.count(prompt)

    async def aclose(self) -> None:
        """Close the engine."""
        await self._engine.aclose()


async def overheads(repository: Path, url: str, environ: dict[str, str]) -> list[float]:
    """Milliseconds of each step, the engine's own taken off."""
    engine = Timed(HttpEngine(url))
    settings = Settings(max_steps=STEPS)
    pilot = await open_pilot(Place(repository, environ=environ), engine, settings, allow=("all",), interactive=False)
    found, start, inside = [], 0.0, 0.0
    async for event in pilot.run("Look at it again and again.", ThinkRequest.AUTO):
        if isinstance(event, StepStarted):
            start, inside = time.perf_counter(), engine.seconds
        elif isinstance(event, StepFinished):
            wall = time.perf_counter() - start
            found.append(1000 * (wall - (engine.seconds - inside)))
    await pilot.aclose()
    return found


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, ScriptedServer([{"reply": REPLY, "times": 0}]) as server:
        repository = Path(folder) / "repository"
        repository.mkdir()
        subprocess.run(["git", "init", "-q", str(repository)], check=True)
        (repository / "a.py").write_text("x = 1\n" * 40)
        environ = {"KAT_STATE": f"{folder}/state", "KAT_CONFIG": f"{folder}/config", "PATH": "/usr/bin:/bin"}
        found = asyncio.run(overheads(repository, server.url, environ))
    ordered = sorted(found)
    print(f"overhead of a step in ms, {len(found)} steps, {machine()}")
    print(f"  median {statistics.median(found):.2f}, 90th percentile {ordered[int(len(ordered) * 0.9)]:.2f}")
    print(f"  first ten {statistics.median(found[:10]):.2f}, last ten {statistics.median(found[-10:]):.2f}")


if __name__ == "__main__":
    main()
