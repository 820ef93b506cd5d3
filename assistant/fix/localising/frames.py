"""Files and lines that the output of failing tests names: tracebacks, panics, assertions, of the common languages."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.testing.paths import is_test_file

_PYTHON = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d+)')
_JAVA = re.compile(
    r"^\s*at (?:[\w.$-]+/)?(?P<owner>[\w.$]+)\.[\w$<>]+\((?P<path>[\w$]+\.(?:java|kt|scala|groovy)):(?P<line>\d+)\)"
)
_SUFFIX = r"py|pyx|[cm]?[jt]sx?|go|rs|java|kt|kts|c|cc|cpp|cxx|h|hh|hpp|cs|rb|php|swift|vue|exs?"
_NAMED = re.compile(rf"(?:file://)?(?P<path>[^\s:()'\"<>|]+\.(?:{_SUFFIX}))[:(](?P<line>\d+)")
_SPACED = re.compile(rf"^(?P<path>[^\s:][^:\n]*\.(?:{_SUFFIX})):(?P<line>\d+)")
_HEADER = re.compile(
    r"^(_{3,} .* _{3,}|={30,}|-{30,}|Traceback \(most recent call last\):|(FAIL|ERROR): .*"
    r"|During handling .*|The above exception .*"
    r"|--- FAIL: .*|---- .* ----|goroutine \d+ .*|\s*● .*|not ok \d+ .*)$"
)
_INNERMOST_LAST = (".py", ".pyx")
_DECAY = 0.7
"""What a frame counts beside the one it called; our choice."""
_MOST = 400_000
"""Characters of output that are looked through, from its end."""

_LONGEST = 2_000
"""Characters of a line that may name a place: patterns take the square of what is longer; our choice."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A line that the output names: how near it is to where it failed, in (0, 1], and whether tests hold it."""

    path: str
    line: int
    weight: float
    of_tests: bool


@dataclass(frozen=True, slots=True)
class Known:
    """The files of a repository, as outputs may name them; it lies at one of `places`."""

    paths: frozenset[str]
    places: tuple[str, ...]
    by_name: dict[str, list[str]]

    @classmethod
    def of(cls, paths: Collection[str], places: Iterable[Path]) -> Known:
        """Of the relative paths of its files."""
        by_name = defaultdict[str, list[str]](list)
        for path in paths:
            by_name[path.rpartition("/")[2]].append(path)
        return cls(frozenset(paths), tuple(f"{place}/" for place in dict.fromkeys(places)), by_name)

    def relative(self, text: str) -> str:
        """A text in which no path begins with where the repository lies."""
        for place in self.places:
            text = text.replace(place, "")
        return text

    def __call__(self, text: str) -> str | None:
        """The file that is meant by an absolute path, a relative one, or the only one that ends so; else None."""
        path = self.relative(text.replace("\\", "/").removeprefix("file://")).removeprefix("./")
        if path in self.paths:
            return path
        if path.startswith("/"):
            return None
        ends = [known for known in self.by_name.get(path.rpartition("/")[2], ()) if known.endswith(f"/{path}")]
        return ends[0] if len(ends) == 1 else None


def frames_of(output: str, known: Known) -> tuple[Frame, ...]:
    """The lines of the repository that the output names, each once with the most that it ever counts."""
    best: dict[tuple[str, int], Frame] = {}
    for block in _blocks(output[-_MOST:], known):
        for frame in _weighed(block):
            key = frame.path, frame.line
            if key not in best or best[key].weight < frame.weight:
                best[key] = frame
    return tuple(sorted(best.values(), key=lambda frame: -frame.weight))


def _blocks(output: str, known: Known) -> Iterator[list[tuple[str, int]]]:
    """The places named between one header and the next, those of tests too; at least one."""
    block: list[tuple[str, int]] = []
    for line in output.splitlines():
        if len(line) > _LONGEST:
            continue
        if _HEADER.match(line):
            yield from [block] if block else []
            block = []
        for place in _places(line, known):
            if place not in block[-1:]:
                block.append(place)
    yield from [block] if block else []


def _places(line: str, known: Known) -> Iterator[tuple[str, int]]:
    for pattern in (_PYTHON, _JAVA, _SPACED, _NAMED):
        places = [(known(_path(found)), int(found["line"])) for found in pattern.finditer(known.relative(line))]
        named = [(path, number) for path, number in places if path and number]
        if named:
            yield from named
            return


def _path(found: re.Match[str]) -> str:
    """The path; of Java only the file's name is said, and its package before it."""
    owner = found.groupdict().get("owner")
    if owner is None:
        return found["path"]
    package = owner.rpartition(".")[0].replace(".", "/")
    return f"{package}/{found['path']}" if package else found["path"]


def _weighed(block: Sequence[tuple[str, int]]) -> Iterator[Frame]:
    """From the innermost frame outwards, those of the tests beside the others."""
    inward = [*block] if not block[0][0].endswith(_INNERMOST_LAST) else [*reversed(block)]
    weight = 1.0
    for path, line in dict.fromkeys(inward):
        of_tests = is_test_file(path)
        yield Frame(path, line, weight, of_tests)
        if not of_tests:
            weight *= _DECAY
