"""Changes of one call, over one file or several: all checked first, then written, and taken back if one cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.workspace.edit import Edit, plan_edits, unified_diff
from assistant.workspace.elided import refuse_elided
from assistant.workspace.errors import ChangedError, EditError, WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.nearest import fresh
from assistant.workspace.seen import Seen
from assistant.workspace.syntax import broken_line
from assistant.workspace.text import TextFile, digest


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file before and after; None: there is none. `path` is relative, `note` says what the model should know.

    `form` is the file that a new one comes from, whose encoding and mode it keeps.
    """

    path: str
    before: TextFile | None
    after: str | None
    note: str = ""
    form: TextFile | None = None

    @property
    def diff(self) -> str:
        """The change as a patch."""
        return unified_diff(self.path, self.before.text if self.before else None, self.after)

    @property
    def data(self) -> bytes | None:
        """The bytes of the file afterwards."""
        return None if self.after is None else (self.before or self.form or TextFile("")).encode(self.after)


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans changes on the files as they are now. Refusals hold at most about `limit` characters of a file."""

    workspace: Workspace
    seen: Seen
    limit: int = 12_000

    def edit(self, path: str, edits: Sequence[Edit]) -> FileChange:
        """Raises `ChangedError` with the fresh text, `EditError`, `WorkspaceError`."""
        self.workspace.check_writable(path)
        before = self.workspace.read(path)
        name = self.workspace.relative(path)
        self.refuse_changed(name, before, edits[0].old if edits else "")
        plan = plan_edits(before.text, [_in_form(edit, before) for edit in edits])
        if not plan.exact and not self.seen.knows(name):
            raise EditError(self.unread(name, before, edits[0].old))
        return checked(FileChange(name, before, plan.new_text, plan.note))

    def write(self, path: str, content: str) -> FileChange:
        """All of a file. Raises `ChangedError` with the fresh text, `WorkspaceError`."""
        self.workspace.check_writable(path)
        name = self.workspace.relative(path)
        if not self.workspace.exists(path):
            return checked(FileChange(name, None, content))
        before = self.workspace.read(path)
        self.refuse_changed(name, before, "")
        refuse_elided(before.text, before.text, content)
        return checked(FileChange(name, before, _in_form(Edit("", content), before).new))

    def delete(self, path: str) -> FileChange:
        """A text file, deleted. Raises `ChangedError` with the fresh text, `WorkspaceError`."""
        self.workspace.check_named(path)
        self.workspace.check_writable(path)
        before, name = self.workspace.read(path), self.workspace.relative(path)
        self.refuse_changed(name, before, "")
        return FileChange(name, before, None)

    def move(self, path: str, new_path: str) -> str:
        """A stamp that another file, or another content, would not have. Raises `WorkspaceError` if it cannot move."""
        self.workspace.check_movable(path, new_path)
        return self.workspace.stamp(path)

    def refuse_changed(self, name: str, file: TextFile, wanted: str) -> None:
        """Raise `ChangedError` with the text as it is now, if the file is not as the model knows it."""
        if self.seen.knows(name) and not self.seen.is_current(name, file.digest or ""):
            self.seen.show(name, file.digest or "")
            said = f"{name} changed since you read it; nothing was done. Look again and call anew. It now reads"
            raise ChangedError(f"{said}:\n{fresh(file.text, wanted, self.limit)}")

    def unread(self, name: str, file: TextFile, wanted: str) -> str:
        """What is said where a file that was never read does not hold the text exactly; it is shown, so known then."""
        self.seen.show(name, file.digest or "")
        said = f"You have not read {name}, and the old text is not exactly in it; nothing was done. It reads"
        return f"{said}:\n{fresh(file.text, wanted, self.limit)}"


def apply_changes(workspace: Workspace, changes: Sequence[FileChange], seen: Seen) -> None:
    """Write all changes, none of them if one cannot be written; a file that changed since the plan is refused.

    Raises `WorkspaceError`; what was written before is taken back then, or named where even that fails.
    """
    for change in changes:
        _still_as_planned(workspace, change)
    done: list[FileChange] = []
    try:
        for change in changes:
            mode = change.form.mode if change.form else None
            workspace.put(change.path, change.data, mode, change.before.digest if change.before else None)
            done.append(change)
    except WorkspaceError as error:
        left = [change.path for change in reversed(done) if not _taken_back(workspace, change)]
        raise WorkspaceError(f"{error}{_left(left)}") from error
    for change in done:
        seen.wrote(change.path, None if change.data is None else digest(change.data))


def _still_as_planned(workspace: Workspace, change: FileChange) -> None:
    workspace.check_writable(change.path)
    there = digest(workspace.read_bytes(change.path)[0]) if workspace.exists(change.path) else None
    if there != (change.before.digest if change.before else None):
        raise ChangedError(f"{change.path} changed while the edit was planned; nothing was done, call anew.")


def _taken_back(workspace: Workspace, change: FileChange) -> bool:
    """Put a file back as it was, unless somebody has changed it since."""
    before = change.before
    old = None if before is None else before.encode(before.text)
    try:
        written = None if change.data is None else digest(change.data)
        workspace.put(change.path, old, before.mode if before else None, written)
    except WorkspaceError:
        return False
    return True


def _left(paths: Sequence[str]) -> str:
    return f" These files were changed already and could not be put back: {', '.join(paths)}." if paths else ""


def checked(change: FileChange) -> FileChange:
    """The change, once it can be encoded, with a warning where it breaks the syntax."""
    assert change.after is not None
    before = change.before.text if change.before else None
    _ = change.data
    line = broken_line(change.path, before, change.after)
    if line is None:
        return change
    warning = f"warning: the file no longer parses, the first error is at line {line}"
    if before is None:
        warning = f"warning: the file does not parse, the first error is at line {line}"
    note = "; ".join(filter(None, [change.note, warning]))
    return replace(change, note=note)


def _in_form(edit: Edit, file: TextFile) -> Edit:
    """The edit with the newlines that the text of the file has."""
    if file.newline != "\r\n":
        return edit
    return Edit(edit.old.replace("\r\n", "\n"), edit.new.replace("\r\n", "\n"), edit.all)
