"""The order of things, as a LangGraph StateGraph: compact where need be, decide, reply, then approve and act for each
call; and again.

The state holds ids and counters only; messages live in the journal and the transcript. `approve` stands alone before
any side effect and asks one question, because `interrupt` runs its node again from the top.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt

from assistant.draft import Draft
from assistant.ending import Ending, Limits
from assistant.events import Decision
from assistant.step import StepRunner
from model.format import ThinkRequest

CLOSED = -1
"""No call of the step is left."""
TOGETHER = -2
"""All calls of the step run at the same time."""
RECURSION_LIMIT = 1_000_000
"""Nodes of a run. LangGraph wants a bound; ours is the limit on steps."""


class RunState(TypedDict):
    """A run: the user's words, the pinned mode, the step's index, steps taken, the call in hand, and how it ended.

    Plain values only, which checkpoints keep as they are: `think` is a ThinkRequest's value, `status` a RunStatus's.
    """

    words: str
    think: str
    index: int
    step: int
    call: int
    status: str | None
    message: str


class Nodes:
    """The nodes. The draft of the step in hand lives here, not in the state; `ask` puts a question to the user.

    `draining` asks the run to end with the step in hand; it is `over` as soon as that is decided.
    """

    def __init__(self, runner: StepRunner, limits: Limits, ask: Callable[[Draft], Awaitable[bool]]) -> None:
        self._runner = runner
        self._limits = limits
        self._ask = ask
        self._ending = Ending(limits)
        self.draft: Draft | None = None
        self.draining = False
        self.over = True

    def begin(self) -> None:
        """A new run: its limits count from here."""
        self._ending = Ending(self._limits, self._runner.calling.clock)
        self.draining = self.over = False

    def left(self, steps: int) -> Limits:
        """What is left of the run's limits for a sub-agent that may take so many steps."""
        return self._ending.left(steps, self._runner.trail.elsewhere.written)

    async def compact(self, state: RunState) -> dict[str, Any]:
        """Make the conversation shorter before it no longer fits."""
        await self._runner.make_room()
        return {}

    def decide(self, state: RunState) -> dict[str, Any]:
        """Take in what the user said meanwhile, and choose the mode of the next step."""
        said = self._runner.steer()
        words = f"{state['words']}\n{said}" if said else state["words"]
        self.draft = self._runner.decide(state["index"], words, ThinkRequest(state["think"]), state["step"])
        return {"words": words, "status": None}

    async def reply(self, state: RunState) -> dict[str, Any]:
        """Ask the model; put the first call of its reply before the gate, or all that only look."""
        draft = self._current()
        await self._runner.reply(draft)
        if self._runner.calling.gate_together(draft):
            return {"call": TOGETHER}
        return await self._advance(state, 0)

    def approve(self, state: RunState) -> dict[str, Any]:
        """Stop for the call's approval."""
        planned = self._current().calls[-1]
        answer = interrupt(planned.id)
        self._runner.calling.decided(planned, Decision(answer["decision"]), answer["note"], "user")
        return {}

    async def act(self, state: RunState) -> dict[str, Any]:
        """Run the call; put the next before the gate."""
        draft = self._current()
        together = state["call"] == TOGETHER
        await self._runner.act(draft, together=together)
        return await self._advance(state, len(draft.calls) if together else state["call"] + 1)

    def start(self, _: RunState) -> str:
        """What a step begins with."""
        return "compact" if self._runner.crowded else "decide"

    def route(self, state: RunState) -> str:
        """What comes after a reply or a call."""
        if state["status"] is not None:
            return END
        if state["call"] == CLOSED:
            return self.start(state)
        if state["call"] == TOGETHER:
            return "act"
        return "approve" if self._current().calls[-1].asks else "act"

    async def _advance(self, state: RunState, call: int) -> dict[str, Any]:
        """Gate call number `call`, or close the step where there is none."""
        draft = self._current()
        if call < len(draft.reply.calls):
            self._runner.gate(draft, call)
            return {"call": call}
        await self._runner.finish(draft)
        more, elsewhere = bool(self._runner.steered), self._runner.trail.elsewhere.written
        status, message = self._ending.of(draft, more=more, draining=self.draining, elsewhere=elsewhere)
        if status is None and draft.fault:
            self._runner.repair(draft.fault)
        if status is None and draft.question and not await self._ask(draft):
            status, message = self._ending.given_up(draft)
        self.over = status is not None
        step = state["step"] + 1
        closed = {"index": state["index"] + 1, "step": step, "call": CLOSED}
        return {**closed, "status": status and status.value, "message": message}

    def _current(self) -> Draft:
        if self.draft is None:
            raise RuntimeError("no step was decided")
        return self.draft


def build(nodes: Nodes, saver: BaseCheckpointSaver[str]) -> CompiledStateGraph[RunState, None, RunState, RunState]:
    """The compiled graph. Its checkpoints serve interrupts; the journal serves everything else."""
    graph = StateGraph(RunState)
    graph.add_node("compact", nodes.compact)
    graph.add_node("decide", nodes.decide)
    graph.add_node("reply", nodes.reply)
    graph.add_node("approve", nodes.approve)
    graph.add_node("act", nodes.act)
    graph.add_conditional_edges(START, nodes.start, ["compact", "decide"])
    graph.add_edge("compact", "decide")
    graph.add_edge("decide", "reply")
    graph.add_conditional_edges("reply", nodes.route, ["compact", "decide", "approve", "act", END])
    graph.add_edge("approve", "act")
    graph.add_conditional_edges("act", nodes.route, ["compact", "decide", "approve", "act", END])
    return graph.compile(checkpointer=saver)
