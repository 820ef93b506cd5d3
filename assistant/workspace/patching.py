"""What a patch makes of the files as they are now: all of it, or a refusal that says what to mend and what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from assistant.workspace.changes import FileChange, Planner, checked
from assistant.workspace.edit import EditPlan
from assistant.workspace.errors import ChangedError, EditError, WorkspaceError
from assistant.workspace.hunks import HunkError, apply_hunks
from assistant.workspace.patch import FilePatch, Hunk
from assistant.workspace.text import TextFile

_SHOWN = 3
"""Failures that are shown with the lines of the file; of the others only their place is named."""


def plan_patch(planner: Planner, files: Sequence[FilePatch]) -> tuple[FileChange, ...]:
    """The changes of all files. Raises `ChangedError` with a fresh text, `EditError` that names all that fails."""
    changes, failures, right = list[FileChange](), list[tuple[str, str]](), 0
    for file in files:
        try:
            changes += _plan(planner, file)
            right += len(file.hunks)
        except ChangedError:
            raise
        except HunkError as error:
            failures += [(f"Hunk {number} of {file.path}", why) for number, why in error.failures]
            right += error.right
        except WorkspaceError as error:
            failures.append((file.path, str(error)))
    paths = [change.path for change in changes]
    failures += [(path, "two names in the patch lead to it") for path in {p for p in paths if paths.count(p) > 1}]
    if failures:
        raise EditError(_refusal(failures, right))
    return tuple(changes)


def _plan(planner: Planner, file: FilePatch) -> Sequence[FileChange]:
    match file:
        case FilePatch(None, str(new), hunks):
            return [_made(planner, new, hunks)]
        case FilePatch(str(old), None, hunks):
            return [_deleted(planner, old, hunks)]
        case FilePatch(str(old), str(new), hunks) if old != new and _is_renaming(planner, old, new):
            return _renamed(planner, old, new, hunks)
        case _:
            return [_edited(planner, file.path, file.hunks)]


def _is_renaming(planner: Planner, old: str, new: str) -> bool:
    """Whether two names are meant as such; `diff` writes the name of a copy, like ``file.orig``, above the real one."""
    return planner.workspace.exists(old) or not planner.workspace.exists(new)


def _made(planner: Planner, path: str, hunks: Sequence[Hunk]) -> FileChange:
    if planner.workspace.exists(path):
        raise EditError(f"{path} exists already; write a patch that edits it, from --- a/{path}.")
    if any(hunk.old for hunk in hunks):
        raise EditError(f"{path} is new, so all of its lines begin with +.")
    return planner.write(path, apply_hunks("", _one(hunks)).new_text if hunks else "")


def _one(hunks: Sequence[Hunk]) -> tuple[Hunk]:
    """All lines of a new file as one hunk."""
    return (Hunk((), tuple(line for hunk in hunks for line in hunk.new), new_ended=hunks[-1].new_ended),)


def _deleted(planner: Planner, path: str, hunks: Sequence[Hunk]) -> FileChange:
    change = planner.delete(path)
    if hunks and change.before and _patched(planner, change.path, change.before, hunks).new_text:
        raise EditError(f"The patch deletes {path}, but not all of its lines; write them all, or use delete_file.")
    return change


def _edited(planner: Planner, path: str, hunks: Sequence[Hunk]) -> FileChange:
    planner.workspace.check_writable(path)
    before, name = planner.workspace.read(path), planner.workspace.relative(path)
    plan = _patched(planner, name, before, hunks)
    return checked(FileChange(name, before, plan.new_text, plan.note))


def _renamed(planner: Planner, old: str, new: str, hunks: Sequence[Hunk]) -> Sequence[FileChange]:
    planner.move(old, new)
    gone = planner.delete(old)
    assert gone.before is not None
    plan = _patched(planner, gone.path, gone.before, hunks) if hunks else EditPlan(gone.before.text)
    made = FileChange(planner.workspace.relative(new), None, plan.new_text, plan.note, form=gone.before)
    return [checked(made), gone]  # in this order: whatever breaks off between, the text is there


def _patched(planner: Planner, name: str, before: TextFile, hunks: Sequence[Hunk]) -> EditPlan:
    """The hunks done on a file as the model knows it."""
    wanted = "\n".join(hunks[0].old)
    planner.refuse_changed(name, before, wanted)
    plan = apply_hunks(before.text, [_in_form(hunk, before) for hunk in hunks])
    if not plan.exact and not planner.seen.knows(name):
        raise EditError(planner.unread(name, before, wanted))
    return plan


def _in_form(hunk: Hunk, file: TextFile) -> Hunk:
    """The hunk with the line endings that the text of the file has."""
    if file.newline != "\r\n":
        return hunk
    return replace(hunk, old=_without_returns(hunk.old), new=_without_returns(hunk.new))


def _without_returns(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.removesuffix("\r") for line in lines)


def _refusal(failures: Sequence[tuple[str, str]], right: int) -> str:
    shown = [f"{where}: {why}" for where, why in failures[:_SHOWN]]
    if more := failures[_SHOWN:]:
        shown.append(f"These do not fit either: {', '.join(where for where, _ in more)}.")
    rest = f" The other {right} hunks are right, do not change them." if right > 1 else ""
    rest = " The other hunk is right, do not change it." if right == 1 else rest
    said = "\n".join(shown)
    return f"The patch does not fit and nothing was written. Mend what follows and send all of it again.{rest}\n{said}"
