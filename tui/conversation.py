"""One agent, and the messages on their way to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from assistant.agent import Agent, AgentFactory
from assistant.events import Decision, Event, Intervened, UserSaid
from model.engine import EngineError, EngineInfo
from model.format import ThinkRequest

CLOSE_SECONDS = 3.0
"""How long closing may take before the program ends without it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What the user sent, and the think mode asked at that time; `words` is what he wrote, where that is not `text`."""

    text: str
    think: ThinkRequest
    words: str | None = None

    @property
    def shown(self) -> str:
        """What the user knows it by."""
        return self.text if self.words is None else self.words


@dataclass(frozen=True, slots=True)
class Errand:
    """Something else for the agent to do, in its turn: `shown` is how the user asked for it."""

    shown: str
    start: Callable[[Agent], AsyncIterator[Event]]


class Halt(IntEnum):
    """How the user wants what runs to end."""

    NOT = 0
    AFTER_STEP = 1
    AT_ONCE = 2


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

    def show_queue(self, waiting: Sequence[str], said: Sequence[str]) -> None:
        """Other messages wait; `said` is meant for the step in hand, and not read yet."""

    def halting(self, halt: Halt) -> None:
        """What runs is to end."""

    def give_back(self, text: str) -> None:
        """This was not sent after all."""


class Conversation:
    """Opens the agent, then runs one message after the other. `serve` is the only coroutine that talks to the agent."""

    def __init__(self, open_agent: AgentFactory, view: View) -> None:
        self._open_agent = open_agent
        self._view = view
        self._agent: Agent | None = None
        self._waiting: deque[Message | Errand] = deque()
        self._said: list[Message] = []
        self._current: Message | Errand | None = None
        self._arrived = asyncio.Event()
        self.halt = Halt.NOT

    @property
    def online(self) -> bool:
        """Whether an agent is open."""
        return self._agent is not None

    @property
    def running(self) -> bool:
        """Whether the agent is at work."""
        return self._current is not None

    @property
    def session(self) -> str:
        """The session's id, empty while none is open."""
        return self._agent.session if self._agent else ""

    async def serve(self) -> None:
        """Open the agent and run messages until cancelled; returns when the agent cannot be opened."""
        if not await self._opened():
            return
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._run(self._waiting.popleft())

    def send(self, text: str, think: ThinkRequest, words: str | None = None) -> None:
        """Run `text`, of which the user wrote `words`, now, or when what runs is over."""
        self.enqueue(Message(text, think, words))

    def enqueue(self, item: Message | Errand) -> None:
        """See to it now, or when what runs is over."""
        self._waiting.append(item)
        self._arrived.set()
        if self.running or not self.online:
            self._tell_queue()

    def unqueue(self) -> str:
        """Take the last message out of the queue; empty where none waits."""
        waiting = [item for item in self._waiting if isinstance(item, Message)]
        return self._take(waiting[-1]).shown if waiting else ""

    def say_now(self, text: str, think: ThinkRequest) -> None:
        """Have `text` (or what waits first) read before the next step; where nothing runs, it is a message."""
        waiting = [item for item in self._waiting if isinstance(item, Message)]
        if not text and not waiting:
            return
        message = Message(text, think) if text else self._take(waiting[0])
        if self._agent is None or not isinstance(self._current, Message) or not self._agent.steer(message.text):
            self.enqueue(message)
            return
        self._said.append(message)
        self._tell_queue()

    def inform(self, fact: str, think: ThinkRequest) -> None:
        """Put a fact into the thought; where nothing runs, it is a message."""
        if self._agent is None or not isinstance(self._current, Message):
            self.send(fact, think)
            return
        self._agent.inform(fact)
        self._said.append(Message(fact, think))
        self._tell_queue()

    def enough(self) -> None:
        """Have the thought end here."""
        if self._agent is not None and self.running:
            self._agent.enough()

    def background(self, call: str) -> None:
        """Send a command that runs to the background."""
        if self._agent is not None:
            self._agent.background(call)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop what runs: a message at the end of its step, at the second time at once. Who waits is not sent."""
        if self._agent is None or not self.running:
            return
        if at_once or self.halt is not Halt.NOT or isinstance(self._current, Errand):
            self.halt = Halt.AT_ONCE
            self._agent.stop()
        else:
            self.halt = Halt.AFTER_STEP
            self._agent.drain()
        self._view.halting(self.halt)
        self._give_back(self._waiting)
        self._waiting.clear()
        self._tell_queue()

    async def switch(self, open_agent: AgentFactory) -> None:
        """Leave this agent for one that `serve` opens; nothing may run. Who waits is not sent."""
        self._give_back(self._waiting)
        self._waiting.clear()
        self._tell_queue()
        await self.aclose()
        self._open_agent = open_agent

    def decide(self, approval: str, decision: Decision, note: str) -> None:
        """Pass on an answer."""
        if self._agent is not None:
            self._agent.decide(approval, decision, note)

    def answer(self, question: str, text: str) -> None:
        """Pass on an answer in words."""
        if self._agent is not None:
            self._agent.answer(question, text)

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
        self._current, self.halt = message, Halt.NOT
        self._tell_queue()
        try:
            await self._play(self._agent, message)
        except Exception as error:  # noqa: BLE001 - a run that breaks must not take the conversation with it
            self._agent.stop()
            await self._view.failed(f"{unexpected(error)}; the conversation goes on")
        finally:
            self._current = None
            self._see_to_unread(message)
        if self._agent is not None:
            await self._view.ready(self._agent.engine)

    async def _play(self, agent: Agent, message: Message | Errand) -> None:
        await self._view.begin(message)
        events = message.start(agent) if isinstance(message, Errand) else _answers(agent, message)
        try:
            async for event in events:
                self._note_read(event)
                await self._view.present(event)
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

    def _note_read(self, event: Event) -> None:
        """What was said meanwhile is read, in the order in which it was said."""
        match event:
            case UserSaid(text=text):
                read = text
            case Intervened(intervention=intervention) if intervention.reason == "fact":
                read = intervention.text
            case _:
                return
        if self._said:
            self._said.remove(next((said for said in self._said if said.text == read), self._said[0]))
            self._tell_queue()

    def _see_to_unread(self, message: Message | Errand) -> None:
        """What was said too late is the next message, unless the user wanted an end."""
        unread, self._said = self._said, []
        if unread and (self.halt is not Halt.NOT or isinstance(message, Errand)):
            self._give_back(unread)
        elif unread and isinstance(message, Message):
            texts, words = zip(*((said.text, said.shown) for said in unread), strict=True)
            self._waiting.appendleft(Message("\n".join(texts), message.think, "\n".join(words)))
        if unread:
            self._tell_queue()

    def _take(self, message: Message) -> Message:
        self._waiting.remove(message)
        self._tell_queue()
        return message

    def _give_back(self, messages: Iterable[Message | Errand]) -> None:
        if texts := [message.shown for message in messages if isinstance(message, Message)]:
            self._view.give_back("\n".join(texts))

    def _tell_queue(self) -> None:
        self._view.show_queue([message.shown for message in self._waiting], [said.shown for said in self._said])


def _answers(agent: Agent, message: Message) -> AsyncIterator[Event]:
    return agent.run(message.text, message.think, message.words)


def unexpected(error: Exception) -> str:
    """What to say of an error that nobody foresaw."""
    text = str(error)
    return f"an unexpected error ({type(error).__name__}{': ' if text else ''}{text})"
