"""What the agent's steps changed, as a tree of states one can move about in. Pure: nothing here touches a file.

A state is what a step left behind; it hangs from the state it began in. Undo goes to the parent of the nearest step,
redo back to the child that was left last; a step taken after an undo begins another branch, and none is ever lost.
What the user changed is no state of its own, unless undo was told to overwrite it: then it is one, and redo brings it
back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from assistant.workspace.snapshots import Change, Entry

ROOT = 0
"""The state before the first step."""


@dataclass(frozen=True, slots=True)
class State:
    """What step `id` left behind. `by_user` marks changes of the user that undo overwrote."""

    id: int
    parent: int
    changes: Mapping[str, Change]
    by_user: bool = False
    doubtful: frozenset[str] = frozenset()
    """Paths that others may have changed too: the step was cut short, or the user worked on them while it waited."""


@dataclass(frozen=True, slots=True)
class Move:
    """The way to another state: what files should be now, and what they must become.

    `disputed` are those that somebody else changed since, or on the way back.
    """

    target: int
    expected: Mapping[str, Entry | None]
    wanted: Mapping[str, Entry | None]
    disputed: frozenset[str]


@dataclass(slots=True)
class History:
    """All states, and the one that the files are in. `root` is the step that the earliest one kept is behind."""

    root: int = ROOT
    position: int = ROOT
    _after_step: dict[int, int] = field(default_factory=dict)
    _states: dict[int, State] = field(default_factory=dict)
    _left: dict[int, int] = field(default_factory=dict)
    """For each state, the child that undo left last."""

    def add(self, state: State) -> None:
        """A state that the files are in now."""
        self._states[state.id] = state
        self._left.pop(state.parent, None)
        self.position = state.id

    def passed(self, step: int) -> None:
        """A step is over, whether it changed something or not."""
        self._after_step[step] = self.position

    def state_after(self, step: int) -> int | None:
        """The state that step `step` ended in, or None if there was no such step."""
        return self.root if step == self.root else self._after_step.get(step)

    @property
    def steps(self) -> int:
        """The number of the last step."""
        return max(self._after_step, default=self.root)

    @property
    def paths(self) -> set[str]:
        """All files that some state changed."""
        return {path for state in self._states.values() for path in state.changes}

    def knows(self, state: int) -> bool:
        """Whether there is such a state."""
        return state == self.root or state in self._states

    def undone(self) -> State | None:
        """What undo takes back: the nearest step of the agent's that changed something."""
        at = self.position
        while at != self.root and self._states[at].by_user:
            at = self._states[at].parent
        return None if at == self.root else self._states[at]

    def by_user(self, changes: Mapping[str, Change]) -> State:
        """A state, not yet added, of what the user changed here."""
        return State(min((*self._states, ROOT)) - 1, self.position, changes, by_user=True)

    def redo_target(self) -> int | None:
        """Where redo leads."""
        return self._left.get(self.position)

    def move(self, target: int, now: Mapping[str, Entry | None]) -> Move:
        """The way to `target` from the files as they are `now`; a file that is missing there does not exist."""
        chains: dict[str, list[Change]] = {}
        disputed: set[str] = set()
        for state, forward in self._way(target):
            for path, (before, after) in state.changes.items():
                chains.setdefault(path, []).append((before, after) if forward else (after, before))
            if not forward:
                disputed |= set(state.changes) if state.by_user else state.doubtful
        wanted = {path: chain[-1][1] for path, chain in chains.items() if chain[-1][1] != now.get(path)}
        disputed |= {path for path in wanted if not _continuous(now.get(path), chains[path])}
        expected = {path: chains[path][0][0] for path in wanted}
        return Move(target, expected, wanted, frozenset(disputed & set(wanted)))

    def moved(self, target: int) -> None:
        """The files are in another state now."""
        for state, forward in self._way(target):
            if forward:
                self._left.pop(state.parent, None)
            else:
                self._left[state.parent] = state.id
        self.position = target

    def _way(self, target: int) -> list[tuple[State, bool]]:
        """The states to pass through: backward ones from here to the common ancestor, then forward ones."""
        here, there = self._line(self.position), self._line(target)
        shared = set(here) & set(there)
        back = [(self._states[at], False) for at in here if at not in shared]
        forth = [(self._states[at], True) for at in reversed(there) if at not in shared]
        return back + forth

    def _line(self, at: int) -> list[int]:
        """A state and all it came from, without the root."""
        found = []
        while at != self.root:
            found.append(at)
            at = self._states[at].parent
        return found


def _continuous(now: Entry | None, chain: Iterable[Change]) -> bool:
    """Whether each change begins with what the one before it left."""
    at = now
    for before, after in chain:
        if before != at:
            return False
        at = after
    return True
