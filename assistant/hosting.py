"""What a running call may ask of the run around it: implements `assistant.tools.base.Host`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field

from assistant.answers import Waiting
from assistant.events import CallOutput, Event, PlanChanged, QuestionAnswered, QuestionAsked
from assistant.records import PlanItem
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal
from assistant.sessions.replay import whole_output
from assistant.stopping import unless_stopped
from assistant.tools.base import NO_HOST, ToolResult

Spawn = Callable[["CallHost", str, bool], Awaitable[ToolResult]]


@dataclass(slots=True)
class Questions:
    """Puts questions to the user, where there is one."""

    journal: Journal
    emit: Callable[[Event], None]
    interactive: bool
    stop: asyncio.Event
    waiting: Waiting[str] = field(default_factory=Waiting)

    async def ask(self, step: int, id_: str, question: str, options: Sequence[str]) -> str:
        """The answer, empty where it is given up.

        Raises:
            ToolError: nobody is there.
            Stopped: the run was stopped.
        """
        if not self.interactive:
            return await NO_HOST.ask(question, options)
        answer = self.waiting.wait(id_)
        self.emit(QuestionAsked(step, id_, sanitize(question), tuple(map(sanitize, options))))
        said = await unless_stopped(answer, self.stop)
        self.journal.append("question", id=id_, question=question, answer=said)
        self.emit(QuestionAnswered(step, id_, said))
        return said


@dataclass(slots=True)
class CallHost:
    """The run, as call `id` of step `step` sees it."""

    step: int
    id: str
    journal: Journal
    emit: Callable[[Event], None]
    questions: Questions
    start: Spawn
    detached: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, question: str, options: Sequence[str]) -> str:
        """The user's answer. Raises `ToolError` where nobody can be asked."""
        return await self.questions.ask(self.step, self.id, question, options)

    def put_out(self, text: str) -> None:
        """More output, for people."""
        self.emit(CallOutput(self.step, self.id, text))

    def plan(self, items: Sequence[PlanItem]) -> None:
        """The list of things to do, as it is now."""
        self.journal.append("plan", items=[asdict(item) for item in items])
        self.emit(PlanChanged(tuple(items)))

    def whole_output(self, call: str) -> str | None:
        """The whole output of an earlier call, from the journal."""
        return whole_output(self.journal.path, call)

    async def spawn(self, task: str, write: bool) -> ToolResult:
        """What a sub-agent makes of a task."""
        return await self.start(self, task, write)
