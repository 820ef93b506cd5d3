"""Reads unified diffs, git's and plain ones, also as models write them: wrong counts, no numbers, blank lines bare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from assistant.workspace.errors import EditError

_USAGE = "write a unified diff: --- a/FILE, +++ b/FILE, then hunks of @@ and lines that begin with a space, + or -"
_HEADER = re.compile(r"@@(?: -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@)?")
_SAME_NAMES = re.compile(r'(?:a/(?P<plain>.+) b/(?P=plain)|"a/(?P<quoted>.+)" "b/(?P=quoted)")$')
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_SIGNATURE = re.compile(r"\d+\.\d[\w.() -]*$")
"""What git writes below the line ``-- `` at the end of a patch by mail: its version."""
_ODD_MODE = re.compile(r"(new file|new) mode 1[26]0000")
_NOTHING = "/dev/null"


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines as they are and as they are to be. `start` is where the header says that they begin, from 1.

    `old_ended` and `new_ended` are False where the last line has no line break behind it.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    start: int | None = None
    old_ended: bool = True
    new_ended: bool = True


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What becomes of one file: `old` None is a new one, `new` None deletes it, two names rename it."""

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...] = ()

    @property
    def path(self) -> str:
        """The name to speak of."""
        return self.new or self.old or ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All names."""
        return tuple(dict.fromkeys(name for name in (self.old, self.new) if name))


def read_patch(text: str) -> tuple[FilePatch, ...]:
    """The files of a patch, each once, in order; what stands around them is left out. Raises `EditError`."""
    lines = text.split("\n")
    if all(line.endswith("\r") for line in lines if line):
        lines = [line.removesuffix("\r") for line in lines]
    found = list(_Reader(lines).files())
    if not found:
        raise EditError(f"There is no patch in it; {_USAGE}.")
    return tuple(_merged(found))


def _merged(files: Sequence[FilePatch]) -> Iterator[FilePatch]:
    """Several parts that edit one file as one; no file may be named by two parts otherwise."""
    by_path: dict[str, FilePatch] = {}
    for file in files:
        before = by_path.get(file.path)
        if before and before.old == before.new == file.old == file.new:
            file = replace(before, hunks=before.hunks + file.hunks)
        elif taken := next((path for path in file.paths if any(path in other.paths for other in by_path.values())), ""):
            raise EditError(f"The patch has several parts for {taken}; write one part for each file.")
        by_path[file.path] = file
    yield from by_path.values()


@dataclass(slots=True)
class _Names:
    """What the lines above the hunks say of a file."""

    old: str | None = None
    new: str | None = None
    made: bool = False
    deleted: bool = False


@dataclass(slots=True)
class _Body:
    """The lines of a hunk as they are read."""

    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    old_ended: bool = True
    new_ended: bool = True
    last: str = ""

    def take(self, line: str, number: int) -> None:
        """The next line. Raises `EditError` for one that is none of a hunk."""
        self.last, before = line[:1], self.last
        match self.last:
            case "+":
                self.new.append(line[1:])
            case "-":
                self.old.append(line[1:])
            case " " | "" | "\t":
                text = line if self.last == "\t" else line[1:]
                self.old.append(text)
                self.new.append(text)
            case "\\":
                self.old_ended = self.old_ended and before == "+"
                self.new_ended = self.new_ended and before == "-"
            case _:
                raise EditError(
                    f"Line {number} of the patch, {line[:80]!r}, begins neither with a space nor with + or -; {_USAGE}."
                )

    def hunk(self, start: int | None) -> Hunk:
        return Hunk(tuple(self.old), tuple(self.new), start, self.old_ended, self.new_ended)


class _Reader:
    """Goes through the lines of a patch."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0

    def files(self) -> Iterator[FilePatch]:
        """The files, one after the other."""
        behind = False
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith("diff --git ") or self._names_at(self._at):
                yield self._file()
                behind = True
                continue
            if _HEADER.match(line):
                raise EditError(f"The hunk in line {self._at + 1} of the patch belongs to no file; {_USAGE}.")
            behind = behind and not line.startswith("From ")
            if behind and line.startswith(("+", "-")) and not self._signs(self._at):
                raise EditError(_stray(self._at + 1, line))
            self._at += 1

    def _file(self) -> FilePatch:
        names = _Names()
        if self._lines[self._at].startswith("diff --git "):
            self._read_git(names)
        if self._names_at(self._at):
            old, new = (_name(line[4:]) for line in self._lines[self._at : self._at + 2])
            if names.old is None or names.old == names.new:
                names.old, names.new = _without_prefixes(old, new)
            self._at += 2
        hunks = tuple(self._hunks())
        file = FilePatch(None if names.made else names.old, None if names.deleted else names.new, hunks)
        if not file.path:
            raise EditError(f"A part of the patch names no file; {_USAGE}.")
        if not hunks and file.old == file.new:
            raise EditError(f"The patch has no hunk for {file.path}; leave the file out, or write its hunks.")
        return file

    def _read_git(self, names: _Names) -> None:
        """What git writes above the names: new, deleted, renamed."""
        if same := _SAME_NAMES.match(self._lines[self._at][len("diff --git ") :]):
            names.old = names.new = same["plain"] or _unquoted(f'"{same["quoted"]}"')
        self._at += 1
        while self._at < len(self._lines) and not self._ends_header():
            self._extended(self._lines[self._at], names)
            self._at += 1

    def _ends_header(self) -> bool:
        line = self._lines[self._at]
        return line.startswith(("diff --git ", "@@")) or self._names_at(self._at)

    def _extended(self, line: str, names: _Names) -> None:
        if line.startswith(("copy from ", "Binary files ", "GIT binary patch")) or _ODD_MODE.match(line):
            raise EditError(
                "The patch copies a file, makes a link or holds binary data, which is not done; use a command for it."
            )
        if line.startswith("new file mode"):
            names.made = True
        elif line.startswith("deleted file mode"):
            names.deleted = True
        elif line.startswith("rename from "):
            names.old = _name(line.removeprefix("rename from "))
        elif line.startswith("rename to "):
            names.new = _name(line.removeprefix("rename to "))

    def _names_at(self, at: int) -> bool:
        """Whether the two lines with the names of a file begin here."""
        return [line[:4] for line in self._lines[at : at + 2]] == ["--- ", "+++ "]

    def _hunks(self) -> Iterator[Hunk]:
        while self._at < len(self._lines):
            header = _HEADER.match(self._lines[self._at])
            if header is None:
                if self._lines[self._at].strip():
                    return
                self._at += 1
                continue
            self._at += 1
            start = int(header[1]) if header[1] else None
            body = self._counted(header) or self._until_boundary()
            yield body.hunk(start)

    def _counted(self, header: re.Match[str]) -> _Body | None:
        """The lines that the header announces, if they are there and nothing of the hunk follows."""
        if header[1] is None:
            return None
        old, new = (1 if header[n] is None else int(header[n]) for n in (2, 4))
        body, at = _Body(), self._at
        while at < len(self._lines):
            full = len(body.old) == old and len(body.new) == new
            if full and not self._lines[at].startswith("\\"):
                break
            if len(body.old) > old or len(body.new) > new or self._lines[at][:1] not in ("", " ", "+", "-", "\\", "\t"):
                return None
            body.take(self._lines[at], at + 1)
            at += 1
        if (len(body.old), len(body.new)) != (old, new) or not self._over(at):
            return None
        self._at = at
        return body

    def _over(self, at: int) -> bool:
        """Whether nothing of a hunk stands here."""
        while at < len(self._lines) and not self._lines[at].strip():
            at += 1
        return at == len(self._lines) or self._boundary(at) or self._lines[at][0] not in "+- \\"

    def _until_boundary(self) -> _Body:
        """The lines up to whatever follows a hunk; blank ones at the end are not its own."""
        end = self._at
        while end < len(self._lines) and not self._boundary(end):
            end += 1
        after = end
        while end > self._at and not self._lines[end - 1]:
            end -= 1
        body = _Body()
        for at in range(self._at, end):
            body.take(self._lines[at], at + 1)
        self._at = after
        return body

    def _boundary(self, at: int) -> bool:
        line = self._lines[at]
        named = self._names_at(at) and any(_HEADER.match(below) for below in self._lines[at + 2 : at + 3])
        return named or self._signs(at) or line.startswith(("@@", "diff --git ", "Index: ", "```"))

    def _signs(self, at: int) -> bool:
        """Whether a patch by mail is signed here; without a version below, the line takes a line ``- `` away."""
        return self._lines[at] == "-- " and any(map(_SIGNATURE.match, self._lines[at + 1 : at + 2]))


