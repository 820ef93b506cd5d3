"""One order of lines and functions out of all that speaks against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from assistant.fix.localising.evidence import WEIGHTS, Evidence, Source
from assistant.fix.localising.names import owners_of
from assistant.fix.localising.spectrum import Counts, Spectrum
from assistant.fix.localising.statements import Statements
from assistant.fix.stages import SuspectFunction, SuspectLine
from assistant.workspace.tags import Definition

_NEAR = 0.4
"""What a frame says of the other lines of its function; our choice, as the numbers below."""
_DECIDES = 0.9
"""How suspect a condition is beside what is only run since it holds."""
_OF_FUNCTION = 0.2
"""Of a line's score, the share that is the most suspect line of its function: faults are seldom far."""
_LOADED = 0.5
"""How much less a line counts that is run while modules are loaded: it is run for every test."""
_STILL = (0.3, 0.6)
"""How much a line counts that does nothing (an import, a docstring), and one that only defines something."""
_ACTING = 0.02
"""What each operation in a line adds, so that of equal ones that comes first which does more."""
_MOST_OPERATIONS = 5
_MOST_NAMED = 12
"""Functions whose lines are ranked because their names are said, where no test's lines are known."""
_CALLABLE = frozenset({"function", "method", "macro"})
_HOLDING = _CALLABLE | {"class", "struct", "trait", "object", "interface", "enum", "module"}

Key = tuple[str, int]
"""A path and a line."""
_Said = dict[Source, tuple[float, str]]


