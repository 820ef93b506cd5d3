"""What an edit makes of a text: the new text in the one place that was meant, or a refusal that shows where to look."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.workspace.elided import refuse_elided
from assistant.workspace.errors import EditError
from assistant.workspace.indent import indent_of, reindented, step_of
from assistant.workspace.matching import Match, exactly, nearly, newlines, renumbered, same_lines, without_numbers
from assistant.workspace.nearest import nearest, region
from assistant.workspace.wording import as_in_file

__all__ = ["Edit", "EditError", "EditPlan", "plan_edit", "plan_edits", "renaming", "unified_diff"]

_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f\"\\\ud800-\udfff]*")
_OPENERS = (":", "{")
_CONTINUED = ("(", "[", ",", "\\")


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
    if not old.strip():
        raise EditError("The old text is empty; copy the lines to replace from the file.")
    if old == new:
        raise EditError("The old and the new text are the same; nothing would change.")
    refuse_elided(text, old, new)
    if edit.all and (count := text.count(old)):
        return EditPlan(text.replace(old, new), f"{count} places" if count > 1 else "")
    if found := exactly(text, old):
        inside = old[0] in " \t" and _margin(text, found.start)
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


def unified_diff(path: str, before: str | None, after: str | None) -> str:
    """A patch that `git apply` takes; None stands for a file that is not there. Empty where nothing changes."""
    if before == after:
        return ""
    head = f"diff --git {quoted('a/' + path)} {quoted('b/' + path)}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    old = quoted(f"a/{path}") if before is not None else os.devnull
    new = quoted(f"b/{path}") if after is not None else os.devnull
    lines = difflib.unified_diff(_split(before or ""), _split(after or ""), old, new)
    return head + "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


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
    margin = _margin(text, found.start)
    if margin and "\n" not in found.old.rstrip("\n") and "\n" in new.rstrip("\n"):
        return _under_margin(text, found, new, margin)
    if "\r\n" in text and "\r" not in new and "\n" not in found.old:
        new = new.replace("\n", _ending(text, found.end))
    after = text[: found.start] + new + text[found.end :]
    joined = found.old.endswith("\n") and new and not new.endswith("\n") and text[found.end : found.end + 1].strip()
    return EditPlan(after, "the line below was joined to the new text, which does not end its line" if joined else "")


def _margin(text: str, at: int) -> str:
    """The white space before a place, if there is nothing else before it in its line."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return "" if before.strip() else before


def _under_margin(text: str, found: Match, new: str, margin: str) -> EditPlan:
    """One line without its white space became several: was that of the others left out too? Both ways are tried."""
    first, *rest = new.split("\n")
    step = step_of(text.split("\n"))
    literal = [line.rstrip("\r") for line in rest]
    shifted = [f"{margin}{line}" if line.strip() else line for line in literal]
    fitting = [lines for lines in (literal, shifted) if _follows(margin + first, lines, step)]
    if literal != shifted and len(fitting) != 1:
        raise EditError("The old text leaves out the white space before it; write whole lines, old and new, with it.")
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
    new = renumbered(_without_same_margin(old, newlines(new)), found.numbers) if found.numbers else new
    real = text[found.start : found.end]
    written = as_in_file(found.old, new, real, _ending(text, found.end))
    end = found.end
    if found.numbers and not new:
        end += len(_ending(text, end)) if end < len(text) else 0
    after = text[: found.start] + written + text[end:]
    if after == text:
        raise EditError("The old and the new text differ only in what the file does not have; nothing would change.")
    where = _where(text.count("\n", 0, found.start), real.count("\n") + 1)
    what = "the line numbers were left out" if found.numbers else "quotes, dashes or line endings are the file's own"
    return EditPlan(after, f"{where} matched, {what}", exact=False)


def _ending(text: str, at: int) -> str:
    """The line ending of the line that holds character `at`, or of the line before where it has none."""
    end = text.find("\n", at)
    if end < 0:
        end = text.rfind("\n")
    return "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"


def _by_lines(text: str, old: str, new: str) -> EditPlan:
    lines, wanted = _split(text), old.strip("\n").split("\n")
    start = same_lines(lines, wanted)
    if start is None:
        raise EditError(nearest(lines, wanted, _missing(old)))
    found = lines[start : start + len(wanted)]
    try:
        known = _indents(wanted, found)
        new = _without_same_margin(old, new)
        written = reindented(new.split("\n"), known, step_of(lines)) if new else []
    except EditError as error:
        raise EditError(region(lines, start, len(wanted), f"White space differs, and {error}")) from None
    own = {line.rstrip(): line.rstrip("\r\n") for line in found}
    ending = "\r\n" if found[0].endswith("\r\n") else "\n"
    last = ending if found[-1].endswith("\n") and written else ""
    body = ending.join(own.get(line.rstrip(), line) for line in written) + last
    after = "".join([*lines[:start], body, *lines[start + len(wanted) :]])
    if after == text:
        raise EditError("The old and the new text differ only in white space, and the file is so already.")
    where = _where(start, len(found))
    return EditPlan(
        after, f"white space differed: {where} matched without it, and the new text was indented to fit", False
    )


def _indents(wanted: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """Each indentation of the old text and what it is in the file. Raises `EditError` where that is not one thing."""
    known: dict[str, str] = {}
    for line, real in zip(wanted, found, strict=True):
        if line.strip() and known.setdefault(indent_of(line), indent_of(real)) != indent_of(real):
            raise EditError("the indentation of the old text is not that of the file")
    return known


def _without_same_margin(old: str, new: str) -> str:
    """`new` without the empty lines at its ends that `old` has too, since matching by lines drops those."""
    for _ in range(len(old) - len(old.lstrip("\n"))):
        new = new.removeprefix("\n")
    for _ in range(len(old) - len(old.rstrip("\n"))):
        new = new.removesuffix("\n")
    return new


def _missing(old: str) -> str:
    numbers = "; it holds line numbers, leave them out" if without_numbers(old) else ""
    return f"The old text is not in the file{numbers}"


def _where(start: int, count: int) -> str:
    return f"line {start + 1}" if count == 1 else f"lines {start + 1} to {start + count}"


def _split(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)
