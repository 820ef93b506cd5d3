"""Edits as models write them when something has gone wrong, made from real source with a fixed seed.

Every case knows the bytes that the file must have afterwards, or that refusing is the only right thing to do.
"""

from __future__ import annotations

import random
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("argparse", "bisect", "calendar", "configparser", "csv", "dis", "fnmatch", "heapq", "hmac", "sched", "shlex")
MORE = ("statistics", "string", "tabnanny", "textwrap", "timeit", "tokenize", "trace", "uuid", "wave", "webbrowser")
LONGEST = 500
SEED = 20_261_122
SMART = {'"': "“", "'": "’", "-": "–"}


@dataclass(frozen=True, slots=True)
class Case:
    """An edit of a file. `read` is what the model saw, `data` what is there now; `right` None: it must be refused."""

    kind: str
    read: bytes
    data: bytes
    old: str
    new: str
    right: bytes | None


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines of a text that stand there once, and what shall stand there instead; neither ends in a newline."""

    before: str
    old: str
    new: str
    after: str

    @property
    def text(self) -> str:
        """The text."""
        return self.before + self.old + self.after

    @property
    def right(self) -> str:
        """The text after the edit."""
        return self.before + self.new + self.after

    @property
    def line(self) -> int:
        """The number of its first line."""
        return self.before.count("\n") + 1


def sources() -> list[str]:
    """Python files of this project and of the standard library, of some length."""
    library = Path(sysconfig.get_path("stdlib"))
    own = [path for name in ("assistant", "model", "tui") for path in sorted((ROOT / name).rglob("*.py"))]
    texts = [path.read_text("utf-8") for path in [*own, *(library / f"{name}.py" for name in LIBRARY + MORE)]]
    fitting = [text for text in texts if text.count("\n") > 60 and text.isascii() and "\t" not in text]
    return ["\n".join(text.split("\n")[:LONGEST]).rstrip("\n") + "\n" for text in fitting]


def corpus(count: int = 300, seed: int = SEED) -> list[Case]:
    """`count` cases, of every kind alike many (or one more)."""
    dice, texts = random.Random(seed), sources()
    return [_case(KINDS[number % len(KINDS)], dice, texts) for number in range(count)]


def _case(kind: tuple[str, Damage], dice: random.Random, texts: list[str]) -> Case:
    name, damage = kind
    while True:
        region = _region(dice, dice.choice(texts))
        case = damage(dice, region) if region else None
        if case is not None and case.old != case.new and case.old.strip():
            return replace(case, kind=name)


def _region(dice: random.Random, text: str) -> Region | None:
    lines = text.split("\n")
    start, size = dice.randrange(10, len(lines) - 10), dice.choice((1, 1, 2, 2, 3, 4, 6, 9))
    chosen = lines[start : start + size]
    old = "\n".join(chosen)
    if not chosen[0].strip() or not chosen[-1].strip() or text.count(old) > 1 or len(old.strip()) < 8:
        return None
    new = "\n".join(_changed(dice, chosen))
    before, after = ("\n".join(part) for part in (lines[:start], lines[start + size :]))
    return Region(before + "\n", old, new, "\n" + after) if new != old else None


def _changed(dice: random.Random, lines: list[str]) -> list[str]:
    """What an edit makes of lines: a word renamed, a line added, a block put around, a line taken out."""
    at = dice.randrange(len(lines))
    indent = " " * (_indent(lines[at]) + 4 * lines[at].rstrip().endswith(":"))
    match dice.randrange(5):
        case 0:
            return [*lines[: at + 1], f"{indent}checked = True", *lines[at + 1 :]]
        case 1:
            return [*lines[: at + 1], f"{indent}if checked:", f"{indent}    total += 1", *lines[at + 1 :]]
        case 2 if len(lines) > 1:
            return [*lines[:at], *lines[at + 1 :]]
        case 3:
            return [f"{indent}if checked:", *(f"    {line}" if line.strip() else line for line in lines)]
        case _:
            words = [word for word in lines[at].split() if word.isidentifier()]
            return [
                *lines[:at],
                lines[at].replace(words[-1], f"{words[-1]}_new") if words else lines[at],
                *lines[at + 1 :],
            ]


def _same(region: Region, old: str, new: str, *, file: str | None = None, right: str | None = None) -> Case:
    data = (file if file is not None else region.text).encode()
    return Case("", data, data, old, new, (right if right is not None else region.right).encode())


def _refused(region: Region, old: str, new: str, *, now: str | None = None) -> Case:
    return Case("", region.text.encode(), (region.text if now is None else now).encode(), old, new, None)


def indentation(dice: random.Random, region: Region) -> Case | None:
    """All lines lost their margin or got one, steps are halved or doubled, or the first line lost its own."""

    def by(change: Callable[[str], str]) -> tuple[str, str]:
        return change(region.old), change(region.new)

    match dice.randrange(5):
        case 0:
            margin = _margin(region.old + "\n" + region.new)
            old, new = (_without(text, margin) for text in (region.old, region.new))
        case 1:
            old, new = by(lambda text: textwrap.indent(text, " " * dice.choice((4, 4, 4))))
        case 2:
            old, new = by(lambda text: _scaled(text, 0.5))
        case 3:
            old, new = by(lambda text: _scaled(text, 2))
        case _ if _indent(region.old) != _indent(region.new):
            return None
        case _:
            old, new = by(str.lstrip)
    return _same(region, old, new) if old != region.old else None


def tabs(dice: random.Random, region: Region) -> Case | None:
    """Tabs where the file has spaces, or spaces where it has tabs."""
    if not any(line.startswith("    ") for line in region.old.split("\n")):
        return None
    if dice.random() < 0.5:
        return _same(region, _tabbed(region.old), _tabbed(region.new))
    wide = dice.choice((1, 0.5, 2))
    old, new = _scaled(region.old, wide), _scaled(region.new, wide)
    return _same(region, old, new, file=_tabbed(region.text), right=_tabbed(region.right))


def stale(dice: random.Random, region: Region) -> Case | None:
    """The file moved on: elsewhere, in these lines, or these lines went elsewhere and others look like them."""
    above = region.before + "added = True\n"
    match dice.randrange(4):
        case 0:
            now, right = above + region.old + region.after, (above + region.new + region.after).encode()
            return Case("", region.text.encode(), now.encode(), region.old, region.new, right)
        case 1:
            words = [word for word in region.old.split() if word.isidentifier() and len(word) > 2]
            altered = region.old.replace(words[0], f"{words[0]}2") if words else region.old + "2"
            return _refused(region, region.old, region.new, now=region.before + altered + region.after)
        case 2:
            if not (region.old[-1].isalnum() and region.after.startswith("\n")):
                return None
            return _refused(region, region.old, region.new, now=region.before + region.old + "0" + region.after)
        case _:
            now = region.before + f"    # {region.old.split()[0]} went below" + region.after + region.old + "\n"
            return _refused(region, region.old, region.new, now=now)


def numbers(dice: random.Random, region: Region) -> Case | None:
    """Line numbers were copied from what a file was shown with."""
    form = dice.choice(("{}\t{}", "{}:{}", "{}: {}", "{} | {}", "{:>5}→{}", "{:>4}\t{}"))

    def numbered(text: str) -> str:
        return "\n".join(form.format(region.line + at, line) for at, line in enumerate(text.split("\n")))

    return _same(region, numbered(region.old), numbered(region.new) if dice.random() < 0.7 else region.new)


def quotes(dice: random.Random, region: Region) -> Case | None:
    """Typographic characters in the edit where the file has plain ones, or the other way round."""
    if not any(char in region.old for char in SMART):
        return None
    table = str.maketrans(SMART)
    if dice.random() < 0.6:
        return _same(region, region.old.translate(table), region.new.translate(table))
    file = region.text.translate(table)
    if _kept(region.old, region.new):
        return _same(region, region.old, region.new, file=file, right=region.right.translate(table))
    return None


def elided(dice: random.Random, region: Region) -> Case | None:
    """Lines that stand for others."""
    lines = region.old.split("\n")
    if len(lines) < 3:
        return None
    dots = dice.choice(("...", "    ...", "# ...", "    # ... existing code ...", "# rest of the code unchanged", "…"))
    if dots.strip() in {line.strip() for line in region.text.split("\n")}:
        return None
    short = "\n".join([lines[0], dots, lines[-1]])
    if dice.random() < 0.5:
        return _refused(region, short, region.new)
    return _refused(region, region.old, short)


def returns(dice: random.Random, region: Region) -> Case | None:
    """CR LF in the file, in the edit, or in some lines of the file only."""

    def crlf(text: str) -> str:
        return text.replace("\n", "\r\n")

    match dice.randrange(3):
        case 0:
            return _same(region, region.old, region.new, file=crlf(region.text), right=crlf(region.right))
        case 1:
            return _same(region, crlf(region.old), crlf(region.new)) if "\n" in region.old + region.new else None
        case _:
            after = region.after.replace("\n", "\r\n", 1)
            around = Region(crlf(region.before), crlf(region.old), crlf(region.new), after)
            return _same(region, region.old, region.new, file=around.text, right=around.right)


def twice(dice: random.Random, region: Region) -> Case | None:
    """Two places that may be meant: alike, or but for white space, line endings or the end of file, or overlapping."""
    copy = region.text + region.old + "\n"
    match dice.randrange(5):
        case 0:
            return _refused(replace(region, after=region.after + region.old + "\n"), region.old, region.new)
        case 1:
            deeper = textwrap.indent(region.old, "    ")
            old = textwrap.indent(region.old, "  ")
            return _refused(replace(region, after=f"{region.after}{deeper}\n"), old, textwrap.indent(region.new, "  "))
        case 2:
            other = region.old.replace("\n", "\r\n") + "\n"
            return _refused(replace(region, after=region.after + other), region.old, region.new)
        case 3:
            end = replace(region, after=region.after + region.old)
            return _refused(end, f"{region.old}\n", f"{region.new}\n")
        case _:
            line = region.old.split("\n")[0]
            now = copy.replace(region.old, f"{line}\n{line}\n{line}", 1)
            return _refused(region, f"{line}\n{line}", f"{line}\npass", now=now)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _margin(text: str) -> int:
    return min(len(line) - len(line.lstrip()) for line in text.split("\n") if line.strip())


def _without(text: str, margin: int) -> str:
    return "\n".join(line[margin:] for line in text.split("\n"))


def _scaled(text: str, factor: float) -> str:
    return "\n".join(_spaces(int((len(line) - len(line.lstrip())) * factor), line) for line in text.split("\n"))


def _spaces(count: int, line: str) -> str:
    return " " * count + line.lstrip()


def _tabbed(text: str) -> str:
    return "\n".join(_with_tabs(line) for line in text.split("\n"))


def _with_tabs(line: str) -> str:
    width = len(line) - len(line.lstrip(" "))
    return "\t" * (width // 4) + " " * (width % 4) + line.lstrip(" ")


def _kept(old: str, new: str) -> bool:
    """Whether an edit brings no quotes or dashes of its own."""
    return all(new.count(char) <= old.count(char) for char in SMART) and _lines_kept(old, new)


def _lines_kept(old: str, new: str) -> bool:
    known = set(old.split("\n"))
    return not any(char in line for line in new.split("\n") if line not in known for char in SMART)


Damage = Callable[[random.Random, Region], Case | None]
KINDS: tuple[tuple[str, Damage], ...] = (
    ("wrong indentation", indentation),
    ("tabs and spaces", tabs),
    ("stale context", stale),
    ("line numbers", numbers),
    ("smart quotes", quotes),
    ("elided lines", elided),
    ("CR LF", returns),
    ("two candidates", twice),
)


def kinds() -> Iterator[str]:
    """The names of the kinds, in their order."""
    return (name for name, _ in KINDS)