class Ranking:
    """Ranks by one evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._held = {path: holders(found) for path, found in evidence.definitions.items()}

    def lines(self, limit: int) -> tuple[SuspectLine, ...]:
        """The most suspect lines first."""
        found = self._with_functions([self._line(key, said) for key, said in self._said().items()])
        return tuple(sorted(found, key=lambda one: (-one.score, one.path, one.line))[:limit])

    def functions(self, lines: Iterable[SuspectLine], limit: int) -> tuple[SuspectFunction, ...]:
        """The functions that hold the most suspect of `lines`, as suspect as these."""
        found: dict[tuple[str, int], SuspectFunction] = {}
        for line in lines:
            held = self._holding(line.path, line.line)
            if held and (line.path, held.first) not in found:
                key = line.path, held.first
                found[key] = SuspectFunction(line.path, held.qualified, held.first, held.last, line.score, line.why)
        return tuple(found.values())[:limit]

    def _line(self, key: Key, said: _Said) -> SuspectLine:
        used = self.evidence.sources
        total = sum(WEIGHTS[source] for source in used) or 1.0
        score = sum(WEIGHTS[source] * said[source][0] for source in used if source in said) / total
        why = tuple(said[source][1] for source in used if source in said and said[source][1])
        return SuspectLine(*key, round(self._acting(key, score), 6), why)

    def _with_functions(self, lines: Sequence[SuspectLine]) -> list[SuspectLine]:
        best: dict[tuple[str, int], float] = defaultdict(float)
        for one in lines:
            best[self._function(one)] = max(best[self._function(one)], one.score)
        own = 1 - _OF_FUNCTION
        return [
            replace(one, score=round(own * one.score + _OF_FUNCTION * best[self._function(one)], 6)) for one in lines
        ]

    def _function(self, line: SuspectLine) -> tuple[str, int]:
        """The function of a line; a line outside of any is alone."""
        held = self._holding(line.path, line.line)
        return line.path, held.first if held and held.kind in _CALLABLE else -line.line

    def _acting(self, key: Key, score: float) -> float:
        operations = self._statements(key[0]).acts.get(key[1])
        if operations is None:
            return score / (1 + _ACTING)
        if operations <= 0:
            return score * _STILL[1 if operations == 0 else 0]
        return score * (1 + _ACTING * min(operations, _MOST_OPERATIONS) / _MOST_OPERATIONS) / (1 + _ACTING)

    def _said(self) -> dict[Key, _Said]:
        """By line what each source says of it."""
        said: dict[Key, _Said] = defaultdict(dict)
        for source, key, score, why in (*self._by_coverage(), *self._by_frames()):
            known = said[key].get(source)
            if known is None or known[0] < score:
                said[key][source] = (score, why)
        if self.evidence.spectrum is None:
            for key in self._of_named(said):
                said[key].setdefault("names", (0.0, ""))
        self._near_frames(said)
        self._by_function(said)
        for key in said:
            change = self.evidence.changes.get(key[0], {}).get(key[1])
            if change is not None:
                said[key]["changes"] = (change.score, change.why)
        return said

    def _by_coverage(self) -> Iterator[tuple[Source, Key, float, str]]:
        spectrum = self.evidence.spectrum
        for path, lines in spectrum.lines.items() if spectrum else ():
            joined: dict[int, Counts] = {}
            for line, counts in lines.items():
                first = self._statements(path).at(line)
                if first is not None:
                    joined[first] = _joined(joined.get(first), counts)
            if spectrum:
                yield from self._scored(spectrum, path, joined)

    def _scored(
        self, spectrum: Spectrum, path: str, counted: Mapping[int, Counts]
    ) -> Iterator[tuple[Source, Key, float, str]]:
        """The score of each statement, at least nearly that of the ones that it decides about."""
        decided = self._statements(path).decided
        scores = {line: (_score(spectrum, counts), _run_by(spectrum, counts)) for line, counts in counted.items()}
        for line in sorted(scores, reverse=True):  # inner ones first
            header, score = decided.get(line), scores[line][0] * _DECIDES
            if header in scores and header < line and scores[header][0] < score:
                scores[header] = score, f"decides about line {line}, {scores[line][1]}"
        yield from (("coverage", (path, line), score, why) for line, (score, why) in scores.items())

    def _by_frames(self) -> Iterator[tuple[Source, Key, float, str]]:
        for frame in self.evidence.frames:
            first = self._statements(frame.path).at(frame.line)
            if not frame.of_tests and first is not None:
                yield "traceback", (frame.path, first), frame.weight, "in the traceback"

    def _near_frames(self, said: dict[Key, _Said]) -> None:
        """A frame's function is suspect, too: what went wrong may have begun some lines before."""
        near: dict[tuple[str, int], float] = {}
        for _, (path, line), weight, _why in self._by_frames():
            held = self._holding(path, line)
            if held:
                near[path, held.first] = max(near.get((path, held.first), 0.0), weight * _NEAR)
        for key, ones in said.items():
            held = self._holding(*key)
            if held and (key[0], held.first) in near:
                ones.setdefault("traceback", (near[key[0], held.first], "its function is in the traceback"))

    def _by_function(self, said: dict[Key, _Said]) -> None:
        """What names and the map say of the function that a line is in."""
        owners = owners_of(one for found in self.evidence.definitions.values() for one in found)
        reasons: dict[tuple[str, int], tuple[tuple[float, str] | None, float]] = {}
        for key, ones in said.items():
            held = self._holding(*key)
            if held is None:
                continue
            place = key[0], held.first
            if place not in reasons:
                prior = self.evidence.prior.get((key[0], held.name), 0.0)
                reasons[place] = self.evidence.mentions.of(key[0], held, owners), prior
            named, prior = reasons[place]
            if named:
                ones["names"] = named
            if prior:
                ones["map"] = (prior, "")

    def _of_named(self, said: Mapping[Key, _Said]) -> Iterator[Key]:
        """Lines of functions that frames or names point to, where nobody knows what is run."""
        functions = {(key[0], held.first): held for key in said if (held := self._holding(*key))}
        named = sorted(self._named(), key=lambda one: -one[0])[:_MOST_NAMED]
        functions |= {(path, held.first): held for _, path, held in named}
        for (path, _), held in functions.items():
            statements = self._statements(path)
            lines = {statements.at(line) for line in range(held.line, held.last + 1)} - {None}
            yield from ((path, line) for line in lines if line and statements.acts.get(line, 1) >= 0)

    def _named(self) -> Iterator[tuple[float, str, Definition]]:
        owners = owners_of(one for found in self.evidence.definitions.values() for one in found)
        for path, found in self.evidence.definitions.items():
            for one in found:
                reason = self.evidence.mentions.of(path, one, owners)
                if reason and one.kind in _CALLABLE:
                    yield reason[0], path, one

    def _statements(self, path: str) -> Statements:
        return self.evidence.statements.get(path) or Statements()

    def _holding(self, path: str, line: int) -> Definition | None:
        return self._held.get(path, {}).get(line)


def holders(definitions: Sequence[Definition]) -> dict[int, Definition]:
    """By line the innermost function that holds it, else the innermost class or the like."""
    fit = [one for one in definitions if one.kind in _HOLDING and not one.broken]
    inward = sorted(fit, key=lambda one: (one.kind in _CALLABLE, one.first - one.last))
    return {line: one for one in inward for line in range(one.first, one.last + 1)}


def _joined(one: Counts | None, other: Counts) -> Counts:
    """The counts of a statement, of those of its lines."""
    if one is None:
        return other
    return Counts(max(one.failed, other.failed), max(one.passed, other.passed), one.loading and other.loading)


def _score(spectrum: Spectrum, counts: Counts) -> float:
    return spectrum.score(counts) * (_LOADED if counts.loading else 1.0)


def _run_by(spectrum: Spectrum, counts: Counts) -> str:
    if counts.loading:
        return "run while modules are loaded, for all tests"
    many = "" if spectrum.failing == 1 else "s"
    return (
        f"run by {counts.failed} of {spectrum.failing} failing test{many} "
        f"and {counts.passed} of {spectrum.passing} passing ones"
    )
