"""What an edit makes of a text: the new text in the one place that was meant, or a refusal that shows where to look."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.workspace.diffing import hunks_between, split
from assistant.workspace.elided import refuse_elided
from assistant.workspace.errors import EditError
from assistant.workspace.indent import indent_of, reindented, step_of
from assistant.workspace.matching import (
    Match,
    everywhere,
    exactly,
    nearly,
    newlines,
    renumbered,
    same_lines,
    without_numbers,
)
from assistant.workspace.nearest import nearest, region
from assistant.workspace.wording import as_in_file

__all__ = ["Edit", "EditError", "EditPlan", "plan_edit", "plan_edits", "renaming", "unified_diff"]

_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f\"\\\ud800-\udfff]*")
_OPENERS = (":", "{")
_CONTINUED = ("(", "[", ",", "\\")
_MARGIN = "The old text leaves out the white space before it; write whole lines, old and new, with it."
_JOINED = "Two lines would be joined, since only the old text begins or ends with a line break; write whole lines."


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `old` by `new`: where it stands once, or with `all` wherever it stands exactly."""

    old: str
    new: str
    all: bool = False


@dataclass(frozen=True, slots=True)
class EditPlan:
    """The text after an edit. `exact` where `old` stood there as it was; `note` says what was done otherwise."""

    new_text: str
    note: str = ""
    exact: bool = True


def plan_edit(text: str, old: str, new: str, *, all: bool = False) -> EditPlan:  # noqa: A002 - as the tool names it
    """Replace `old`, which must stand in `text` once (or often, with `all`), by `new`.

    Raises `EditError` that shows the nearest lines, or the lines of all matches.
    """
    return _plan(text, Edit(old, new, all), 0)


def _plan(text: str, edit: Edit, slack: int) -> EditPlan:
    """One edit; copied line numbers may be `slack` off, since earlier edits moved the lines."""
    old, new = edit.old, edit.new
    if "\r\n" not in text:
        old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not text.strip():
        raise EditError("The file is empty; write all of it instead.")
    if not old.strip():
        raise EditError("The old text is empty; copy the lines to replace from the file.")
    if old == new:
        raise EditError("The old and the new text are the same; nothing would change.")
    refuse_elided(text, old, new)
    if edit.all and len(places := everywhere(text, old)) > 1:
        return _everywhere(text, places, new)
    if found := exactly(text, old):
        shorn = old[0] in " \t" or (not new and old.endswith("\n"))
        inside = shorn and _margin(text, found.start)
        return _by_lines(text, newlines(old), newlines(new)) if inside else _exact(text, found, new)
    if found := nearly(text, old, slack):
        return _near(text, found, newlines(old), new)
    return _by_lines(text, newlines(old), newlines(new))


def plan_edits(text: str, edits: Sequence[Edit]) -> EditPlan:
    """All edits, one after the other, each on the text as those before it leave it.

    Raises `EditError` that says which one failed, and whether the others would have been done.
    """
    if len(edits) == 1:
        return _plan(text, edits[0], 0)
    done, failures, moved = EditPlan(text), list[tuple[int, EditError]](), 0
    for number, edit in enumerate(edits, 1):
        try:
            plan = _plan(done.new_text, edit, moved)
        except EditError as error:
            failures.append((number, error))
            continue
        moved += abs(plan.new_text.count("\n") - done.new_text.count("\n"))
        note = f"edit {number}: {plan.note}" if plan.note else ""
        done = EditPlan(plan.new_text, "; ".join(filter(None, [done.note, note])), done.exact and plan.exact)
    if failures:
        raise EditError(_failed(failures, len(edits)))
    return done


def unified_diff(path: str, before: str | None, after: str | None, modes: tuple[str, str] | None = None) -> str:
    """A patch that `git apply` takes; None stands for a file that is not there. Empty where nothing changes.

    `modes` are git's, before and after, where they differ.
    """
    if before == after and modes is None:
        return ""
    head = f"diff --git {quoted('a/' + path)} {quoted('b/' + path)}\n"
    if modes is not None:
        head += f"old mode {modes[0]}\nnew mode {modes[1]}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    old = quoted(f"a/{path}") if before is not None else os.devnull
    new = quoted(f"b/{path}") if after is not None else os.devnull
    hunks = hunks_between(before or "", after or "")
    return head + (f"--- {old}\n+++ {new}\n{hunks}" if hunks else "")


