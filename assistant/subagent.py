"""Sub-agents: a run of its own with its own context, of which the run that asked reads only the summary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.context import Transcript, prompt_text
from assistant.errors import UserError
from assistant.events import ApprovalAsked, ApprovalGiven, CallStarted, Decision, Event, Notice, RunFinished, RunStatus
from assistant.hosting import Aside, CallHost
from assistant.loops import LoopWatch
from assistant.records import Tokens
from assistant.sessions import Journal
from assistant.step import StepRunner
from assistant.tools.base import Tool, ToolError, ToolResult
from assistant.tools.changing import one_line
from assistant.tools.registry import LOOKING
from assistant.trail import Trail
from assistant.workspace.seen import Seen
from model.budget import Steering
from model.format import ThinkRequest, ToolCall
from model.prompt import ToolSpec

if TYPE_CHECKING:
    from assistant.pilot import Pilot

STEPS = 25
"""Steps that a sub-agent may take; our choice."""
_ALONE = frozenset({"spawn", "ask_user", "todo", "finish"})
"""Tools that belong to the run that talks with the user."""


@dataclass(slots=True)
class SubAgents:
    """Starts the sub-agents of one session and passes on what they ask. `open_pilot` makes an agent of a runner.

    `waited` are the seconds in which those that are over waited for a person.
    """

    parent: StepRunner
    repository: Path
    open_pilot: Callable[[StepRunner, Aside], Pilot]
    running: dict[str, Pilot] = field(default_factory=dict)
    waited: float = 0.0

    async def spawn(self, host: CallHost, task: str, write: bool) -> ToolResult:
        """What a sub-agent makes of `task`. What it changes belongs to the call that started it.

        Raises:
            ToolError: it cannot be started.
        """
        runner = self._runner(host, write=write)
        agent = self.open_pilot(runner, Aside(self.parent.undo if write else None, host.step))
        self.running[host.id] = agent
        answer: list[str] = []
        end: RunFinished | None = None
        try:
            async for event in agent.run(task, ThinkRequest.AUTO):
                self._pass_on(host, event)
                end = event if isinstance(event, RunFinished) else end
            answer = [turn.message.content for turn in agent.turns if turn.kind == "reply"]
        finally:
            self.running.pop(host.id, None)
            await agent.leave()
            self._count(runner, agent)
        return _result(end, answer[-1] if answer else "")

    def decide(self, approval: str, decision: Decision, note: str) -> bool:
        """Pass on an answer to what a sub-agent asked; False if it was none of theirs."""
        call, slash, asked = approval.partition("/")
        if slash and (agent := self.running.get(call)) is not None:
            agent.decide(asked, decision, note)
        return bool(slash)

    def drain(self) -> None:
        """Have those that run stop when their step in hand is over."""
        for agent in self.running.values():
            agent.drain()

    def _count(self, runner: StepRunner, agent: Pilot) -> None:
        """What a sub-agent took, and was refused, the run did that asked for it."""
        self.waited += runner.calling.waited()
        self.parent.calling.refused += runner.calling.refused
        self.parent.trail.spent_elsewhere(sum((record.tokens for record in agent.records), Tokens()))

    def _runner(self, host: CallHost, *, write: bool) -> StepRunner:
        parent, known = self.parent, self.parent.calling
        specs = tuple(spec for spec in parent.specs if self._offers(spec, write=write))
        system = _system(self.repository.name, write=write)
        journal = self._journal(host, system, specs)
        calling = replace(
            known,
            read=_limited(known.read, [spec.name for spec in specs]),
            tools=replace(known.tools, seen=Seen()),
            journal=journal,
            undo=None,
            stop=asyncio.Event(),
            trail=Trail(known.trail.workspace, known.trail.budget, known.trail.thought),
            loops=LoopWatch(),
            refused=[],
        )
        return replace(
            parent,
            specs=specs,
            calling=calling,
            transcript=Transcript(system),
            compactor=parent.compactor.offering(specs),
            steered=[],
            steering=Steering(),
        )

    def _journal(self, host: CallHost, system: str, specs: Sequence[ToolSpec]) -> Journal:
        """A journal of its own, which names where it comes from, and begins with what its prompts begin with."""
        above = self.parent.journal
        try:
            origin = f"{above.session}/{host.id}"
            journal = Journal.create(
                above.path.parent, self.repository, self.parent.info, known=above.known, spawned_by=origin
            )
        except UserError as error:
            raise ToolError(str(error)) from error
        tools = [spec.name for spec in specs]
        journal.append("prompt", system=system, first=Transcript(system).first, profile="full", tools=tools)
        return journal

    def _offers(self, spec: ToolSpec, *, write: bool) -> bool:
        if spec.name in _ALONE:
            return False
        return write or spec.name in LOOKING

    def _pass_on(self, host: CallHost, event: Event) -> None:
        """What people see of it: its calls as lines, its questions as questions of the call that started it."""
        match event:
            case CallStarted():
                host.put_out(f"step {event.step}: {one_line(event.title)}\n")
            case ApprovalAsked():
                host.emit(replace(event, step=host.step, id=f"{host.id}/{event.id}"))
            case ApprovalGiven():
                host.emit(replace(event, step=host.step, id=f"{host.id}/{event.id}"))
            case Notice():
                host.emit(event)
            case _:
                pass


def _limited(read: Callable[[ToolCall], Tool], names: Sequence[str]) -> Callable[[ToolCall], Tool]:
    """Reads only calls of these tools: what is not offered is refused, too."""

    def limited(call: ToolCall) -> Tool:
        tool = read(call)
        if call.name not in names:
            raise ToolError(f"A sub-agent has no {call.name}; it has {', '.join(names)}.")
        return tool

    return limited


def _system(repository: str, *, write: bool) -> str:
    leave = "You may change files and run commands." if write else "You only read; you cannot change anything."
    return prompt_text("subagent").format(repository=repository, leave=leave)


def _result(end: RunFinished | None, answer: str) -> ToolResult:
    spent = f"{end.steps} steps" if end else "0 steps"
    if end is not None and end.status in (RunStatus.DONE, RunStatus.REFUSED) and answer:
        return ToolResult(True, spent, f"{answer}\n({end.message})" if end.status is RunStatus.REFUSED else answer)
    why = end.message if end else "it ended without a word"
    said = f"\nIts last words: {answer}" if answer else ""
    return ToolResult(False, f"not finished, {spent}", f"Error: the sub-agent did not finish ({why}){said}")
