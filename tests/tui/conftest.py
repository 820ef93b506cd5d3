"""A running program with a fake agent behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from textual.pilot import Pilot

from assistant.agent import AgentFactory
from tests.tui.fake import FakeAgent, Item, opens
from tui.app import KatApp
from tui.widgets.fold import ProseView


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Running:
    """The program, its pilot and its agent."""

    app: KatApp
    pilot: Pilot[int]
    agent: FakeAgent
    clock: Clock

    async def send(self, text: str) -> None:
        self.app.prompt.focus()
        self.app.prompt.insert(text)
        await self.pilot.press("enter")

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
            await self.pilot.pause()

    async def idle(self) -> None:
        """Until every message is answered."""
        await self.until(lambda: self.agent.heard and not self.app.conversation.running)
        await self.pilot.pause()

    def text(self) -> str:
        """The transcript as text."""
        views = self.app.transcript.query(ProseView).results()
        return "\n".join(view.plain for view in views if view.display)

    def screen(self) -> str:
        """What stands on the screen, row by row."""
        return "\n".join(
            "".join(segment.text for segment in row) for row in self.app.screen._compositor.render_strips()
        )


def build(agent: FakeAgent, clock: Clock, open_agent: AgentFactory | None = None, **options: object) -> KatApp:
    return KatApp(open_agent or opens(agent), Path("/home/you/slugs"), version="0.1.0", clock=clock, **options)


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def start() -> Start:
    """Starts the program on a script; the agent answers every message with it."""

    @asynccontextmanager
    async def start(
        *scripts: list[Item],
        size: tuple[int, int] = (80, 30),
        open_agent: AgentFactory | None = None,
        **options: object,
    ) -> AsyncIterator[Running]:
        agent, clock = FakeAgent(*scripts), Clock()
        app = build(agent, clock, open_agent, **options)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            yield Running(app, pilot, agent, clock)

    return start
