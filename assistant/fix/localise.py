"""Where the fault may lie: lines and functions, ranked by tracebacks, coverage, names, recent changes and the map."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from assistant.config import state_dir
from assistant.fix.bench import Bench
from assistant.fix.localising.evidence import Evidence
from assistant.fix.localising.frames import Frame, Known, frames_of
from assistant.fix.localising.names import TestSource, mentions, test_sources
from assistant.fix.localising.ranking import Ranking
from assistant.fix.localising.recent import recent_changes
from assistant.fix.localising.shown import shown_to_model, table
from assistant.fix.localising.spectrum import Spectrum
from assistant.fix.localising.statements import statements_of
from assistant.fix.localising.width import spectrum_of
from assistant.fix.stages import Localisation, Reproduction
from assistant.safety.sandbox import SandboxError
from assistant.testing.paths import is_test_file
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.names import Focus
from assistant.workspace.repomap import RepoMap
from assistant.workspace.tags import Definition, tags_of

__all__ = ["localise", "shown_to_model", "table"]

_OTHER_RUNNERS = re.compile(
    r"(?:^|[\s/])(?:go|cargo|npm|npx|pnpm|yarn|bun|node|deno|jest|vitest|mvnw?|gradlew?|ctest|dotnet|rspec|phpunit|mix)\s"
)
_MOST_FILES = 60
"""Files that are looked into, the most suspect ones; our choice, as the numbers below."""
_MOST_BLAMED = 12
_MOST_LINES = 200
_MOST_FUNCTIONS = 50
_MAP_DEFINITIONS = 200
_MAP_SECONDS = 2.0
"""Seconds for the repository's map, which counts little where tests are watched;"""
_LONG_MAP_SECONDS = 10.0
"""and where nothing else says anything: it goes on from where it was."""
_GIT_SECONDS = 5.0
_RESERVED = 0.15
"""Of the time, what is kept for all that comes after the tests."""


