"""New lines indented as the file is, from lines that both have: one reading must explain them all, or none is taken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from assistant.workspace.errors import EditError

Rule = Callable[[str], str | None]
"""The file's indentation for one of the model's, or None where this reading has no answer."""

_INDENT = re.compile(r"[ \t]*")
_UNTOLD = "it cannot be told how to indent the new text; write it with the white space of the file"


def indent_of(line: str) -> str:
    """The white space that a line begins with."""
    found = _INDENT.match(line)
    return found[0] if found else ""


def step_of(lines: Sequence[str]) -> str:
    """One step of indentation as the lines have it most often; four spaces where they have none."""
    steps: Counter[str] = Counter()
    above = ""
    for line in lines:
        if not line.strip():
            continue
        indent = indent_of(line)
        if len(indent) > len(above) and indent.startswith(above):
            steps[indent[len(above) :]] += 1
        above = indent
    return steps.most_common(1)[0][0] if steps else "    "


def reindented(lines: Sequence[str], known: Mapping[str, str], step: str) -> list[str]:
    """`lines` in the file's indentation; `known` is what the old text had and the file has in its place.

    Raises `EditError` where two readings differ, or none fits.
    """
    readings = [[_moved(line, rule) for line in lines] for rule in _rules(known, step)]
    whole = {tuple(line for line in reading if line is not None) for reading in readings if None not in reading}
    if len(whole) != 1 or not _one_step_deeper(lines, written := list(whole.pop()), known, step):
        raise EditError(_UNTOLD)
    return written


def _one_step_deeper(lines: Sequence[str], written: Sequence[str], known: Mapping[str, str], step: str) -> bool:
    """Whether what follows an opener is one step deeper, wherever the file does not show how deep it is."""
    pairs = pairwise((line, there) for line, there in zip(lines, written, strict=True) if there.strip())
    return all(
        indent_of(below) == indent_of(there) + step
        for (line, there), (next_line, below) in pairs
        if there.rstrip().endswith((":", "{")) and not {indent_of(line), indent_of(next_line)} <= known.keys()
    )


def _moved(line: str, rule: Rule) -> str | None:
    if not line.strip():
        return ""
    indent = indent_of(line)
    there = rule(indent)
    return None if there is None else there + line[len(indent) :]


def _rules(known: Mapping[str, str], step: str) -> list[Rule]:
    """The readings that explain what is known: all shifted alike, steps of another size, or both."""
    first = min(known, key=len)
    found: list[Rule] = [_shift(known, first, step), _scale(known, "", "", step)]
    if len(known) > 1:
        found.append(_scale(known, first, known[first], step))
    return [rule for rule in found if all(rule(indent) == there for indent, there in known.items())]


def _shift(known: Mapping[str, str], first: str, step: str) -> Rule:
    """The same white space is missing before, or too much in front of, every line."""
    there = known[first]
    added, taken = there.removesuffix(first), first.removesuffix(there)

    def rule(indent: str) -> str | None:
        moved = added + indent if len(there) >= len(first) else _without(indent, taken)
        if moved is None or indent in known:
            return moved
        return moved if _fits(moved, there, step, exact=first != there) else None

    return rule if (added + first == there or taken + there == first) else _never


def _scale(known: Mapping[str, str], base: str, base_there: str, step: str) -> Rule:
    """Each step of the model's beyond `base` is one of the file's beyond `base_there`."""
    own = next((unit for g, t in known.items() if (unit := _unit(g, t, base, base_there, step))), None)
    if own is None:
        return _never

    def rule(indent: str) -> str | None:
        rest = _without(indent, base)
        if rest is None or len(rest) % len(own) or rest != own * (len(rest) // len(own)):
            return None
        return base_there + step * (len(rest) // len(own))

    return rule


def _unit(given: str, there: str, base: str, base_there: str, step: str) -> str | None:
    """The model's step, from one line that both have."""
    rest, rest_there = _without(given, base), _without(there, base_there)
    if not rest or not rest_there or len(rest_there) % len(step):
        return None
    count = len(rest_there) // len(step)
    return rest[: len(rest) // count] if len(rest) % count == 0 else None


def _never(_: str) -> str | None:
    return None


def _without(text: str, prefix: str) -> str | None:
    return text[len(prefix) :] if text.startswith(prefix) else None


def _fits(indent: str, there: str, step: str, *, exact: bool) -> bool:
    """Whether an indentation differs from a known one by white space of the file's kind; `exact`: by whole steps."""
    shorter, longer = sorted((indent, there), key=len)
    rest = _without(longer, shorter)
    if rest is None or (rest and ("\t" in rest) != ("\t" in step)):
        return False
    return not exact or rest == step * (len(rest) // len(step))
