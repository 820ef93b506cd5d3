"""What the think policy remembers of a run: its steps, what was held or warned of, what a thought planned to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from assistant.draft import Draft
from assistant.records import StepRecord, Tokens
from assistant.think import READS, Situation, ThinkDecision
from assistant.workspace.files import Workspace
from model.format import Mode, Segment, ThinkRequest

_PATH = re.compile(r"[\w.\-]+(?:/[\w.\-]+)*\.\w+")
_MOST = 50
"""Files of a plan that are kept in mind; our choice."""


@dataclass(slots=True)
class Trail:
    """The past of the run in hand. `thought` counts the whole session's tokens of thinking; `budget` limits them."""

    workspace: Workspace
    budget: int | None = None
    thought: int = 0
    past: list[StepRecord] = field(default_factory=list)
    held: str = ""
    warning: str = ""
    planned: tuple[str, ...] = ()
    elsewhere: Tokens = field(default_factory=Tokens)
    """Tokens of the run's sub-agents."""

    def begin(self) -> None:
        """A new message of the user: nothing of the last run counts but its thinking."""
        self.past, self.held, self.warning, self.planned, self.elsewhere = [], "", "", (), Tokens()

    def spent_elsewhere(self, tokens: Tokens) -> None:
        """A sub-agent is over."""
        self.elsewhere += tokens
        self.thought += tokens.think

    def left(self, decision: ThinkDecision) -> int | None:
        """What is left of the session's budget for the thought of a step; None: no limit, or somebody overrules it."""
        overruled = decision.rule in ("user_words", "pinned") or self.budget is None or self.thought >= self.budget
        return None if overruled or self.budget is None else self.budget - self.thought

    def situation(self, words: str, pinned: ThinkRequest, step: int) -> Situation:
        """What the rules may look at before step `step` of the run."""
        return Situation(
            words, pinned, step, tuple(self.past), self.held, self.warning, self.planned, self.thought, self.budget
        )

    def passed(self, draft: Draft, record: StepRecord) -> None:
        """A step is over."""
        self.past.append(record)
        self.thought += max(record.tokens.think, draft.weights[Segment.THINK])  # at least what its budget counted
        self.held = draft.held
        self.planned = self._still_planned(draft)

    def _still_planned(self, draft: Draft) -> tuple[str, ...]:
        """Files that a thought named and nobody has read; a step that does more than look ends the plan."""
        if any(outcome.tool not in READS for outcome in draft.outcomes):
            return ()
        named = self._files_in(draft.reply.think) if draft.reply.mode is Mode.ON else self.planned
        read = {str(outcome.arguments.get("path", "")) for outcome in draft.outcomes}
        return tuple(path for path in named if path not in read)

    def _files_in(self, thought: str) -> Iterable[str]:
        named = dict.fromkeys(_PATH.findall(thought))
        root = self.workspace.root
        found = (path for path in named if os.path.isfile(root / path))  # noqa: PTH113 - this one never raises
        return [path for path, _ in zip(found, range(_MOST), strict=False)]