def renaming(path: str, new_path: str) -> str:
    """A patch that gives a file another name, as git writes it."""
    names = f"{quoted('a/' + path)} {quoted('b/' + new_path)}"
    return f"diff --git {names}\nsimilarity index 100%\nrename from {quoted(path)}\nrename to {quoted(new_path)}\n"


def quoted(path: str) -> str:
    """A path as git writes it in a patch: in quotes where it holds what could be taken for something else."""
    if _PLAIN_NAME.fullmatch(path):
        return path
    data = path.encode("utf-8", "surrogateescape" if _is_escaped(path) else "surrogatepass")
    return '"' + "".join(_octal(byte) for byte in data) + '"'


def _is_escaped(path: str) -> bool:
    return all("\udc80" <= char <= "\udcff" for char in path if "\ud800" <= char <= "\udfff")


def _octal(byte: int) -> str:
    char = chr(byte)
    if char in '"\\':
        return f"\\{char}"
    return char if 32 <= byte < 127 else f"\\{byte:03o}"


def _failed(failures: Sequence[tuple[int, EditError]], count: int) -> str:
    number, error = failures[0]
    others = ", ".join(str(n) for n, _ in failures[1:])
    rest = f"edits {others} failed too" if others else "the others matched"
    return f"Edit {number} of {count} failed and nothing was written ({rest}; send all of them again). {error}"


def _exact(text: str, found: Match, new: str) -> EditPlan:
    if margin := _left_out(text, found, new):
        return _under_margin(text, found, new, margin)
    return EditPlan(text[: found.start] + _piece(text, found, new) + text[found.end :])


def _everywhere(text: str, places: Sequence[Match], new: str) -> EditPlan:
    if any(_left_out(text, found, new) for found in places):
        raise EditError(_MARGIN)
    pieces, at = list[str](), 0
    for found in places:
        pieces += [text[at : found.start], _piece(text, found, new)]
        at = found.end
    return EditPlan("".join([*pieces, text[at:]]), f"{len(places)} places")


def _piece(text: str, found: Match, new: str) -> str:
    """`new` with the line endings of its place."""
    if "\r" in text and "\r" not in new and found.old.count("\n") == found.old.count("\r\n"):
        new = new.replace("\n", "\r\n" if "\n" in found.old else _ending(text, found.end))
    return _ended(text, found, new)


def _ended(text: str, found: Match, new: str) -> str:
    """`new`, which ends the last line of a file as the old text does. Raises `EditError` where it would join lines."""
    before = text[max(0, found.start - 1) : found.start]
    last = new[-1:] or before
    if new and found.old[0] == "\n" and new[0] not in "\r\n" and before not in ("", "\n"):
        raise EditError(_JOINED)
    if not found.old.endswith("\n") or last in ("", "\n"):
        return new
    if found.end < len(text):
        raise EditError(_JOINED)
    return new + _ending(text, found.end)


def _left_out(text: str, found: Match, new: str) -> str:
    """The white space before a line, if `found` leaves it out, or some of it, and `new` makes several lines of it.

    Raises `EditError` where `found` has other lines too, and `new` has one that seems to lack that white space as well.
    """
    margin = _margin(text, found.start)
    first, *rest = newlines(found.old).rstrip("\n").split("\n")
    below = newlines(new).rstrip("\n").split("\n")[1:]
    if not margin or not below or not rest:
        return margin if below else ""
    least = min((len(indent_of(line)) for line in rest if line.strip()), default=0)
    if any(line == first or len(indent_of(line)) < least for line in below if line.strip()):
        raise EditError(_MARGIN)
    return ""