def _stray(number: int, line: str) -> str:
    """Lines behind a hunk that look like its own: left out in silence they would be half an edit."""
    return (
        f"Line {number} of the patch, {line[:80]!r}, belongs to no hunk, since a line above it begins neither with a "
        f"space nor with + or -; {_USAGE}, and nothing behind them."
    )


def _name(raw: str) -> str:
    """A name as it stands in a header, without what diff writes behind it."""
    name = raw.split("\t")[0].strip()
    return _unquoted(name) if name.startswith('"') and name.endswith('"') else name


def _unquoted(name: str) -> str:
    """A name that git wrote in quotes."""

    def char(found: re.Match[bytes]) -> bytes:
        code = found[1]
        return bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _LETTERS.get(code, code)

    data = name[1:-1].encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(char, data).decode("utf-8", "surrogateescape")


def _without_prefixes(old: str, new: str) -> tuple[str | None, str | None]:
    """Both names without git's ``a/`` and ``b/``, where both have them; None for no file."""
    both = [(name, prefix) for name, prefix in ((old, "a/"), (new, "b/")) if name != _NOTHING]
    if all(name.startswith(prefix) for name, prefix in both):
        old, new = old.removeprefix("a/"), new.removeprefix("b/")
    return (None if old == _NOTHING else old), (None if new == _NOTHING else new)
