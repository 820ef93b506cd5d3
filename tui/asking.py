"""What the user is asked, and where the keys go meanwhile."""

from __future__ import annotations

from assistant.events import ApprovalAsked, QuestionAsked
from tui.widgets.approval import ApprovalPanel
from tui.widgets.asking import AskingPanel
from tui.widgets.plan import PlanView
from tui.widgets.prompt import Prompt
from tui.widgets.question import QuestionPanel
from tui.widgets.status import Activity, StatusBar


class Asking:
    """Shows one panel at a time beside the prompt, and gives the focus back to the prompt."""

    def __init__(
        self, approval: ApprovalPanel, question: QuestionPanel, plan: PlanView, prompt: Prompt, status: StatusBar
    ) -> None:
        self._approval = approval
        self._question = question
        self._plan = plan
        self._prompt = prompt
        self._status = status
        self._before = Activity.WORKING

    @property
    def open(self) -> bool:
        """Whether anything is being asked."""
        return self._panel is not None

    @property
    def _panel(self) -> AskingPanel | None:
        """The panel that asks."""
        if self._approval.asked is not None:
            return self._approval
        return self._question if self._question.asked is not None else None

    def ask(self, asked: ApprovalAsked | QuestionAsked) -> None:
        """Ask; a prompt with text keeps the focus."""
        if isinstance(asked, ApprovalAsked):
            self._approval.ask(asked)
        else:
            self._question.ask(asked)
        self._plan.step_aside(aside=True)
        self.go_there(if_empty=True)
        if self._status.activity is not Activity.ASKING:
            self._before = self._status.activity
        self._status.activity = Activity.ASKING

    def answered(self, identity: str) -> None:
        """It was decided, here or elsewhere."""
        self._approval.drop(identity)
        self._question.drop(identity)
        self._leave()

    def end(self) -> None:
        """The run is over."""
        self._approval.drop_all()
        self._question.drop_all()
        self._leave()

    def go_there(self, *, if_empty: bool = False) -> bool:
        """Give the focus to what asks; False if nothing does."""
        if (panel := self._panel) is None:
            return False
        if not (if_empty and self._prompt.text):
            panel.focus()
        return True

    def halting(self, activity: Activity) -> None:
        """What runs is to end; a question stays one until it is answered."""
        self._before = activity
        if self._status.activity is not Activity.ASKING:
            self._status.activity = activity

    def _leave(self) -> None:
        if self._panel is not None:
            return
        self._plan.step_aside(aside=False)
        if self._status.activity is Activity.ASKING:
            self._status.activity = self._before
        asked = (self._approval, self._question)
        if any(panel.has_focus or panel.has_focus_within for panel in asked) or self._prompt.screen.focused is None:
            self._prompt.focus()