def _margin(text: str, at: int) -> str:
    """The white space before a place, if there is nothing else before it in its line."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return "" if before.strip() else before


def _under_margin(text: str, found: Match, new: str, margin: str) -> EditPlan:
    """One line without its white space became several: was that of the others left out too? Both ways are tried."""
    if found.old[0] in " \t":
        raise EditError(_MARGIN)
    first, *rest = _ended(text, found, new).split("\n")
    step = step_of(text.split("\n"))
    literal = [line.rstrip("\r") for line in rest]
    shifted = [f"{margin}{line}" if line.strip() else line for line in literal]
    fitting = [lines for lines in (literal, shifted) if _follows(margin + first, lines, step)]
    if literal != shifted and len(fitting) != 1:
        raise EditError(_MARGIN)
    written = _ending(text, found.end).join([first.rstrip("\r"), *fitting[0]])
    note = "" if fitting[0] == literal else "the new lines were indented like the old one"
    return EditPlan(text[: found.start] + written + text[found.end :], note, exact=not note)


def _follows(first: str, lines: Sequence[str], step: str) -> bool:
    """Whether the next line may stand below `first`: deeper by one step behind an opener, else no deeper."""
    below = next((line for line in lines if line.strip()), first)
    indent, deep = indent_of(first), indent_of(below)
    end = first.rstrip()
    if end.endswith(_CONTINUED):
        return len(deep) >= len(indent)
    return deep == indent + step if end.endswith(_OPENERS) else indent.startswith(deep)


def _near(text: str, found: Match, old: str, new: str) -> EditPlan:
    new = renumbered("\n".join(_without_same_ends(old, newlines(new))[1]), found.numbers) if found.numbers else new
    real = text[found.start : found.end]
    written = as_in_file(found.old, new, real, _ending(text, found.end))
    if margin := _left_out(text, found, written):
        after = _under_margin(text, found, written, margin).new_text
    elif found.numbers and not new:
        after = text[: found.start] + text[found.end :].removeprefix(_ending(text, found.end))
    else:
        after = text[: found.start] + _piece(text, found, written) + text[found.end :]
    if after == text:
        raise EditError("The old and the new text differ only in what the file does not have; nothing would change.")
    where = _where(text.count("\n", 0, found.start), real.rstrip("\r\n").count("\n") + 1)
    what = "the line numbers were left out" if found.numbers else "quotes, dashes or line endings are the file's own"
    return EditPlan(after, f"{where} matched, {what}", exact=False)


def _ending(text: str, at: int) -> str:
    """The line ending of the line that holds character `at`, or of the line before where it has none."""
    if "\n" not in text:
        return "\r" if "\r" in text else "\n"
    end = text.find("\n", at)
    if end < 0:
        end = text.rfind("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _by_lines(text: str, old: str, new: str) -> EditPlan:
    lines, (wanted, new_lines) = split(text), _without_same_ends(old, new)
    start = same_lines(lines, wanted)
    if start is None:
        raise EditError(nearest(lines, wanted, _missing(old)))
    found = lines[start : start + len(wanted)]
    try:
        known = _indents(wanted, found)
        written = reindented(new_lines, known, step_of(lines)) if new_lines else []
    except EditError as error:
        raise EditError(region(lines, start, len(wanted), f"White space differs, and {error}")) from None
    body = _unchanged_kept(wanted, new_lines, written, found)
    after = "".join([*lines[:start], *body, *lines[start + len(wanted) :]])
    if after == text:
        raise EditError("The old and the new text differ only in white space, and the file is so already.")
    where = _where(start, len(found))
    return EditPlan(
        after, f"white space differed: {where} matched without it, and the new text was indented to fit", False
    )


def _unchanged_kept(wanted: Sequence[str], new: Sequence[str], written: list[str], found: Sequence[str]) -> list[str]:
    """The lines as written, but those that `new` has from `wanted` to the byte as in the file; the end as it was."""
    if not written:
        return []
    ending = "\r\n" if found[0].endswith("\r\n") else "\n"
    body = [line + ending for line in written]
    for at, there, size in difflib.SequenceMatcher(None, wanted, new, autojunk=False).get_matching_blocks():
        kept = (line if line.endswith("\n") else line + ending for line in found[at : at + size])
        body[there : there + size] = kept
    if not found[-1].endswith("\n"):
        body[-1] = body[-1].removesuffix("\n").removesuffix("\r")
    return body


def _indents(wanted: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """Each indentation of the old text and what it is in the file. Raises `EditError` where that is not one thing."""
    known: dict[str, str] = {}
    for line, real in zip(wanted, found, strict=True):
        if line.strip() and known.setdefault(indent_of(line), indent_of(real)) != indent_of(real):
            raise EditError("the indentation of the old text is not that of the file")
    return known


def _without_same_ends(old: str, new: str) -> tuple[list[str], list[str]]:
    """The lines of both, without the empty ones that both begin or end with."""
    wanted, written = old.split("\n"), new.split("\n") if new else []
    if not wanted[-1]:
        wanted.pop()
        written = written[:-1] if written and not written[-1] else written
    for end in (0, -1):
        while written and wanted[end] == written[end] == "":
            wanted.pop(end)
            written.pop(end)
    return wanted, written


def _missing(old: str) -> str:
    numbers = "; it holds line numbers, leave them out" if without_numbers(old) else ""
    return f"The old text is not in the file{numbers}"


def _where(start: int, count: int) -> str:
    return f"line {start + 1}" if count == 1 else f"lines {start + 1} to {start + count}"
