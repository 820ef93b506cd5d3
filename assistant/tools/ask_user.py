"""`ask_user`: a question that only the user can answer."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolResult
from assistant.tools.changing import one_line

_MOST = 8
_LONGEST = 2_000


def _as_list(value: Any) -> Any:
    """Models write a list as a string."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return [value]


class AskUser(Tool):
    """Ask the user."""

    name: ClassVar[str] = "ask_user"
    description: ClassVar[str] = (
        "Ask the user what neither the repository nor the task can tell and what decides how to go on. "
        "Do not ask for leave: that is done for each call that needs it."
    )
    brief: ClassVar[str] = "Ask"
    compact: ClassVar[bool] = False

    question: str = Field(min_length=1)
    options: Annotated[list[str], BeforeValidator(_as_list)] = Field([], description="Answers to choose from, if any.")

    def title(self) -> str:
        """The question."""
        return f"Ask: {one_line(self.question[:_LONGEST])}"

    def permission(self, context: ToolContext) -> Permission:
        """Nothing is touched."""
        return Permission(Access.NONE, "ask_user")

    async def run(self, context: ToolContext) -> ToolResult:
        """The answer in the user's words."""
        options = [one_line(option[:_LONGEST]) for option in self.options[:_MOST]]
        answer = await context.host.ask(sanitize(self.question[:_LONGEST]), options)
        if not answer.strip():
            said = "The user did not answer; decide yourself, and say at the end what you took for granted."
            return ToolResult(True, "no answer", said)
        return ToolResult(True, "answered", f"The user answered: {answer}")
