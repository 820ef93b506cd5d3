"""What a source's tests do: which pass each time, which run each function, and the environment that they need."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from assistant import interrupts
from assistant.errors import UserError
from assistant.fix.localising.coverage_run import run_watched
from assistant.fix.localising.spectrum import LOADING, Runs
from assistant.testing.paths import is_test_file
from assistant.testing.report import TestReport
from assistant.workspace.git import GitReader
from training.data.repositories.checkouts import fingerprint, tree
from training.data.repositories.compiled import with_compiled
from training.data.repositories.environments import EnvironmentRefused, environment
from training.data.repositories.modules import parsed, text_of
from training.data.repositories.suites import FIRST, Suite, command_of, patience, reversed_order, suite, without_options
from training.data.schema import Function, Refused, Source
from training.data.stage import Context

_WITHOUT_A_DATE = frozenset({1970, 1979, 1980, 2016, 2020})
"""Years of the fixed times that build programs write for reproducible archives: 2016-01-01, 2020-02-02, …"""


@dataclass(frozen=True, slots=True)
class Profile:
    """Runs a source's tests `runs` times, once in another order and once watched, each time in a fresh copy.

    A test that does not come out the same each time is set apart as flaky. `seconds` stays 0: it would differ from
    machine to machine, and with it all that is made from the record. `environments` false takes the interpreter that
    is there.
    """

    runs: int = 3
    seconds: float = FIRST
    environments: bool = True

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Source
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Source | Refused]:
        """The sources with all that was found; refused: `missing`, `environment`, `no_tests`, `broken`, `timeout`."""
        for source in records:
            try:
                yield self._profiled(source, context)
            except EnvironmentRefused as error:
                yield Refused(source.id, "environment", str(error))
            except _Unfit as error:
                yield Refused(source.id, error.reason, str(error))
            except UserError as error:
                yield Refused(source.id, "no_tests", str(error))

    def _profiled(self, source: Source, context: Context) -> Source:
        try:
            known = described(source)
            root = tree(known, "", context.cache)
        except UserError as error:
            raise _Unfit("missing", str(error)) from None
        python = known.python
        if self.environments and not python:
            python = str(environment(root, context.cache, watch=context.watch))
        command = known.test or command_of(root, python)
        context.watch(f"running the tests of {source.name}")
        with suite(root, command, python) as tests:
            seen = interrupts.run(self._seen(tests, context.cache))
        passing = sorted(seen.passing)
        return replace(
            known,
            test=seen.command,
            python=python,
            environment=Path(python).parent.parent.name if self.environments and python else known.environment,
            passing=tuple(passing),
            flaky=tuple(sorted(seen.flaky)),
            lines=seen.lines(),
            functions=tuple(functions(root, seen.runs, seen.passing)),
        )

    async def _seen(self, tests: Suite, cache: Path) -> _Seen:
        first = await tests.run(number=1, seconds=self.seconds)
        if not first.passed and not first.timed_out:
            tests = _freed(tests)
            first = await tests.run(number=1, seconds=self.seconds)
        if first.timed_out:
            raise _Unfit("timeout", f"the tests do not end within {self.seconds:g} seconds")
        if not first.ran or not first.passed:
            raise _Unfit("broken", first.problem or "no test passes, or none has a name")
        limit, tests = patience(first.seconds), await with_compiled(tests, cache)
        others = [await tests.run(number=number, seconds=limit) for number in range(2, self.runs + 1)]
        reports = [first, *others]
        if (turned := await _turned(tests, first, limit)) is not None:
            reports.append(turned)
        watched, runs = await run_watched(tests.bench, tests.bench.command, limit * 3)
        return _Seen(tests.bench.command, tuple(reports), watched, runs)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What runs of all tests gave, and which lines each test runs."""

    command: str
    reports: tuple[TestReport, ...]
    watched: TestReport
    runs: Runs
    passing: frozenset[str] = field(init=False)
    flaky: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        always = frozenset[str].intersection(*(_clean(report) for report in self.reports))
        once = frozenset[str]().union(*(report.passed for report in self.reports))
        object.__setattr__(self, "passing", always)
        object.__setattr__(self, "flaky", once - always)

    def lines(self) -> Mapping[str, tuple[int, ...]]:
        """The lines that passing tests run, by file; no tests' own."""
        found = self.runs.lines_of(self.passing)
        return {path: tuple(sorted(found[path])) for path in sorted(found) if found[path] and _is_code(path)}


class _Unfit(UserError):
    """The tests cannot be used; `reason` is one word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def described(source: Source) -> Source:
    """The source with its revision, the day of it, and its licence, where it does not say them yet."""
    from training.data.guards.licences import licence_of

    root = Path(source.root).resolve()
    if not root.is_dir():
        raise UserError(f"{source.root} is no folder; fetch {source.name} first")
    revision = source.revision or _head(root) or fingerprint(root)
    return replace(
        source,
        root=str(root),
        revision=revision,
        released=source.released or _released(root, revision),
        licence=source.licence or licence_of(root),
    )


def functions(root: Path, runs: Runs, passing: Collection[str]) -> Iterator[Function]:
    """The functions that passing tests run, by file and line, each with those tests; a name is a dotted one."""
    for path in sorted(runs.files):
        if not _is_code(path):
            continue
        for name, node in _defined(root / path):
            tests = _tests(runs, path, range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1), passing)
            if tests:
                yield Function(path, name, node.lineno, node.end_lineno or node.lineno, tests)


def _tests(runs: Runs, path: str, rows: range, passing: Collection[str]) -> tuple[str, ...]:
    lines, bits = runs.files[path], 0
    for row in rows:
        bits |= lines.get(row, 0)
    names = (name for number, name in enumerate(runs.tests) if bits >> number & 1)
    return tuple(sorted(name for name in names if name != LOADING and name in passing))


def _defined(place: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    if (module := parsed(text_of(place) or "")) is not None:
        yield from _inside(module, "")


def _inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", child
        own = f"{child.name}." if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        yield from _inside(child, prefix + own)


def _is_code(path: str) -> bool:
    return path.endswith(".py") and not is_test_file(path)


def _clean(report: TestReport) -> frozenset[str]:
    return frozenset(report.passed) - frozenset(report.failed)


def _freed(tests: Suite) -> Suite:
    return replace(tests, bench=replace(tests.bench, command=without_options(tests.bench.command)))


async def _turned(tests: Suite, first: TestReport, limit: float) -> TestReport | None:
    """The tests in reverse order; None where that cannot be asked for, or names tests that are not found so."""
    command = reversed_order(tests.bench.command, first.passed)
    if command is None:
        return None
    turned = replace(tests, bench=replace(tests.bench, command=command))
    report = await turned.run(number=1, seconds=limit)
    known = {*report.passed, *report.failed, *report.skipped}
    return report if report.ran and known.issuperset(first.passed) else None


def _head(root: Path) -> str:
    return (GitReader(root).head() or "") if (root / ".git").exists() else ""


def _released(root: Path, revision: str) -> str:
    """The day of the commit, or of the metadata in a source distribution, unless that is one that programs make up."""
    if re.fullmatch(r"[0-9a-f]{40,64}", revision):
        return GitReader(root).write("show", "--no-patch", "--format=%cs", revision).decode().strip()
    place = root / "PKG-INFO"
    if not place.is_file():
        return ""
    made = datetime.fromtimestamp(place.stat().st_mtime, UTC)
    return "" if made.year in _WITHOUT_A_DATE else made.date().isoformat()
