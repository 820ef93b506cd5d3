"""The order of things, as a LangGraph StateGraph: decide, reply, then gate, approve, act for each call; and again.

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

RECURSION_LIMIT = 1_000_000
"""Nodes of a run. LangGraph wants a bound; ours is the limit on steps."""


class RunState(TypedDict):
    """A run: its message's words, the pinned mode, steps taken and allowed, calls done of the step, and how it ended.

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
        """Ask the model."""
        await self._runner.reply(self._current())
        return {"call": 0}

    def gate(self, state: RunState) -> dict[str, Any]:
        """Plan and judge the next call."""
        self._runner.gate(self._current(), state["call"])
        return {}

    def approve(self, state: RunState) -> dict[str, Any]:
        """Stop for the call's approval, if it needs somebody's leave."""
        planned = self._current().calls[-1]
        if planned.asks:
            answer = interrupt(planned.id)
            self._runner.decided(planned, Decision(answer["decision"]), answer["note"], "user")
        return {}

    async def act(self, state: RunState) -> dict[str, Any]:
        """Run the call."""
        await self._runner.act(self._current())
        return {"call": state["call"] + 1}

    def close(self, state: RunState) -> dict[str, Any]:
        """Record the step; say whether the run is over."""
        draft = self._current()
        self._runner.finish(draft)
        step = state["step"] + 1
        status, message = _outcome(draft, step >= state["limit"])
        return {"index": state["index"] + 1, "step": step, "status": status and status.value, "message": message}

    def more(self, state: RunState) -> str:
        """`gate` while the reply holds another call, then `close`."""
        return "gate" if state["call"] < len(self._current().reply.calls) else "close"

    def _current(self) -> Draft:
        if self.draft is None:
            raise RuntimeError("no step was decided")
        return self.draft


def build(nodes: Nodes, saver: BaseCheckpointSaver[str]) -> CompiledStateGraph[RunState, None, RunState, RunState]:
    """The compiled graph. Its checkpoints serve interrupts; the journal serves everything else."""
    graph = StateGraph(RunState)
    graph.add_node("decide", nodes.decide)
    graph.add_node("reply", nodes.reply)
    graph.add_node("gate", nodes.gate)
    graph.add_node("approve", nodes.approve)
    graph.add_node("act", nodes.act)
    graph.add_node("close", nodes.close)
    graph.add_edge(START, "decide")
    graph.add_edge("decide", "reply")
    graph.add_conditional_edges("reply", nodes.more, ["gate", "close"])
    graph.add_edge("gate", "approve")
    graph.add_edge("approve", "act")
    graph.add_conditional_edges("act", nodes.more, ["gate", "close"])
    graph.add_conditional_edges("close", _next, ["decide", END])
    return graph.compile(checkpointer=saver)


def _next(state: RunState) -> str:
    return "decide" if state["status"] is None else END


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
