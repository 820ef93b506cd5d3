"""Where the hunks of a patch belong: by their lines, whatever their numbers say, and with the care of an edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from assistant.workspace.edit import EditPlan, plan_edit
from assistant.workspace.elided import refuse_elided
from assistant.workspace.errors import EditError
from assistant.workspace.nearest import ambiguous
from assistant.workspace.patch import Hunk

_PLACES = 1_000
"""Equal places that are counted."""


class HunkError(EditError):
    """Some hunks of a file do not fit: their numbers, from 1, and why; `right` is how many do."""

    def __init__(self, failures: Sequence[tuple[int, str]], right: int) -> None:
        super().__init__("; ".join(why for _, why in failures))
        self.failures = tuple(failures)
        self.right = right


def apply_hunks(text: str, hunks: Sequence[Hunk]) -> EditPlan:
    """The text with all hunks done, each on what those before it leave.

    A hunk stands where its lines are. Where they are in several places the number of its header must be that of one of
    them, moved as the hunks before it were. Raises `HunkError` with all that fail.
    """
    done, moved, failures = EditPlan(text), 0, list[tuple[int, str]]()
    for number, hunk in enumerate(hunks, 1):
        try:
            plan, moved = _apply(done.new_text, hunk, moved)
        except EditError as error:
            failures.append((number, str(error).replace("The old text", "Its old text")))
            continue
        note = f"hunk {number}: {plan.note}" if plan.note else ""
        done = EditPlan(plan.new_text, "; ".join(filter(None, [done.note, note])), done.exact and plan.exact)
    if failures:
        raise HunkError(failures, len(hunks) - len(failures))
    return done


def _apply(text: str, hunk: Hunk, moved: int) -> tuple[EditPlan, int]:
    """The text with one hunk done, and by how many lines those below it are moved now against the header's numbers."""
    if hunk.old == hunk.new and hunk.old_ended == hunk.new_ended:
        raise EditError("It changes nothing; leave it out.")
    grown = len(hunk.new) - len(hunk.old)
    lines = _lines(text)
    if not lines and not hunk.old:
        return EditPlan(_joined(hunk.new, hunk.new_ended)), moved + grown
    if not any(line.strip() for line in hunk.old):
        raise EditError("It has no lines of the file to find its place by; write some unchanged lines around it.")
    refuse_elided(text, "\n".join(hunk.old), "\n".join(hunk.new))
    at = _place(text, lines, hunk, moved)
    if at is None:
        return _loosely(text, hunk), moved + grown
    after = [*lines[:at], *hunk.new, *lines[at + len(hunk.old) :]]
    ended = _ended(text, hunk) if at + len(hunk.old) == len(lines) else not text or text.endswith("\n")
    offset = at - (hunk.start - 1) if hunk.start else moved
    return EditPlan(_joined(after, ended)), offset + grown


def _place(text: str, lines: Sequence[str], hunk: Hunk, moved: int) -> int | None:
    """Where the lines of a hunk stand. Raises `EditError` where that cannot be told of several places."""
    wanted = list(hunk.old)
    if not hunk.old_ended:
        last = len(lines) - len(wanted)
        return last if last >= 0 and lines[last:] == wanted else None
    places = list(islice(_standing(text, wanted), _PLACES))
    if len(places) < 2:
        return places[0] if places else None
    told = hunk.start - 1 + moved if hunk.start else -1
    if told < 0 or lines[told : told + len(wanted)] != wanted:
        raise EditError(ambiguous([at + 1 for at in places]))
    return told


def _loosely(text: str, hunk: Hunk) -> EditPlan:
    """The one place that an edit would find. Raises `EditError` that shows the nearest lines."""
    done = next(_standing(text, hunk.new), None) if any(line.strip() for line in hunk.new) else None
    if done is not None and hunk.new != hunk.old and len(hunk.new) >= len(hunk.old):
        raise EditError(f"It is done already: its new lines stand at line {done + 1}; leave it out.")
    return plan_edit(text, _joined(hunk.old, True), _joined(hunk.new, True))


def _standing(text: str, wanted: Sequence[str]) -> Iterator[int]:
    """Behind how many lines these stand, whole and exactly."""
    end = "" if text.endswith("\n") else "\n"
    whole, target = f"\n{text}{end}", f"\n{_joined(wanted, True)}"
    at, line, counted = whole.find(target), 0, 0
    while at >= 0:
        line, counted = line + whole.count("\n", counted, at), at
        yield line
        at = whole.find(target, at + 1)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _joined(lines: Sequence[str], ended: bool) -> str:
    return "\n".join(lines) + "\n" * (ended and bool(lines))


def _ended(text: str, hunk: Hunk) -> bool:
    """Whether the file ends with a line break once a hunk at its end is done."""
    if hunk.old_ended == hunk.new_ended:
        return text.endswith("\n")
    return hunk.new_ended
