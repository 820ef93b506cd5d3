"""What a front end sees of the agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from assistant.events import Action, Decision, Event
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

    @property
    def history(self) -> Sequence[Event]:
        """What was said before in a session that goes on; nothing in a new one."""

    def run(self, text: str, think: ThinkRequest) -> AsyncIterator[Event]:
        """Answer one message of the user. The last event is always `RunFinished`; errors arrive as events."""

    def restore(self, action: Action, step: int = 0) -> AsyncIterator[Event]:
        """Undo, redo, or go back to the state behind a step; asks before it overwrites what others changed since."""

    def changes(self, first: int | None = None, last: int | None = None) -> AsyncIterator[Event]:
        """`Changes` of the session, of one step, or from behind one step to behind another."""

    def commit(self, message: str) -> AsyncIterator[Event]:
        """Commit the files that this session changed, and nothing else; says so in a `Notice`."""

    def decide(self, approval: str, decision: Decision, note: str = "") -> None:
        """Answer an `ApprovalAsked` by its id; `note` is a sentence for the model where the answer is no."""

    def stop(self) -> None:
        """Stop the run; what came is kept, and the run still ends with `RunFinished`."""

    async def aclose(self) -> None:
        """Close the journal and the engine."""


AgentFactory = Callable[[], Awaitable[Agent]]
"""Opens engine and session. Raises `model.engine.EngineError` with a sentence for the user."""
