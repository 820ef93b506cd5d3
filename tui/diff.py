"""A unified diff, file by file, as coloured lines with the numbers of the new file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from textual.content import Content

from tui.prose import Line
from tui.words import one_line

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)")
_STYLES = {"+": ("$text-success", "on $diff-add"), "-": ("$text-error", "on $diff-cut"), " ": ("$muted", "")}
_NOTES = {
    "new file mode ": "new file",
    "deleted file mode ": "deleted",
    "new mode 100755": "now executable",
    "new mode 100644": "no longer executable",
    "Binary files ": "not text",
    "GIT binary patch": "not text",
}
_NO_FILE = "/dev/null"
_GAP = Line(Content.styled("⋯", "$faint"), Content("     "), Content("     "))


@dataclass(slots=True)
class FileDiff:
    """What becomes of one file; `note` says it where the rows of its hunks do not."""

    name: str = ""
    note: str = ""
    rows: list[str] = field(default_factory=list)

    @property
    def added(self) -> int:
        """Lines that come."""
        return sum(row.startswith("+") for row in self.rows)

    @property
    def removed(self) -> int:
        """Lines that go."""
        return sum(row.startswith("-") for row in self.rows)

    def heading(self) -> Content:
        """Its name, and what happens to it as a whole."""
        name = Content.styled(one_line(self.name), "bold $muted")
        return Content.assemble(name, (f"  {one_line(self.note)}", "$muted")) if self.note else name

    def lines(self) -> Iterator[Line]:
        """Its hunks, additions and removals on a ground of their own."""
        number = 0
        for at, row in enumerate(self.rows):
            if hunk := _HUNK.match(row):
                number = int(hunk[2])
                if at:
                    yield _GAP
            elif row.startswith("\\"):
                yield Line(Content.styled("no line end here", "italic $faint"), Content("       "))
            else:
                yield _changed(row or " ", number)
                number += not row.startswith("-")


def file_diffs(diff: str) -> list[FileDiff]:
    """The files of a patch, in their order."""
    files: list[FileDiff] = []
    inside = False
    for row in diff.rstrip("\n").split("\n"):
        if inside := bool(_HUNK.match(row)) or (inside and row[:1] in "+- \\"):
            files = files or [FileDiff()]
            files[-1].rows.append(row)
        else:
            _read_head(files, row)
    return files


def diff_lines(diff: str) -> list[Line]:
    """All files of a patch, one below the other, each under its name."""
    return [line for file in file_diffs(diff) for line in (Line(file.heading()), *file.lines())]


def _read_head(files: list[FileDiff], row: str) -> None:
    if row.startswith("diff --git "):
        files.append(FileDiff(_of_both(row.removeprefix("diff --git "))))
    elif row.startswith("--- ") and (not files or files[-1].rows):
        files.append(FileDiff(_path(row[4:])))
    elif not files:
        files.append(FileDiff(row))
    elif row.startswith(("+++ ", "rename to ")) and not row.endswith(_NO_FILE):
        files[-1].name = _path(row.removeprefix("+++ ").removeprefix("rename to "))
    elif row.startswith("rename from "):
        files[-1].note = f"was {_path(row.removeprefix('rename from '))}"
    elif note := next((note for start, note in _NOTES.items() if row.startswith(start)), ""):
        files[-1].note = note


def _of_both(names: str) -> str:
    """The name in `a/name b/name`; another line says it where the two differ."""
    return _path(names[(len(names) + 1) // 2 :])


def _path(name: str) -> str:
    if name.startswith('"') and name.endswith('"'):
        try:
            name = ast.literal_eval(f"b{name}").decode("utf-8", "replace")
        except (SyntaxError, ValueError):
            return name
    return re.sub(r"^[ab]/", "", name.rstrip("\t"))


def _changed(row: str, number: int) -> Line:
    colour, fill = _STYLES[row[0]]
    label = "" if row[0] == "-" else str(number)
    first = Content.styled(f"{label:>4} ", "$faint") + Content.styled(f"{row[0]} ", colour)
    return Line(Content.styled(row[1:], colour), first, Content("       "), fill=fill)
