"""Names that the issue and the failing tests use, and the definitions that they mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from assistant.fix.localising.frames import Frame, Known
from assistant.workspace.tags import Definition

_WORD = re.compile(r"[^\W\d]\w*")
_CALLED = re.compile(r"([^\W\d]\w*)\s*(?:\(|\[|!\()")
_WRITTEN_AS_NAME = re.compile(r"`([^\W\d][\w.]*)|\b([^\W\d]\w*)\(|\.([^\W\d]\w*)|\b(\w+_\w+)\b|\b([a-z]+[A-Z]\w*)\b")
_PARTS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_SEPARATORS = re.compile(r"::|/|\.|#| > ")
_SHORTEST = 3
_FAILING_LINE, _ISSUE, _CALL, _TEST_NAME, _BODY, _ISSUE_WORD, _FILE = 1.0, 1.0, 0.7, 0.6, 0.4, 0.2, 0.4
"""How much a name says, by where it stands; our choice."""
_MOST_TESTS = 20
_BEFORE = re.compile(r"^tests?[ _]?|^it |^should ", re.IGNORECASE)

Reason = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Mentions:
    """Names and files that were mentioned, with how much that says, and where."""

    names: Mapping[str, Reason]
    files: Mapping[str, Reason] = field(default_factory=dict)

    def of(self, path: str, definition: Definition, owners: Mapping[str, int]) -> Reason | None:
        """What is said of a definition; of a name that several have, each is meant the less. `owners` counts them."""
        found = [self.files[path]] if path in self.files else []
        if definition.name in self.names:
            score, why = self.names[definition.name]
            found.append((score / max(1, owners.get(definition.name, 1)) ** 0.5, why))
        return max(found, default=None)


@dataclass(frozen=True, slots=True)
class TestSource:
    """The source of a failing test, and the lines of it that failed."""

    __test__ = False

    name: str
    body: str
    failing_lines: tuple[str, ...] = ()


def mentions(issue: str, tests: Sequence[TestSource], ids: Iterable[str], known: Known) -> Mentions:
    """What the words of the issue and the failing tests mention."""
    found: dict[str, Reason] = {}
    for name, reason in _said(issue, tests, ids):
        if len(name) >= _SHORTEST and (name not in found or found[name] < reason):
            found[name] = reason
    return Mentions(found, dict.fromkeys(_files(issue, known), (_FILE, "its file is named in the issue")))


def _said(issue: str, tests: Sequence[TestSource], ids: Iterable[str]) -> Iterator[tuple[str, Reason]]:
    for word in _WORD.findall(issue):
        yield word, (_ISSUE_WORD, "a word of the issue")
    for groups in _WRITTEN_AS_NAME.findall(issue):
        for name in _WORD.findall(" ".join(groups)):
            yield name, (_ISSUE, "named in the issue")
    for test in tests:
        for name in _WORD.findall(test.body):
            yield name, (_BODY, "used in a failing test")
        for name in _CALLED.findall(test.body):
            yield name, (_CALL, "called in a failing test")
        for line in test.failing_lines:
            for name in _CALLED.findall(line):
                yield name, (_FAILING_LINE, "called in the line of the test that fails")
    for name in {name for one in ids for name in parts_of(one)}:
        yield name, (_TEST_NAME, "in the name of a failing test")


def parts_of(test: str) -> Iterator[str]:
    """What the last part of a test's id may name: ``test_parse_date_fails``: parse_date, parseDate, ParseDate, …"""
    last = _SEPARATORS.split(test.partition("[")[0].rstrip())[-1]
    words = _PARTS.findall(_BEFORE.sub("", last))[:8]
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            some = [word.lower() for word in words[start:end]]
            camel = "".join(word.capitalize() for word in some)
            yield from ("_".join(some), f"_{'_'.join(some)}", camel, camel[0].lower() + camel[1:])


def test_sources(
    ids: Sequence[str],
    frames: Sequence[Frame],
    known: Known,
    read: Callable[[str], str],
    definitions: Callable[[str], Sequence[Definition]],
) -> list[TestSource]:
    """The source of the failing tests that can be found, at most twenty."""
    found = []
    for one in ids[:_MOST_TESTS]:
        path, names = _place(one, known)
        name = names[-1] if names else ""
        held = next((test for test in definitions(path) if test.name == name), None) if path else None
        if path and held:
            lines = read(path).split("\n")
            failing = (frame.line for frame in frames if frame.path == path and held.first <= frame.line <= held.last)
            shown = tuple(lines[line - 1] for line in failing if line <= len(lines))
            found.append(TestSource(one, "\n".join(lines[held.first - 1 : held.last]), shown))
    return found


def _place(test: str, known: Known) -> tuple[str | None, list[str]]:
    """The file of a test, and its names in it: of ``path::Class::name[x]`` or ``package.module.Class.name``."""
    bare = test.partition("[")[0]
    path, _, rest = bare.partition("::")
    if known(path):
        return known(path), rest.split("::")
    parts = bare.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found = known("/".join(parts[:end]) + ".py")
        if found:
            return found, parts[end:]
    return None, []


def _files(issue: str, known: Known) -> set[str]:
    words = (word.strip(".,:;()`'\"") for word in issue.split())
    return {path for word in words if "." in word for path in [known(word.partition(":")[0])] if path}


def owners_of(definitions: Iterable[Definition]) -> Counter[str]:
    """How many definitions have each name."""
    return Counter(one.name for one in definitions)
