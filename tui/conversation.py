"""One agent, and the messages on their way to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from assistant.agent import Agent, AgentFactory
from assistant.events import Decision, Event
from model.engine import EngineError, EngineInfo
from model.format import ThinkRequest

CLOSE_SECONDS = 3.0
"""How long closing may take before the program ends without it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What the user sent, and the think mode asked at that time."""

    text: str
    think: ThinkRequest


@dataclass(frozen=True, slots=True)
class Errand:
    """Something else for the agent to do, in its turn: `text` is how the user asked for it."""

    text: str
    start: Callable[[Agent], AsyncIterator[Event]]


class View(Protocol):
    """Whoever shows the conversation."""

    async def loading(self) -> None:
        """The agent is being opened."""

    async def recall(self, history: Sequence[Event]) -> None:
        """The agent is open, and this was said before."""

    async def ready(self, engine: EngineInfo) -> None:
        """The agent is open, or done with a run."""

    async def offline(self, reason: str) -> None:
        """The agent could not be opened."""

    async def failed(self, reason: str) -> None:
        """A run broke off; the agent is still there."""

    async def begin(self, message: Message | Errand) -> None:
        """A run or an errand begins."""

    async def present(self, event: Event) -> None:
        """A run says something."""

    def show_queue(self, waiting: Sequence[str]) -> None:
        """Other messages wait."""


class Conversation:
    """Opens the agent, then runs one message after the other. `serve` is the only coroutine that talks to the agent."""

    def __init__(self, open_agent: AgentFactory, view: View) -> None:
        self._open_agent = open_agent
        self._view = view
        self._agent: Agent | None = None
        self._waiting: deque[Message | Errand] = deque()
        self._arrived = asyncio.Event()
        self.running = False
        self.stopping = False

    @property
    def online(self) -> bool:
        """Whether an agent is open."""
        return self._agent is not None

    async def serve(self) -> None:
        """Open the agent and run messages until cancelled; returns when the agent cannot be opened."""
        if not await self._opened():
            return
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._run(self._waiting.popleft())

    def send(self, text: str, think: ThinkRequest) -> None:
        """Run `text` now, or when what runs is over."""
        self.enqueue(Message(text, think))

    def enqueue(self, item: Message | Errand) -> None:
        """See to it now, or when what runs is over."""
        self._waiting.append(item)
        self._arrived.set()
        if self.running or not self.online:
            self._tell_queue()

    def stop(self) -> str:
        """Stop what runs; returns the text of the messages that waited, which are not sent."""
        if self._agent is None or not self.running:
            return ""
        self.stopping = True
        self._agent.stop()
        back = "\n".join(message.text for message in self._waiting if isinstance(message, Message))
        self._waiting.clear()
        self._tell_queue()
        return back

    def decide(self, approval: str, decision: Decision, note: str) -> None:
        """Pass on an answer."""
        if self._agent is not None:
            self._agent.decide(approval, decision, note)

    async def aclose(self) -> None:
        """Stop and close the agent."""
        agent, self._agent = self._agent, None
        if agent is None:
            return
        agent.stop()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await agent.aclose()
        except TimeoutError:
            return

    async def _opened(self) -> bool:
        await self._view.loading()
        try:
            self._agent = await self._open_agent()
        except EngineError as error:
            await self._view.offline(str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the user can read it and try again
            await self._view.offline(unexpected(error))
            return False
        await self._view.recall(self._agent.history)
        await self._view.ready(self._agent.engine)
        return True

    async def _run(self, message: Message | Errand) -> None:
        if self._agent is None:
            return
        self.running, self.stopping = True, False
        self._tell_queue()
        try:
            await self._play(self._agent, message)
        except Exception as error:  # noqa: BLE001 - a run that breaks must not take the conversation with it
            self._agent.stop()
            await self._view.failed(f"{unexpected(error)}; the conversation goes on")
        finally:
            self.running = self.stopping = False
        if self._agent is not None:
            await self._view.ready(self._agent.engine)

    async def _play(self, agent: Agent, message: Message | Errand) -> None:
        await self._view.begin(message)
        events = message.start(agent) if isinstance(message, Errand) else agent.run(message.text, message.think)
        try:
            async for event in events:
                await self._view.present(event)
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    def _tell_queue(self) -> None:
        self._view.show_queue([message.text for message in self._waiting])


def unexpected(error: Exception) -> str:
    """What to say of an error that nobody foresaw."""
    text = str(error)
    return f"an unexpected error ({type(error).__name__}{': ' if text else ''}{text})"
