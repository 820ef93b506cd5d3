"""Undo, redo and restore: what steps changed, kept as snapshots; what was restored, kept in the journal.

A step that changes something has a snapshot before and one behind it. Moving to another state touches only files that
the agent changed on the way, takes a snapshot first, and writes a record before and after, so that a restore that was
cut short is finished by doing it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.events import Action
from assistant.sessions import Journal
from assistant.workspace.edit import unified_diff
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.history import ROOT, History, Move, State
from assistant.workspace.paths import names_git
from assistant.workspace.restore import restore_files
from assistant.workspace.snapshots import Change, Entry, Snapshot, Snapshots
from assistant.workspace.text import is_binary


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do, to files that are `now` as they are in `tree`.

    `step` is the step undone, redone or restored to (negative: what the user wrote, and an undo overwrote). `disputed`
    names files that would lose what somebody else wrote since.
    """

    action: Action
    step: int
    move: Move
    tree: str
    now: Mapping[str, Entry | None]
    left_out: Mapping[str, str]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that change, sorted."""
        return tuple(sorted(self.move.wanted))

    @property
    def disputed(self) -> tuple[str, ...]:
        """Of these, the ones that would lose what somebody else wrote since, sorted."""
        return tuple(sorted(self.move.disputed))


@dataclass(frozen=True, slots=True)
class _Open:
    """A step that may be changing files: the tree it began with, and the paths, or None where they are not known."""

    tree: str
    paths: Collection[str] | None


class Undo:
    """The states of one session's repository. All methods block; they raise `WorkspaceError` or `UserError`."""

    def __init__(self, snapshots: Snapshots, journal: Journal, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._snapshots = snapshots
        self._journal = journal
        self._history = History()
        self._open: dict[int, _Open] = {}
        self._before: dict[int, str] = {}
        self._after: dict[int, str] = {}
        self._replay(records)

    def begin(self, step: int, paths: Collection[str] | None) -> Snapshot:
        """The files before a call of step `step` that changes `paths`, ignored by git or not; None: whatever it likes.

        Its intent, with the tree and the paths, belongs into the journal before the call runs.
        """
        self._settle(besides=step)
        snapshot = self._snapshots.take(paths or ())
        self._opened(step, snapshot.tree, paths)
        return snapshot

    def end(self, step: int) -> Snapshot | None:
        """The files after step `step`, if it may have changed some."""
        if (cut := self._open.get(step)) is None:
            self._history.passed(step)
            return None
        after = self._snapshots.take(cut.paths or ())
        self._open.pop(step)
        self._step(step, cut.tree, after.tree)
        return after

    def tree_before(self, step: int) -> str | None:
        """The tree that a step which changed something began with."""
        return self._before.get(step)

    def plan(self, action: Action, step: int = ROOT) -> Plan:
        """What undo, redo or the way to the state behind step `step` would do to the files as they are now."""
        self._settle()
        target, shown = self._target(action, step)
        snapshot = self._snapshots.take()
        now: dict[str, Entry | None] = {**self._snapshots.files(snapshot.tree)}
        move = self._history.move(target, now)
        return Plan(action, shown, move, snapshot.tree, now, snapshot.left_out)

    def lost(self, plan: Plan) -> str:
        """A patch of what would become of the disputed files."""
        return self._patch({path: (plan.now.get(path), plan.move.wanted[path]) for path in plan.disputed})

    def carry_out(self, plan: Plan) -> tuple[str, ...]:
        """Do it, and return the files. What is overwritten of the user's becomes a state that redo brings back."""
        for path in sorted(set(plan.left_out) & set(plan.files)):
            raise UserError(f"{path} is in no snapshot ({plan.left_out[path]}) and would be lost; move it away first")
        self._keep_theirs(plan)
        target = plan.move.target
        self._journal.append("restore", sync=True, action=plan.action, target=target, files=plan.files, tree=plan.tree)
        restore_files(self._snapshots.root, plan.move.wanted, plan.now, self._snapshots)
        self._journal.append("restored", sync=True, target=target)
        self._history.moved(target)
        return plan.files

    def diff(self, first: int | None = None, last: int | None = None) -> str:
        """The patch of step `first`; from behind it to behind step `last`; or of all that this session changed."""
        if first is None:
            return self._patch(self._since_beginning())
        if last is not None:
            return self._snapshots.diff(self._behind(first), self._behind(last))
        if first in self._after:
            return self._snapshots.diff(self._before[first], self._after[first])
        self._known(first)
        return ""

    def close(self) -> None:
        """Let go of what snapshots hold open, and of old ones."""
        with suppress(WorkspaceError, OSError):  # room is made another time
            self._snapshots.tidy()
        self._snapshots.close()

    def changed(self) -> list[str]:
        """The files that this session changed and that are not as they were before it, sorted."""
        return sorted(self._since_beginning())

    @property
    def steps(self) -> int:
        """The number of the last step, 0 where there is none."""
        return self._history.steps

    @property
    def root(self) -> Path:
        """The repository."""
        return self._snapshots.root

    def _since_beginning(self) -> dict[str, Change]:
        now: dict[str, Entry | None] = {**self._snapshots.files(self._snapshots.take().tree)}
        wanted = self._history.move(ROOT, now).wanted
        return {path: (entry, now.get(path)) for path, entry in wanted.items()}

    def _target(self, action: Action, step: int) -> tuple[int, int]:
        """The state to go to, and the step to name."""
        if action == "restore":
            return self._known(step), step
        if action == "undo" and (state := self._history.undone()):
            return state.parent, state.id
        if action == "redo" and (target := self._history.redo_target()) is not None:
            return target, target
        raise UserError(f"there is nothing to {action}")

    def _known(self, step: int) -> int:
        state = self._history.state_after(step)
        if state is None:
            raise UserError(f"there is no step {step}; this session has 0 (its beginning) to {self._history.steps}")
        return state

    def _behind(self, step: int) -> str:
        """The tree behind a step; where it changed nothing, that of the one before."""
        self._known(step)
        if earlier := [number for number in self._after if number <= step]:
            return self._after[max(earlier)]
        if self._before:
            return self._before[min(self._before)]
        raise UserError("no step of this session has changed a file")

    def _keep_theirs(self, plan: Plan) -> None:
        """Make a state of what the user wrote and this restore overwrites."""
        expected = plan.move.expected
        theirs = {path: (expected[path], plan.now.get(path)) for path in plan.disputed}
        theirs = {path: change for path, change in theirs.items() if change[0] != change[1]}
        if theirs:
            state = self._history.by_user(theirs)
            self._journal.append("user_edit", sync=True, id=state.id, changes=theirs, tree=plan.tree)
            self._history.add(state)

    def _opened(self, step: int, tree: str, paths: Collection[str] | None) -> None:
        known = self._open.get(step)
        both = paths if known is None or known.paths is None or paths is None else {*known.paths, *paths}
        self._open[step] = _Open(known.tree if known else tree, None if known and known.paths is None else both)

    def _settle(self, besides: int | None = None) -> None:
        """Close the steps that broke off: what they left is what the files are now."""
        for step in sorted(set(self._open) - {besides}):
            cut = self._open[step]
            after = self._snapshots.take(cut.paths or ()).tree
            paths = None if cut.paths is None else sorted(cut.paths)
            self._journal.append("recovered", sync=True, step=step, tree_before=cut.tree, tree_after=after, paths=paths)
            self._recovered(step, cut.tree, after, paths)

    def _recovered(self, step: int, before: str, after: str, paths: Collection[str] | None) -> None:
        self._open.pop(step, None)
        self._step(step, before, after, only=paths, certain=paths is not None)

    def _step(
        self, step: int, before: str, after: str, *, only: Collection[str] | None = None, certain: bool = True
    ) -> None:
        if before != after:
            found = self._snapshots.changes(before, after).items()
            changes = {path: change for path, change in found if _may_change(path) and (only is None or path in only)}
            self._before[step], self._after[step] = before, after
            self._history.add(State(step, self._history.position, changes, certain=certain))
        self._history.passed(step)

    def _replay(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            try:
                self._replay_one(record)
            except WorkspaceError:  # a snapshot that is no longer kept: undo reaches back to here
                self._history = History()
                if record["kind"] == "step":
                    self._history.passed(record["record"]["index"])

    def _replay_one(self, record: Mapping[str, Any]) -> None:
        match record["kind"]:
            case "intent" if record.get("tree"):
                self._opened(int(record["id"].partition(".")[0]), record["tree"], record["paths"])
            case "step":
                step = record["record"]
                self._open.pop(step["index"], None)
                before, after = step["tree_before"], step["tree_after"]
                self._step(step["index"], before or after or "", after or before or "")
            case "recovered":
                self._recovered(record["step"], record["tree_before"], record["tree_after"], record["paths"])
            case "user_edit":
                changes = {path: _change(change) for path, change in record["changes"].items()}
                self._history.add(State(record["id"], self._history.position, changes, by_user=True))
            case "restored":
                self._history.moved(record["target"])
            case _:
                pass

    def _patch(self, changes: Mapping[str, Change]) -> str:
        return "".join(self._file_patch(path, before, after) for path, (before, after) in sorted(changes.items()))

    def _file_patch(self, path: str, before: Entry | None, after: Entry | None) -> str:
        contents = [self._snapshots.content(entry) if entry else None for entry in (before, after)]
        if any(content is not None and is_binary(content) for content in contents):
            return f"diff --git a/{path} b/{path}\nBinary files differ\n"
        old, new = (None if content is None else content.decode("utf-8", "replace") for content in contents)
        return unified_diff(path, old, new)


def _may_change(path: str) -> bool:
    """Whether undo may touch it: never what a file system could take for a git directory."""
    return not names_git(path.split("/"))


def _change(pair: Iterable[Any]) -> Change:
    before, after = (Entry(*entry) if entry else None for entry in pair)
    return before, after
