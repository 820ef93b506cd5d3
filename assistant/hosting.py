"""What a running call may ask of the run around it: implements `assistant.tools.base.Host`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from assistant.answers import Waiting
from assistant.errors import UserError
from assistant.events import CallOutput, Event, PlanChanged, QuestionAnswered, QuestionAsked
from assistant.records import PlanItem
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal
from assistant.sessions.replay import whole_output
from assistant.stopping import unless_stopped
from assistant.tools.base import NO_HOST, ToolResult
from assistant.undo import Undo

Spawn = Callable[["CallHost", str, bool], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True)
class Aside:
    """Time in which a person is asked: what changes in it, nobody but he did. `undo` is None where nothing is kept.

    A sub-agent names the `step` of the call that it works for, which goes on behind the answer.
    """

    undo: Undo | None
    step: int | None = None

    async def begin(self, step: int) -> None:
        """A question of step `step` is about to be put."""
        if self.undo is not None:
            await asyncio.to_thread(self.undo.pause, step if self.step is None else self.step)

    async def end(self) -> None:
        """It is answered."""
        if self.undo is not None and self.step is not None:
            with suppress(UserError, OSError):  # then what is changed from here on counts as the user's
                await asyncio.to_thread(self.undo.begin, self.step, None)


@dataclass(slots=True)
class Questions:
    """Puts questions to the user, where there is one."""

    journal: Journal
    emit: Callable[[Event], None]
    interactive: bool
    stop: asyncio.Event
    aside: Aside
    waiting: Waiting[str] = field(default_factory=Waiting)

    async def ask(self, step: int, id_: str, question: str, options: Sequence[str]) -> str:
        """The answer, empty where it is given up.

        Raises:
            ToolError: nobody is there.
            Stopped: the run was stopped.
        """
        if not self.interactive:
            return await NO_HOST.ask(question, options)
        await self.aside.begin(step)
        answer = self.waiting.wait(id_)
        self.emit(QuestionAsked(step, id_, sanitize(question), tuple(map(sanitize, options))))
        said = await unless_stopped(self.waiting.answer(answer), self.stop)
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
