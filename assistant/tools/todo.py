"""`todo`: the list of things to do, kept by the model and shown to the user."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from assistant.records import PlanItem
from assistant.safety.permissions import Access, Permission
from assistant.safety.sanitize import sanitize
from assistant.tools.base import Tool, ToolContext, ToolError, ToolResult

_MOST = 50
_LONGEST = 500
_MARKS = {"open": "[ ]", "doing": "[>]", "done": "[x]"}
_OTHER_WORDS = {
    "pending": "open",
    "todo": "open",
    "in_progress": "doing",
    "active": "doing",
    "completed": "done",
    "finished": "done",
}
"""States as other programs name them, which models have learned."""


def _state(value: Any) -> Any:
    word = value.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(value, str) else value
    return _OTHER_WORDS.get(word, word) if isinstance(word, str) else word


class Item(BaseModel):
    """One thing to do."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    text: str = Field(min_length=1)
    state: Annotated[Literal["open", "doing", "done"], BeforeValidator(_state)] = Field(
        "open", description="At most one is doing."
    )


def _items(value: Any) -> Any:
    """Models write a list as a string, or an item as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return [{"text": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


class Todo(Tool):
    """Keep a list."""

    name: ClassVar[str] = "todo"
    description: ClassVar[str] = (
        "Keep the list of things to do in a task of several steps. Send the whole list each time, in order; "
        "mark a thing done as soon as it is."
    )
    brief: ClassVar[str] = "List"
    compact: ClassVar[bool] = False

    items: Annotated[list[Item], BeforeValidator(_items)]

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        doing = sum(item.state == "doing" for item in self.items)
        if doing > 1:
            raise ToolError(f"{doing} things are marked doing; do one at a time and leave the others open.")
        if len(self.items) > _MOST:
            raise ToolError(f"A list has at most {_MOST} things; sum some of them up.")
        return self

    def title(self) -> str:
        """How far it is."""
        done = sum(item.state == "done" for item in self.items)
        return f"List of things to do: {done} of {len(self.items)} done"

    def permission(self, context: ToolContext) -> Permission:
        """Nothing is touched."""
        return Permission(Access.NONE, "todo")

    async def run(self, context: ToolContext) -> ToolResult:
        """The list as it was understood."""
        kept = [PlanItem(_line(item.text), item.state) for item in self.items]
        context.host.plan(kept)
        done = sum(item.state == "done" for item in kept)
        lines = [f"{_MARKS[item.state]} {item.text}" for item in kept] or ["The list is empty."]
        return ToolResult(True, f"{done} of {len(kept)} done", "\n".join(lines))


def _line(text: str) -> str:
    return " ".join(sanitize(text).split())[:_LONGEST]
