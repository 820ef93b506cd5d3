"""What a front end sees of the agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from assistant.events import Action, Decision, Event
from assistant.records import Choice
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

    def run(self, text: str, think: ThinkRequest, words: str | None = None) -> AsyncIterator[Event]:
        """Answer one message of the user. The last event is always `RunFinished`; errors arrive as events.

        `words` is what the user wrote himself, where that is not all of `text`.
        """

    def restore(self, action: Action, step: int = 0) -> AsyncIterator[Event]:
        """Undo, redo, or go back to the state behind a step; asks before it overwrites what others changed since."""

    def changes(self, first: int | None = None, last: int | None = None) -> AsyncIterator[Event]:
        """`Changes` of the session, of one step, or from behind one step to behind another."""

    def commit(self, message: str) -> AsyncIterator[Event]:
        """Commit the files that this session changed, and nothing else; says so in a `Notice`."""

    def decide(self, approval: str, decision: Decision, note: str = "") -> None:
        """Answer an `ApprovalAsked` by its id; `note` is a sentence for the model where the answer is no."""

    def answer(self, question: str, text: str) -> None:
        """Answer a `QuestionAsked` by its id; an empty text gives it up."""

    def steer(self, text: str) -> bool:
        """Say something that the model reads before its next step. False if nothing runs: then it is a message."""

    def enough(self) -> None:
        """Enough thinking: the open judge or thought ends here and the answer follows."""

    def inform(self, fact: str) -> None:
        """Put a fact into the open thought; where none is open it becomes steering."""

    def background(self, call: str) -> None:
        """Send a command that runs to the background; the model goes on and may read its output later."""

    def compact(self, hint: str = "") -> AsyncIterator[Event]:
        """Make the conversation shorter for the model, `hint` saying what matters."""

    def fork(self, step: int, think: ThinkRequest) -> AsyncIterator[Event]:
        """Run a recorded step again in the other mode, from the same state, in a throw-away copy; ends in `Forked`."""

    def prefer(self, step: int, choice: Choice) -> AsyncIterator[Event]:
        """Keep which branch of a forked step the user likes better; says so in a `Notice`."""

    def rename(self, name: str) -> AsyncIterator[Event]:
        """Give the session a name; says so in a `Notice`."""

    def drain(self) -> None:
        """Stop the run when the step in hand is over."""

    def stop(self) -> None:
        """Stop the run at once; what came is kept, and the run still ends with `RunFinished`."""

    async def aclose(self) -> None:
        """Close the journal and the engine."""


AgentFactory = Callable[[], Awaitable[Agent]]
"""Opens engine and session. Raises `model.engine.EngineError` with a sentence for the user."""
