"""What a front end sees of the agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from assistant.events import Decision, Event
from model.engine import EngineInfo
from model.format import ThinkRequest


class Agent(Protocol):
    """A session with an engine. One `run` at a time; between two runs the conversation is kept."""

    @property
    def engine(self) -> EngineInfo:
        """The engine in use, and why it was chosen."""

    @property
    def session(self) -> str:
        """The session's id."""

    def run(self, text: str, think: ThinkRequest) -> AsyncIterator[Event]:
        """Answer one message of the user. The last event is always `RunFinished`; errors arrive as events."""

    def decide(self, approval: str, decision: Decision, note: str = "") -> None:
        """Answer an `ApprovalAsked` by its id; `note` is a sentence for the model where the answer is no."""

    def stop(self) -> None:
        """Stop the run; what came is kept, and the run still ends with `RunFinished`."""

    async def aclose(self) -> None:
        """Close the journal and the engine."""


AgentFactory = Callable[[], Awaitable[Agent]]
"""Opens engine and session. Raises `model.engine.EngineError` with a sentence for the user."""
