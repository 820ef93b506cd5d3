"""A part of a repository's definitions as text: paths, signatures, and ⋮ for what is left out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from assistant.safety.sanitize import sanitize
from assistant.workspace.tags import Definition

LEAST = 3
"""Tokens that the shortest line of a definition takes; our choice, it only bounds the search."""
_USUAL = 14
"""Tokens that a definition takes with what stands around it, more or less: where the search begins."""
_FULL = 0.97
"""A budget of which so much is used is full: each try costs another outline; our choice."""
_GUESSES = 4
"""So many times the next try is what the budget should hold by the last one, then the middle of what is open."""
_GAP = "⋮"
_LETTERS = 6
_PIECE = re.compile(r"\w+|[^\w\s]|\n")

Find = Callable[[str], Sequence[Definition]]
"""The definitions of a file."""


def fitted(keys: Sequence[tuple[str, str]], find: Find, budget: int, count: Callable[[str], int]) -> str:
    """As many of the definitions, given as path and name, as fit into `budget` tokens as `count` counts them."""
    low, high, best = 0, min(len(keys), budget // LEAST), ""
    middle, turn = budget // _USUAL, 0
    while low < high:
        middle = min(max(middle, low + 1), high)
        text = outline(keys[:middle], find)
        tokens, turn = count(text), turn + 1
        if tokens > budget:
            high = middle - 1
        elif tokens > _FULL * budget:
            return text
        else:
            low, best = middle, text
        middle = middle * budget // max(tokens, 1) if turn < _GUESSES else (low + high + 1) // 2
    return best


def outline(keys: Iterable[tuple[str, str]], find: Find) -> str:
    """The definitions by file, files by name, each below what it stands in."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for path, name in keys:
        names[path].add(name)
    return "\n".join(line for path in sorted(names) for line in _file(path, names[path], find(path)))


def roughly(text: str) -> int:
    """About how many tokens a text takes, where no tokenizer is at hand: words of six letters, and marks."""
    return sum(-(-len(word) // _LETTERS) for word in _PIECE.findall(text))


def listing(definitions: Iterable[Definition]) -> str:
    """All definitions of a file, with the lines that each takes."""
    return "\n".join(f"{one.first}-{one.last}\t{sanitize(one.signature)}" for one in definitions)


def one_line(path: str) -> str:
    """A path that cannot make a second line."""
    return sanitize(path).replace("\n", "⏎")


def _file(path: str, names: set[str], definitions: Sequence[Definition]) -> Iterator[str]:
    shown = _with_enclosing([one for one in definitions if one.name in names], definitions)
    if not shown:
        return
    yield f"{one_line(path)}:"
    last = 0
    for one in shown:
        if one.line > last + 1:
            yield _GAP
        yield sanitize(one.signature).replace("\n", " ")
        last = one.line
    yield _GAP


def _with_enclosing(chosen: Sequence[Definition], definitions: Sequence[Definition]) -> list[Definition]:
    wanted = {part for one in chosen for part in _prefixes(one.enclosing)}
    around = [one for one in definitions if one.qualified in wanted] if wanted else []
    return sorted({one.start: one for one in (*chosen, *around)}.values(), key=lambda one: one.start)


def _prefixes(enclosing: str) -> Iterator[str]:
    parts = enclosing.split(".") if enclosing else []
    return (".".join(parts[: count + 1]) for count in range(len(parts)))
