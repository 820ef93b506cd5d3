"""Suspects as text: for the model in a few hundred tokens, for the user as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from assistant.fix.stages import Localisation, SuspectFunction, SuspectLine
from assistant.safety.sanitize import sanitize
from assistant.workspace.errors import WorkspaceError

_MARKED = 10
"""Lines that are marked as suspect, of all; our choice, as the numbers below."""
_AROUND = 2
_LONGEST_LINE = 160
_MOST_FUNCTIONS = 8
_LEAST = 0.3
"""A function is shown that is at least so suspect beside the first one."""
_WHOLE = 30
"""Lines of a function that is shown whole, if there is room."""


def shown_to_model(
    localisation: Localisation, read: Callable[[str], str], count: Callable[[str], int], tokens: int = 300
) -> str:
    """The most suspect functions with numbered lines, the suspect ones marked, in at most so many tokens by `count`.

    `read` gives the text of a file. "" where nothing is suspect or nothing fits.
    """
    marked = {(one.path, one.line) for one in localisation.lines[:_MARKED]}
    shown = ""
    for function in _worth_showing(localisation.functions[:_MOST_FUNCTIONS]):
        for piece in _pieces(function, marked, read):
            longer = f"{shown}\n{piece}" if shown else piece
            if count(longer) <= tokens:
                shown = longer
                break
    return shown or _lines_only(localisation, read, count, tokens)


def table(localisation: Localisation, lines: int = 10) -> str:
    """The most suspect functions and lines, and why, for a person."""
    if not localisation.lines and not localisation.functions:
        return "Nothing is suspect: no test, traceback or name points anywhere."
    used = ", ".join(localisation.sources) or "nothing"
    head = f"Suspects by {used}" + (f", in {localisation.seconds:.1f} s" if localisation.seconds else "")
    functions = [_row(f"{one.path}:{one.first}", one.score, one.name) for one in localisation.functions[:lines]]
    rows = [_row(f"{one.path}:{one.line}", one.score, "; ".join(one.why)) for one in localisation.lines[:lines]]
    parts = (("functions", functions), ("lines", rows))
    return "\n".join([head, *(row for name, found in parts if found for row in (name, *found))])


def _worth_showing(functions: Sequence[SuspectFunction]) -> Iterator[SuspectFunction]:
    return (one for one in functions if one.score >= _LEAST * functions[0].score)


def _row(place: str, score: float, why: str) -> str:
    return sanitize(f"  {score:.2f}  {place:<40} {why}".rstrip())


def _pieces(function: SuspectFunction, marked: set[tuple[str, int]], read: Callable[[str], str]) -> Iterator[str]:
    """The function whole, then only what stands around its suspect lines, then its name alone."""
    head = f"{function.path}:{function.first}-{function.last} {function.name}"
    with suppress(WorkspaceError):
        text = read(function.path).split("\n")
        inside = range(function.first, min(function.last, len(text)) + 1)
        suspect = [line for line in inside if (function.path, line) in marked]
        if len(inside) <= _WHOLE:
            yield _numbered(head, text, inside, suspect)
        near = [line for line in inside if line == inside[0] or any(abs(line - one) <= _AROUND for one in suspect)]
        yield _numbered(head, text, near, suspect)
    yield sanitize(head)


def _numbered(head: str, text: Sequence[str], lines: Sequence[int], suspect: Sequence[int]) -> str:
    rows, before = [head], lines[0] if lines else 0
    for line in lines:
        if line > before + 1:
            rows.append("   …")
        rows.append(f"{'>' if line in suspect else ' '}{line:>4} {text[line - 1].rstrip()[:_LONGEST_LINE]}")
        before = line
    return sanitize("\n".join(rows))


def _lines_only(
    localisation: Localisation, read: Callable[[str], str], count: Callable[[str], int], tokens: int
) -> str:
    """The suspect lines one by one, where no function holds them."""
    shown = ""
    for one in localisation.lines[:_MARKED]:
        longer = f"{shown}\n{_one(one, read)}" if shown else _one(one, read)
        if count(longer) > tokens:
            break
        shown = longer
    return shown


def _one(line: SuspectLine, read: Callable[[str], str]) -> str:
    with suppress(WorkspaceError, IndexError):
        return sanitize(
            f"{line.path}:{line.line} {read(line.path).split(chr(10))[line.line - 1].strip()[:_LONGEST_LINE]}"
        )
    return sanitize(f"{line.path}:{line.line}")
