"""Finds the text that an edit means: exactly, else by whole lines whatever their indentation, else not at all."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.workspace.errors import EditError

__all__ = ["EditError", "EditPlan", "plan_edit", "unified_diff"]

_INDENT = re.compile(r"[ \t]*")
_SHOWN_LINES = 12
_COMPARED_LINES = 20_000


@dataclass(frozen=True, slots=True)
class EditPlan:
    """The text after an edit; `note` says where it is not exactly what was asked, or is empty."""

    new_text: str
    note: str = ""


def plan_edit(text: str, old: str, new: str, *, all: bool = False) -> EditPlan:  # noqa: A002 - as the tool names it
    """Replace `old`, which must stand in `text` once (or often, with `all`), by `new`.

    Raises `EditError` that shows the nearest lines, or the lines of all matches.
    """
    if not old.strip():
        raise EditError("The old text is empty; copy the lines to replace from the file.")
    if old == new:
        raise EditError("The old and the new text are the same; nothing would change.")
    count = text.count(old)
    if count == 1 or (count and all):
        return EditPlan(text.replace(old, new), f"{count} places" if count > 1 else "")
    if count:
        raise EditError(_ambiguous(_line_numbers(text, old)))
    return _by_lines(text, old, _without_same_margin(old, new))


def unified_diff(path: str, before: str | None, after: str | None) -> str:
    """A patch that `git apply` takes; None stands for a file that is not there. Empty where nothing changes."""
    if before == after:
        return ""
    head = f"diff --git a/{path} b/{path}\n"
    if before is None:
        head += "new file mode 100644\n"
    if after is None:
        head += "deleted file mode 100644\n"
    old, new = (f"a/{path}" if before is not None else os.devnull), (f"b/{path}" if after is not None else os.devnull)
    lines = difflib.unified_diff(_split(before or ""), _split(after or ""), old, new)
    return head + "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _by_lines(text: str, old: str, new: str) -> EditPlan:
    lines, wanted = _split(text), _trimmed(old)
    found = _same_lines(lines, wanted)
    if not found:
        raise EditError(_nearest(lines, wanted))
    if len(found) > 1:
        raise EditError(_ambiguous([index + 1 for index in found]))
    start = found[0]
    region = lines[start : start + len(wanted)]
    indents = _indents(wanted, region, start)
    written = [_reindented(line, indents) for line in new.split("\n")] if new else []
    ending = "\n" if region[-1].endswith("\n") and written else ""
    after = "".join(lines[:start]) + "\n".join(written) + ending + "".join(lines[start + len(wanted) :])
    where = f"line {start + 1}" if len(region) == 1 else f"lines {start + 1} to {start + len(region)}"
    return EditPlan(after, f"white space differed: {where} matched without it, and the new text was indented to fit")


def _without_same_margin(old: str, new: str) -> str:
    """`new` without the empty lines at its ends that `old` has too, since matching by lines drops those."""
    for _ in range(len(old) - len(old.lstrip("\n"))):
        new = new.removeprefix("\n")
    for _ in range(max(1, len(old) - len(old.rstrip("\n")))):
        new = new.removesuffix("\n")
    return new


def _same_lines(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    bare, target = [line.strip() for line in lines], [line.strip() for line in wanted]
    last = len(bare) - len(target)
    return [i for i in range(last + 1) if bare[i] == target[0] and bare[i : i + len(target)] == target]


def _indents(wanted: Sequence[str], region: Sequence[str], start: int) -> dict[str, str]:
    """Each indentation of the old text and what it is in the file. Raises `EditError` where that is not one thing."""
    indents: dict[str, str] = {}
    for line, real in zip(wanted, region, strict=True):
        if not line.strip():
            continue
        there = _indent(real)
        if indents.setdefault(_indent(line), there) != there:
            raise EditError(_numbered("The indentation of the old text is not that of the file", region, start))
    return indents


def _reindented(line: str, indents: dict[str, str]) -> str:
    if not line.strip():
        return ""
    indent = _indent(line)
    known = [given for given in indents if indent.startswith(given)]
    if known:
        base = max(known, key=len)
        return indents[base] + _steps(indent[len(base) :], indents) + line[len(indent) :]
    first = min(indents, key=len)
    less = len(first) - len(indent)
    return indents[first][: max(0, len(indents[first]) - less)] + line[len(indent) :]


def _steps(rest: str, indents: dict[str, str]) -> str:
    """Further indentation in the file's own kind: a tab for each step of spaces, where the file uses tabs."""
    if not rest or "\t" in rest:
        return rest
    widths = [len(g) // len(t) for g, t in indents.items() if t and not t.strip("\t") and len(g) >= len(t)]
    return "\t" * (len(rest) // widths[0]) if widths and widths[0] > 1 else rest


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> str:
    hint = "The old text is not in the file"
    if all(re.match(r"\s*\d+[\t|:]", line) for line in wanted if line.strip()):
        return f"{hint}: it begins with line numbers; leave them out."
    start = _closest(lines, wanted)
    if start is None:
        return f"{hint}, and nothing looks like it; read the file again."
    return _numbered(f"{hint}; the nearest lines are", lines[start : start + len(wanted)], start)


def _closest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where the lines begin that look most like `wanted`, or None if none do."""
    anchor = max(range(len(wanted)), key=lambda index: len(wanted[index].strip()))
    bare = [line.strip() for line in lines[:_COMPARED_LINES]]
    near = difflib.get_close_matches(wanted[anchor].strip(), list(dict.fromkeys(bare)), n=1, cutoff=0.5)
    return max(0, bare.index(near[0]) - anchor) if near else None


def _numbered(hint: str, lines: Sequence[str], start: int) -> str:
    shown = [f"{start + index + 1}\t{line.rstrip()}" for index, line in enumerate(lines[:_SHOWN_LINES])]
    return "\n".join([f"{hint}:", *shown, "Copy the text exactly, without the line numbers."])


def _ambiguous(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"The old text matches {len(numbers)} times, at lines {shown}; add lines around it to say which one."


def _line_numbers(text: str, old: str) -> list[int]:
    return [text.count("\n", 0, found.start()) + 1 for found in re.finditer(re.escape(old), text)]


def _trimmed(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def _split(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _indent(line: str) -> str:
    found = _INDENT.match(line)
    return found[0] if found else ""
