"""`replace_symbol`: put another text in the place of one definition."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from assistant.tools.changing import ChangingTool, one_line
from assistant.workspace.changes import FileChange, Planner
from assistant.workspace.errors import EditError
from assistant.workspace.nearest import numbered
from assistant.workspace.symbols import one_definition, replaced
from assistant.workspace.tags import Definition, tags_of
from assistant.workspace.text import TextFile


class ReplaceSymbol(ChangingTool):
    """Replace a definition."""

    name: ClassVar[str] = "replace_symbol"
    description: ClassVar[str] = (
        "Replace a whole function, method or class of a file that was read, its decorators included. "
        "Comments above it stay. To change a few lines of it, use edit_file."
    )
    brief: ClassVar[str] = "Replace a definition"
    compact: ClassVar[bool] = False

    symbol: str = Field(description="Like function, Class or Class.method.")
    new: str = Field(description="The whole new definition.")
    line: int | None = Field(None, description="One of its lines, where several have the name.")

    def title(self) -> str:
        """What is replaced."""
        return f"Replace {one_line(self.symbol)} in {one_line(self.path)}"

    def plan(self, planner: Planner) -> FileChange:
        """The change, on the file as it is now and as the model knows it."""
        planner.workspace.check_writable(self.path)
        file, name = planner.workspace.read(self.path), planner.workspace.relative(self.path)
        definition = one_definition(tags_of(name, file.text).definitions, self.symbol, self.line, name)
        if not planner.seen.knows(name):
            raise EditError(_unread(planner, name, file, definition))
        planner.refuse_changed(name, file, definition.signature)
        text, note = replaced(file.text, definition, self.new)
        change = planner.write(self.path, text)
        return replace(change, note="; ".join(filter(None, [note, change.note])))


def _unread(planner: Planner, name: str, file: TextFile, definition: Definition) -> str:
    """The definition as it is, which the model knows from then on."""
    planner.seen.show(name, file.digest or "")
    lines = file.text.split("\n")[definition.first - 1 : definition.last]
    shown = numbered(lines, definition.first, planner.limit)
    return f"You have not read {name}; nothing was done. {definition.qualified} reads, look and call anew:\n{shown}"
