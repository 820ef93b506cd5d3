"""Undo, redo and restore: what steps changed, kept as snapshots; what was restored, kept in the journal.

A step that changes something has a snapshot before and one behind it. Moving to another state touches only files that
the agent changed on the way, takes a snapshot first, and writes a record before and after, so that a restore that was
cut short is finished by doing it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
class _Span:
    """Time in which a call may be changing files: these paths, or None where they are not known."""

    before: Snapshot
    paths: Collection[str] | None


@dataclass(slots=True)
class _Open:
    """A step that is not over: what is between its spans, the user did."""

    before: str
    current: _Span | None = None
    over: list[tuple[_Span, str]] = field(default_factory=list)

    def close(self, tree: str) -> None:
        """End the current span."""
        if self.current is not None:
            self.over.append((self.current, tree))
        self.current = None

    @property
    def paths(self) -> set[str]:
        """The paths that are known by name."""
        spans = [span for span, _ in self.over] + ([self.current] if self.current else [])
        return {path for span in spans for path in span.paths or ()}


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
        self._opened(step, snapshot, paths)
        return snapshot

    def pause(self, step: int) -> None:
        """The step waits for an answer: what changes from here to its next call is the user's work."""
        cut = self._open.get(step)
        if cut is None or cut.current is None or cut.current.paths is not None:
            return
        with suppress(WorkspaceError, OSError):  # then it counts as the step's
            cut.close(self._snapshots.take(cut.paths).tree)

    def end(self, step: int) -> Snapshot | None:
        """The files after step `step`, if it may have changed some."""
        if (cut := self._open.get(step)) is None:
            self._history.passed(step)
            return None
        after = self._snapshots.take(cut.paths)
        cut.close(after.tree)
        self._keep(step, cut, after.tree)
        return after

    def plan(self, action: Action, step: int = ROOT) -> Plan:
        """What undo, redo or the way to the state behind step `step` would do to the files as they are now."""
        self._settle()
        target, shown = self._target(action, step)
        snapshot, now = self._now()
        move = self._history.move(target, now)
        return Plan(action, shown, move, snapshot.tree, now, snapshot.left_out)

    def lost(self, plan: Plan) -> str:
        """A patch of what would become of the disputed files."""
        return self._patch({path: (plan.now.get(path), plan.move.wanted[path]) for path in plan.disputed})

    def carry_out(self, plan: Plan) -> tuple[str, ...]:
        """Do it, and return the files. What is overwritten of the user's becomes a state that redo brings back."""
        for path, why in sorted(plan.left_out.items()):
            if any(file == path or (path.endswith("/") and file.startswith(path)) for file in plan.files):
                raise UserError(f"{path} is in no snapshot ({why}) and would be lost; move it away first")
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

    def not_kept(self) -> dict[str, str]:
        """What is in no snapshot, with the reason in a few words; ignored folders in one piece."""
        ignored = dict.fromkeys(self._snapshots.ignored(), "ignored by git")
        return ignored | self._snapshots.take().left_out

    def changed(self) -> list[str]:
        """The files that this session changed and that are not as they were before it, sorted."""
        return sorted(self._since_beginning())

    @property
    def steps(self) -> int:
        """The number of the last step, 0 where there is none."""
        return self._history.steps

    @property
    def snapshots(self) -> Snapshots:
        """Where they are kept."""
        return self._snapshots

    @property
    def root(self) -> Path:
        """The repository."""
        return self._snapshots.root

    def _since_beginning(self) -> dict[str, Change]:
        _, now = self._now()
        wanted = self._history.move(self._history.root, now).wanted
        return {path: (entry, now.get(path)) for path, entry in wanted.items()}

    def _now(self) -> tuple[Snapshot, dict[str, Entry | None]]:
        """The files as they are, those that steps changed among them even if git ignores them."""
        snapshot = self._snapshots.take(self._history.paths)
        return snapshot, {**self._snapshots.files(snapshot.tree)}

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
            first = f"{self._history.root} (its beginning)" if self._history.root == ROOT else f"{self._history.root}"
            kept = "this session has" if self._history.root == ROOT else "of this session are still kept"
            raise UserError(f"there is no step {step}; {kept} {first} to {self._history.steps}")
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

    def _opened(self, step: int, before: Snapshot, paths: Collection[str] | None) -> None:
        cut = self._open.setdefault(step, _Open(before.tree))
        cut.close(before.tree)
        cut.current = _Span(before, paths)

    def _settle(self, besides: int | None = None) -> None:
        """Close the steps that broke off: what they left is what the files are now."""
        for step in sorted(set(self._open) - {besides}):
            cut = self._open[step]
            if not self._snapshots.keeps(cut.before):
                self._open.pop(step)
                continue
            after = self._snapshots.take(cut.paths).tree
            cut.close(after)
            self._keep(step, cut, after, broken_off=True)

    def _keep(self, step: int, cut: _Open, after: str, *, broken_off: bool = False) -> None:
        """Make a state of what a step changed. Where it broke off, others may have gone on with any of the files."""
        changes, doubtful = self._made(cut)
        trees = {"tree_before": cut.before, "tree_after": after}
        doubts = sorted(changes if broken_off else doubtful)
        self._journal.append("changed", sync=broken_off, step=step, **trees, changes=changes, doubtful=doubts)
        self._changed(step, cut.before, after, changes, doubts)

    def _made(self, cut: _Open) -> tuple[dict[str, Change], set[str]]:
        """What the spans of a step changed together, and the files that somebody else changed in between."""
        changes: dict[str, Change] = {}
        doubtful = set()
        for span, tree in cut.over:
            for path, (old, new) in self._made_in(span, tree, cut.paths).items():
                before, left = changes.get(path, (old, old))
                if left != old:
                    doubtful.add(path)
                changes[path] = (before, new)
        return {path: change for path, change in changes.items() if change[0] != change[1]}, doubtful

    def _made_in(self, span: _Span, tree: str, named: Collection[str]) -> dict[str, Change]:
        found = self._snapshots.changes(span.before.tree, tree)
        if span.paths is not None:
            return {path: found[path] for path in span.paths if path in found and _may_change(path)}
        hidden = self._snapshots.hidden(span.before, found, named)
        return {path: change for path, change in found.items() if path not in hidden and _may_change(path)}

    def _changed(
        self, step: int, before: str, after: str, changes: Mapping[str, Change], doubtful: Iterable[str]
    ) -> None:
        self._open.pop(step, None)
        if before != after:
            self._before[step], self._after[step] = before, after
        if changes:
            self._history.add(State(step, self._history.position, changes, doubtful=frozenset(doubtful)))
        self._history.passed(step)

    def _replay(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            try:
                self._replay_one(record)
            except WorkspaceError:  # a snapshot that is no longer kept: undo reaches back to here
                root = record["step"] if record["kind"] == "changed" else self._history.steps
                self._open.pop(root, None)
                self._history = History(root, root)

    def _replay_one(self, record: Mapping[str, Any]) -> None:
        match record["kind"]:
            case "intent" if record.get("tree"):
                self._opened(int(record["id"].partition(".")[0]), Snapshot(record["tree"]), record["paths"])
            case "changed":
                before, after = record["tree_before"], record["tree_after"]
                self._still_kept(before, after)
                self._changed(record["step"], before, after, _changes(record), record["doubtful"])
            case "step":
                self._open.pop(record["record"]["index"], None)
                self._history.passed(record["record"]["index"])
            case "user_edit":
                self._still_kept(record["tree"])
                self._history.add(State(record["id"], self._history.position, _changes(record), by_user=True))
            case "restored":
                if not self._history.knows(record["target"]):
                    raise WorkspaceError("The state that was restored is no longer kept.")
                self._history.moved(record["target"])
            case _:
                pass

    def _still_kept(self, *trees: str) -> None:
        for tree in trees:
            if not self._snapshots.keeps(tree):
                raise WorkspaceError("A snapshot of this session is no longer kept.")

    def _patch(self, changes: Mapping[str, Change]) -> str:
        return "".join(self._file_patch(path, before, after) for path, (before, after) in sorted(changes.items()))

    def _file_patch(self, path: str, before: Entry | None, after: Entry | None) -> str:
        contents = [self._snapshots.content(entry) if entry else None for entry in (before, after)]
        if any(content is not None and is_binary(content) for content in contents):
            return f"diff --git a/{path} b/{path}\nBinary files differ\n"
        old, new = (None if content is None else content.decode("utf-8", "replace") for content in contents)
        return unified_diff(path, old, new, _modes(before, after))


def _modes(before: Entry | None, after: Entry | None) -> tuple[str, str] | None:
    """The permissions of a file that are not the same any more."""
    if before is None or after is None or before.mode == after.mode or "120000" in (before.mode, after.mode):
        return None
    return before.mode, after.mode


def _may_change(path: str) -> bool:
    """Whether undo may touch it: never what a file system could take for a git directory."""
    return not names_git(path.split("/"))


def _changes(record: Mapping[str, Any]) -> dict[str, Change]:
    return {path: (_entry(before), _entry(after)) for path, (before, after) in record["changes"].items()}


def _entry(fields: Iterable[str] | None) -> Entry | None:
    return Entry(*fields) if fields else None
