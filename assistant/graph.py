"""The order of things, as a LangGraph StateGraph: decide, reply, then approve and act for each call; and again.

The state holds ids and counters only; messages live in the journal and the transcript. `approve` stands alone before
any side effect and asks one question, because `interrupt` runs its node again from the top.
"""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt

from assistant.events import Decision, RunStatus
from assistant.step import Draft, StepRunner
from model.format import ThinkRequest

CLOSED = -1
"""No call of the step is left."""
RECURSION_LIMIT = 1_000_000
"""Nodes of a run. LangGraph wants a bound; ours is the limit on steps."""


class RunState(TypedDict):
    """A run: its message's words, the pinned mode, steps taken and allowed, the call in hand, and how it ended.

    Plain values only, which checkpoints keep as they are: `think` is a ThinkRequest's value, `status` a RunStatus's.
    """

    words: str
    think: str
    index: int
    step: int
    limit: int
    call: int
    status: str | None
    message: str


class Nodes:
    """The nodes. The draft of the step in hand lives here, not in the state."""

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner
        self.draft: Draft | None = None

    def decide(self, state: RunState) -> dict[str, Any]:
        """Choose the mode of the next step."""
        self.draft = self._runner.decide(state["index"], state["words"], ThinkRequest(state["think"]), state["step"])
        return {"status": None}

    async def reply(self, state: RunState) -> dict[str, Any]:
        """Ask the model; put the first call of its reply before the gate."""
        await self._runner.reply(self._current())
        return await self._advance(state, 0)

    def approve(self, state: RunState) -> dict[str, Any]:
        """Stop for the call's approval."""
        planned = self._current().calls[-1]
        answer = interrupt(planned.id)
        self._runner.decided(planned, Decision(answer["decision"]), answer["note"], "user")
        return {}

    async def act(self, state: RunState) -> dict[str, Any]:
        """Run the call; put the next before the gate."""
        await self._runner.act(self._current())
        return await self._advance(state, state["call"] + 1)

    def route(self, state: RunState) -> str:
        """What comes after a reply or a call."""
        if state["status"] is not None:
            return END
        if state["call"] == CLOSED:
            return "decide"
        return "approve" if self._current().calls[-1].asks else "act"

    async def _advance(self, state: RunState, call: int) -> dict[str, Any]:
        """Gate call number `call`, or close the step where there is none."""
        draft = self._current()
        if call < len(draft.reply.calls):
            self._runner.gate(draft, call)
            return {"call": call}
        await self._runner.finish(draft)
        step = state["step"] + 1
        status, message = _outcome(draft, step >= state["limit"])
        return {
            "index": state["index"] + 1,
            "step": step,
            "call": CLOSED,
            "status": status and status.value,
            "message": message,
        }

    def _current(self) -> Draft:
        if self.draft is None:
            raise RuntimeError("no step was decided")
        return self.draft


def build(nodes: Nodes, saver: BaseCheckpointSaver[str]) -> CompiledStateGraph[RunState, None, RunState, RunState]:
    """The compiled graph. Its checkpoints serve interrupts; the journal serves everything else."""
    graph = StateGraph(RunState)
    graph.add_node("decide", nodes.decide)
    graph.add_node("reply", nodes.reply)
    graph.add_node("approve", nodes.approve)
    graph.add_node("act", nodes.act)
    graph.add_edge(START, "decide")
    graph.add_edge("decide", "reply")
    graph.add_conditional_edges("reply", nodes.route, ["decide", "approve", "act", END])
    graph.add_edge("approve", "act")
    graph.add_conditional_edges("act", nodes.route, ["decide", "approve", "act", END])
    return graph.compile(checkpointer=saver)


def _outcome(draft: Draft, at_limit: bool) -> tuple[RunStatus | None, str]:
    """Whether the run ends with this step, and what to say. None goes on."""
    if draft.cut == "stopped" or any(outcome.outcome == "stopped" for outcome in draft.outcomes):
        return RunStatus.STOPPED, "Stopped; what came is kept."
    if draft.cut is not None:
        return RunStatus.FAILED, f"The reply was cut: {draft.cut}."
    if draft.farewell is not None:
        return RunStatus.DONE, draft.farewell
    if not draft.calls:
        if draft.reply.answer:
            return RunStatus.DONE, ""
        return RunStatus.FAILED, "The model's reply held no answer; is --dialect right for this model?"
    if at_limit:
        return RunStatus.LIMIT, "The limit on steps is reached; say 'go on' to continue."
    return None, ""
