"""One session of an editor: a message at a time, and what has to be asked meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Protocol

from acp import RequestError
from acp.helpers import text_block, tool_content
from acp.schema import (
    AllowedOutcome,
    PermissionOption,
    PromptResponse,
    RequestPermissionResponse,
    StopReason,
    ToolCallUpdate,
)

from assistant.agent import Agent
from assistant.events import ApprovalAsked, Decision, Event, QuestionAsked, RunFinished, RunStatus, UserSaid
from assistant.protocols.acp.updates import Translator, Update, usage_of
from assistant.safety.sanitize import sanitize
from model.format import ThinkRequest

_STOPS: dict[RunStatus, StopReason] = {
    RunStatus.DONE: "end_turn",
    RunStatus.REFUSED: "end_turn",
    RunStatus.STOPPED: "cancelled",
    RunStatus.LIMIT: "max_turn_requests",
}
_INTERNAL = -32603


class Editor(Protocol):
    """What of an editor a session speaks to."""

    async def session_update(self, session_id: str, update: Update) -> None:
        """Show something."""

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption]
    ) -> RequestPermissionResponse:
        """Ask the user to choose."""


class Conversation:
    """An agent as one session of an editor."""

    def __init__(self, agent: Agent, root: Path, think: ThinkRequest, editor: Editor) -> None:
        self.agent = agent
        self.root = root
        self.think = think
        self._editor = editor
        self._translator = Translator(root, agent.engine.context)
        self._asking: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._turns: set[asyncio.Task[PromptResponse]] = set()
        self._turn: asyncio.Task[PromptResponse] | None = None
        self._steerable = False
        self._unread: list[str] = []
        self._stops = 0

    async def prompt(self, text: str, words: str) -> PromptResponse:
        """Answer a message, of which the user wrote `words`. One that comes while another is answered steers it.

        Raises:
            RequestError: the run failed; the message says why.
        """
        if self._turn is None or not self._steerable or not self.agent.steer(text):
            return await self._play(self.agent.run(text, self.think, words), steerable=True)
        self._unread.append(text)
        stops = self._stops
        ended = await asyncio.shield(self._turn)
        if text not in self._unread or stops != self._stops:
            return ended
        self._unread.remove(text)  # it came too late for the run, and is a message of its own
        return await self._play(self.agent.run(text, self.think, words), steerable=True)

    async def command(self, events: AsyncIterator[Event]) -> PromptResponse:
        """Do what a command says, behind what runs."""
        return await self._play(events, steerable=False)

    async def _play(self, events: AsyncIterator[Event], *, steerable: bool) -> PromptResponse:
        """Show events in their turn, even if the editor no longer waits for the end of it."""
        turn = asyncio.ensure_future(self._shown(events, self._stops, steerable=steerable))
        self._turns.add(turn)
        turn.add_done_callback(self._over)
        return await asyncio.shield(turn)

    def _over(self, turn: asyncio.Task[PromptResponse]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # an editor that has gone asks no more

    async def _shown(self, events: AsyncIterator[Event], stops: int, *, steerable: bool) -> PromptResponse:
        async with self._one_at_a_time:
            if stops != self._stops:
                return PromptResponse(stop_reason="cancelled")
            self._turn, self._steerable = asyncio.current_task(), steerable
            try:
                return await self.show(events)
            finally:
                self._turn, self._steerable = None, False

    async def show(self, events: AsyncIterator[Event]) -> PromptResponse:
        """Show events to their end, and ask what is asked. Raises RequestError where a run failed."""
        finished: RunFinished | None = None
        try:
            async for event in events:
                match event:
                    case UserSaid():  # the editor has it on its screen
                        self._read(event.text)
                        continue
                    case ApprovalAsked():
                        self._ask(self._approve(event))
                    case QuestionAsked():
                        self._ask(self._answer(event))
                    case RunFinished():
                        finished = event
                await self.tell(event)
        finally:
            for task in self._asking:
                task.cancel()
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        return _ended(finished) if finished else PromptResponse(stop_reason="end_turn")

    def _read(self, text: str) -> None:
        if text in self._unread:
            self._unread.remove(text)

    async def tell(self, event: Event) -> None:
        """Show an event."""
        for update in self._translator.updates(event):
            await self.update(update)

    async def update(self, update: Update) -> None:
        """Show something that is no event."""
        await self._editor.session_update(self.agent.session, update)

    def stop(self) -> None:
        """Stop what runs; what waits behind it is not begun."""
        self._stops += 1
        self._unread.clear()
        self.agent.stop()

    async def aclose(self) -> None:
        """Stop what runs, and end the session."""
        self.stop()
        if self._turns:
            await asyncio.wait(self._turns)
        await self.agent.aclose()

    def _ask(self, asking: Coroutine[Any, Any, None]) -> None:
        """Ask beside the events: a run can be stopped while a question is open."""
        task = asyncio.ensure_future(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _approve(self, event: ApprovalAsked) -> None:
        decision = Decision.NO
        try:
            chosen = await self._choice(self._translator.asked(event), _options(event))
            decision = Decision(chosen) if chosen in list(Decision) else Decision.NO
        finally:
            self.agent.decide(event.id, decision)

    async def _answer(self, event: QuestionAsked) -> None:
        """A question with proposals is asked like a permission; one without is given up: editors ask nothing else."""
        answer = ""
        try:
            shown = tool_content(text_block(sanitize(event.question)))
            call = ToolCallUpdate(tool_call_id=event.id, title=sanitize(event.question), kind="other", content=[shown])
            options = [
                PermissionOption(option_id=str(number), name=sanitize(option), kind="allow_once")
                for number, option in enumerate(event.options)
            ]
            chosen = await self._choice(call, [*options, _NOTHING]) if options else ""
            answer = dict(zip(map(str, range(len(event.options))), event.options, strict=True)).get(chosen, "")
        finally:
            self.agent.answer(event.id, answer)

    async def _choice(self, call: ToolCallUpdate, options: list[PermissionOption]) -> str:
        """The option that the user chose, empty where he chose none or the editor cannot ask."""
        try:
            response = await self._editor.request_permission(self.agent.session, call, options)
        except (RequestError, ConnectionError):
            return ""
        outcome = response.outcome
        return outcome.option_id if isinstance(outcome, AllowedOutcome) else ""


_NOTHING = PermissionOption(option_id="none", name="No answer", kind="reject_once")


def _options(event: ApprovalAsked) -> list[PermissionOption]:
    options = [
        PermissionOption(option_id=Decision.ONCE, name="Allow once", kind="allow_once"),
        PermissionOption(option_id=Decision.SESSION, name="Allow for this session", kind="allow_always"),
    ]
    if event.always:
        name = f"Always allow in this repository: {sanitize(event.always)}"
        options.append(PermissionOption(option_id=Decision.ALWAYS, name=name, kind="allow_always"))
    return [*options, PermissionOption(option_id=Decision.NO, name="No", kind="reject_once")]


def _ended(event: RunFinished) -> PromptResponse:
    if event.status not in _STOPS:
        raise RequestError(_INTERNAL, sanitize(event.message), {"status": event.status.value})
    return PromptResponse(stop_reason=_STOPS[event.status], usage=usage_of(event.tokens))
