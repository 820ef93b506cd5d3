"""The screen that shows the engine, and what its server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from assistant.doctor.finding import Finding
from model.engine import EngineInfo
from model.engines.scripted import ScriptedServer
from model.format import Mode
from model.serving.metrics import ServerMetrics
from tests.tui.conftest import Start
from tests.tui.fake import step
from tui.shelf import FolderShelf, NoShelf
from tui.widgets.status import Activity

ABOUT = (
    *("kat-nano", "nothing else answered", "KV cache", "25% full", "92% of prompt tokens"),
    *("118 tokens/s", "0.21 s, for 95 %", "55% of guessed"),
)
BUSY = ServerMetrics("vllm", 2, 1, 0.25, 0.92, 118.0, (0.21, 0.84), 0, 0.55)


class Served(NoShelf):
    """A server that counts, and what an examination finds of it."""

    def __init__(self) -> None:
        self.now = BUSY
        self.changed = asyncio.Event()
        self.open = 0

    async def readings(self, engine: EngineInfo) -> AsyncGenerator[ServerMetrics, None]:
        self.open += 1
        try:
            while True:
                yield self.now
                await self.changed.wait()
                self.changed.clear()
        finally:
            self.open -= 1

    async def findings(self, engine: EngineInfo) -> AsyncGenerator[Finding, None]:
        yield Finding("engine", True, f"{engine.name} [answers]")
        yield Finding("prefix cache", False, "0 of 610 tokens", "start vLLM without --no-enable-prefix-caching")


async def test_the_engine_is_shown_while_the_screen_is_open(start: Start) -> None:
    shelf = Served()
    async with start(step(1, Mode.OFF, "Easy."), shelf=shelf, size=(100, 30)) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        assert shelf.open == 0
        await kat.send("/engine")
        await kat.until(lambda: "2 running, 1 waiting" in kat.screen())
        for shown in ABOUT:
            assert shown in kat.screen()
        assert "preempted" not in kat.screen()
        shelf.now = ServerMetrics("vllm", 0, 0, 0.0)
        shelf.changed.set()
        await kat.until(lambda: "0 running, 0 waiting" in kat.screen())
        await kat.pilot.press("d")
        await kat.until(lambda: "→ start vLLM without" in kat.screen())
        assert "[answers]" in kat.screen()
        await kat.pilot.press("escape")
        await kat.until(lambda: shelf.open == 0)
        assert kat.app.prompt.has_focus


@pytest.mark.parametrize("size", [(20, 6), (50, 30)])
async def test_an_engine_without_a_server_says_so(start: Start, size: tuple[int, int]) -> None:
    async with start(step(1, Mode.OFF, "Easy."), size=size) as kat:
        await kat.until(lambda: kat.app.status.activity is Activity.READY)
        await kat.send("/engine")
        await kat.until(lambda: "Engine" in kat.screen())
        if size > (20, 6):
            await kat.until(lambda: "it shows none" in kat.screen())
        await kat.pilot.press("d", "escape")
        assert kat.app.prompt.has_focus


async def test_a_real_server_is_read_beside_the_session(tmp_path: Path) -> None:
    environ = {"KAT_CONFIG": str(tmp_path), "KAT_STATE": str(tmp_path), "KAT_API_KEY": "k"}
    page = "vllm:num_requests_running 4\n"
    async with ScriptedServer(
        [{"reply": "ok", "times": 0}], api_key="k", routes={"/metrics": lambda _: page}
    ) as server:
        shelf = FolderShelf(tmp_path, lambda _: None, environ)  # type: ignore[arg-type,return-value]
        info = EngineInfo(server.url, server.model, "kat")
        async with aclosing(shelf.readings(info)) as readings:
            assert (await anext(readings)).running == 4
        async with aclosing(shelf.findings(info)) as findings:
            assert (await anext(findings)).ok
        (tmp_path / "config.toml").write_text("broken meanwhile")
        assert [one async for one in shelf.readings(info)] == []
        assert ["cannot be read" in one.detail async for one in shelf.findings(info)] == [True]
        embedded = EngineInfo("embedded", "nano", "kat")
        assert [one async for one in shelf.readings(embedded)] == []
        assert [one.ok async for one in shelf.findings(embedded)] == [None]
