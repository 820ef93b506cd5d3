"""One line of a file written anew: the change that it makes, if it makes one that compiles."""

from __future__ import annotations

import ast
import hashlib
import warnings
from dataclasses import dataclass, replace

from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.counting import file_state
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.syntax import broken_line
from assistant.workspace.text import TextFile
from model.line import LineEdit

_PYTHON = (".py", ".pyi")


@dataclass(frozen=True, slots=True)
class Written:
    """A change of one line; `meaning` is equal where two mean the same, as far as can be told."""

    changes: Changes
    meaning: str


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A file, of which one line at a time can be written anew."""

    path: str
    state: FileState
    text: TextFile
    lines: tuple[str, ...]
    meaning: str

    def with_line(self, edit: LineEdit) -> Written | None:
        """What an edit makes of the file; None if nothing, or nothing that compiles, or there is no such line.

        Indentation stays as it is, and so do encoding, byte order mark and the ends of lines.
        """
        if not 0 < edit.number <= len(self.lines) or not edit.text.strip():
            return None
        text = self._text(edit)
        meaning = _meaning(self.path, text)
        if meaning == self.meaning or (meaning == "" and self.meaning) or self._broken(text):
            return None
        try:
            new = replace(self.state, content=self.text.encode(text))
        except WorkspaceError:
            return None
        return Written(Changes.of([Change(self.path, self.state, new)]), meaning or _digest(text))

    def _text(self, edit: LineEdit) -> str:
        old = self.lines[edit.number - 1]
        indentation = old[: len(old) - len(old.lstrip())]
        end = "\r" if old.endswith("\r") else ""
        new = (*self.lines[: edit.number - 1], f"{indentation}{edit.text.strip()}{end}", *self.lines[edit.number :])
        return "\n".join(new)

    def _broken(self, text: str) -> bool:
        return not self.path.endswith(_PYTHON) and broken_line(self.path, self.text.text, text) is not None


def rewriting(workspace: Workspace, path: str) -> Rewriting | None:
    """The file at `path`; None where it cannot be read as text."""
    try:
        state, text = file_state(workspace.root, path), workspace.read(path)
    except (WorkspaceError, OSError):
        return None
    if state is None or state.mode == "120000":
        return None
    return Rewriting(path, state, text, tuple(text.text.split("\n")), _meaning(path, text.text))


def _meaning(path: str, text: str) -> str:
    """What a text means: Python by its syntax tree, and the empty string if it has none; else all but white space."""
    if not path.endswith(_PYTHON):
        return _digest("".join(text.split()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, path, "exec", dont_inherit=True)
            return _digest(ast.dump(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