async def localise(
    bench: Bench, reproduction: Reproduction, *, issue: str | None = None, seconds: float = 60.0
) -> Localisation:
    """Rank what may be wrong, in at most about so many seconds; `sources` says what could be used in them."""
    started = time.monotonic()
    maps = state_dir(bench.sandbox.environ) / "maps"
    look = _Look(bench.workspace, reproduction, issue or "", maps, started + seconds)
    known = await asyncio.to_thread(look.known)
    frames = frames_of(reproduction.before.output, known)
    tests = await asyncio.to_thread(look.tests, frames, known)
    watched = look.watched(bench, known, frames, started + seconds * (1 - _RESERVED))
    spectrum, prior = await asyncio.gather(watched, asyncio.to_thread(look.prior, tests, _MAP_SECONDS))
    if spectrum is None and all(frame.of_tests for frame in frames):
        prior = await asyncio.to_thread(look.prior, tests, _LONG_MAP_SECONDS)
    evidence = await asyncio.to_thread(look.evidence, spectrum, frames, tests, prior, known)
    ranking = Ranking(evidence)
    lines = await asyncio.to_thread(ranking.lines, _MOST_LINES)
    functions = ranking.functions(lines, _MOST_FUNCTIONS)
    return Localisation(lines, functions, evidence.sources, round(time.monotonic() - started, 3))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look for a fault; `deadline` is a time of `time.monotonic`, `maps` where repositories' maps are kept."""

    workspace: Workspace
    found: Reproduction
    issue: str
    maps: Path
    deadline: float
    _texts: dict[str, str] = field(default_factory=dict)
    _definitions: dict[str, tuple[Definition, ...]] = field(default_factory=dict)

    @property
    def _left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def known(self) -> Known:
        """The repository's files, and those of a test that the agent wrote."""
        try:
            paths: Iterable[str] = self.workspace.git.files()
        except WorkspaceError:
            paths = self.workspace.list(None).paths
        places = [place for place in (self.found.before.place, self.workspace.root) if place]
        return Known.of({*paths, *self.found.own_test.files}, places)

    async def watched(self, bench: Bench, known: Known, frames: Sequence[Frame], deadline: float) -> Spectrum | None:
        """Coverage, where there is Python and something fails."""
        failing = bool(self.found.failing) or self.found.before.exit_code != 0
        if not failing or not self._in_python(known, frames):
            return None
        with suppress(SandboxError):
            return await spectrum_of(bench, self.found, deadline)
        return None

    def _in_python(self, known: Known, frames: Sequence[Frame]) -> bool:
        if frames:
            return any(frame.path.endswith(".py") for frame in frames)
        there = any(path.endswith(".py") for path in known.paths)
        return there and not _OTHER_RUNNERS.search(self.found.command)

    def tests(self, frames: Sequence[Frame], known: Known) -> list[TestSource]:
        """The failing tests' sources."""
        return test_sources(self.found.failing, frames, known, self._read, self._defined)

    def prior(self, tests: Sequence[TestSource], seconds: float) -> Mapping[tuple[str, str], float]:
        """What the repository's map makes of the issue and the tests: the place in its order, as a number in [0, 1]."""
        words = "\n".join([self.issue, *(test.body for test in tests)])
        repo_map = RepoMap(self.workspace, self.maps, processes=1)
        with suppress(WorkspaceError, OSError):
            places = repo_map.ranked(Focus(words), _MAP_DEFINITIONS, seconds=min(seconds, self._left / 4))
            code = [(place.path, place.definition.name) for place in places if not is_test_file(place.path)]
            return {key: 1 - number / len(code) for number, key in enumerate(dict.fromkeys(code))}
        return {}

    def evidence(
        self,
        spectrum: Spectrum | None,
        frames: Sequence[Frame],
        tests: Sequence[TestSource],
        prior: Mapping[tuple[str, str], float],
        known: Known,
    ) -> Evidence:
        """All that is known, of the files that are most suspect."""
        said = mentions(self.issue, tests, self.found.failing, known)
        paths = _suspects(spectrum, frames, said.files, prior)
        texts = {path: text for path in paths if (text := self._read(path))}
        changed = partial(recent_changes, self.workspace.root, paths[:_MOST_BLAMED])
        kept = {path: lines for path, lines in spectrum.lines.items() if path in texts} if spectrum else {}
        return Evidence(
            Spectrum(spectrum.failing, spectrum.passing, kept) if spectrum else None,
            [frame for frame in frames if frame.path in texts],
            said,
            changed(min(_GIT_SECONDS, self._left / 2)),
            prior,
            statements_of(texts),
            {path: self._defined(path) for path in texts},
        )

    def _read(self, path: str) -> str:
        """The text of a file, "" where it cannot be read."""
        if path not in self._texts:
            self._texts[path] = self._own(path) or _quietly(self.workspace, path)
        return self._texts[path]

    def _own(self, path: str) -> str:
        changes = (change.new for change in self.found.own_test.changes if change.path == path)
        return "".join(new.content.decode("utf-8", "replace") for new in changes if new)

    def _defined(self, path: str) -> tuple[Definition, ...]:
        if path not in self._definitions:
            self._definitions[path] = tags_of(path, self._read(path)).definitions if self._left else ()
        return self._definitions[path]


def _suspects(
    spectrum: Spectrum | None, frames: Sequence[Frame], files: Iterable[str], prior: Mapping[tuple[str, str], float]
) -> list[str]:
    """The files that are looked into, the most suspect first."""
    scores = dict.fromkeys(files, 0.5)
    for (path, _), score in prior.items():
        scores[path] = max(scores.get(path, 0.0), score * 0.1)
    for path, lines in spectrum.lines.items() if spectrum else ():
        best = max(spectrum.score(counts) * (not counts.loading) for counts in lines.values()) if spectrum else 0.0
        scores[path] = max(scores.get(path, 0.0), best)
    for frame in frames:
        if not frame.of_tests:
            scores[frame.path] = scores.get(frame.path, 0.0) + frame.weight
    return sorted(scores, key=lambda path: (-scores[path], path))[:_MOST_FILES]


def _quietly(workspace: Workspace, path: str) -> str:
    with suppress(WorkspaceError):
        return workspace.read(path).text
    return ""
