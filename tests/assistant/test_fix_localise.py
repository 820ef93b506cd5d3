import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.config import Settings
from assistant.fix.bench import Bench
from assistant.fix.localise import localise, shown_to_model, table
from assistant.fix.localising.coverage_run import read_runs
from assistant.fix.localising.evidence import Evidence
from assistant.fix.localising.frames import Known, frames_of
from assistant.fix.localising.names import TestSource, mentions, parts_of
from assistant.fix.localising.ranking import Ranking
from assistant.fix.localising.recent import Change, read_blame
from assistant.fix.localising.spectrum import LOADING, Counts, Runs, Spectrum, ochiai
from assistant.fix.localising.statements import statements_of
from assistant.fix.localising.width import widths
from assistant.fix.request import FixRequest
from assistant.fix.stages import Localisation, Reproduction
from assistant.fix.views import views
from assistant.safety.choice import sandbox_for
from assistant.testing.report import TestReport
from assistant.workspace.files import Workspace
from assistant.workspace.outline import roughly
from assistant.workspace.tags import tags_of

COUNT = st.integers(0, 500)
CODE = """\
LIMIT = 10


def clamp(value, low=0):
    '''Between low and LIMIT.'''
    if value < low:
        return low
    chosen = max(
        value,
        LIMIT,
    )
    return chosen


def double(value):
    return value * 2
"""
TESTS = """\
import unittest
from shop.sizes import clamp, double


class Sizes(unittest.TestCase):
    def test_clamp_is_limited(self):
        self.assertEqual(clamp(50), 10)

    def test_clamp_low(self):
        self.assertEqual(clamp(-1), 0)

    def test_double(self):
        self.assertEqual(double(2), 4)
"""


@given(failed=COUNT, passed=COUNT, more=st.integers(0, 500))
def test_ochiai_is_its_formula_within_its_bounds(failed: int, passed: int, more: int) -> None:
    total = failed + more
    score = ochiai(failed, passed, total)
    assert 0.0 <= score <= 1.0
    wanted = failed / math.sqrt(total * (failed + passed)) if failed else 0.0
    assert score == pytest.approx(wanted)
    assert ochiai(failed, 0, failed) == (1.0 if failed else 0.0)


@given(failed=st.integers(1, 500), passed=COUNT, more=st.integers(1, 500))
def test_ochiai_grows_with_failing_tests_and_shrinks_with_passing_ones(failed: int, passed: int, more: int) -> None:
    total = failed + more
    assert ochiai(failed, passed + 1, total) < ochiai(failed, passed, total)
    assert ochiai(failed + 1, passed, total) > ochiai(failed, passed, total)


RUNS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x.py", "y.py"]), st.integers(1, 6)), max_size=40)


@settings(max_examples=50)
@given(processes=st.lists(RUNS, max_size=4), failing=st.sets(st.sampled_from("abc")), data=st.data())
def test_the_spectrum_of_several_processes_counts_each_test_once(
    processes: list[list[tuple[str, str, int]]], failing: set[str], data: st.DataObject
) -> None:
    passing = data.draw(st.sets(st.sampled_from("abcdef"))) - failing
    found = Runs.joined([_process(seen, data.draw(st.permutations("abcdef"))) for seen in processes])
    spectrum = found.spectrum(failing, passing)
    tests: dict[tuple[str, int], set[str]] = {}
    for seen in processes:
        for test, path, line in seen:
            tests.setdefault((path, line), set()).add(test)
    wanted = {key: Counts(len(ran & failing), len(ran & passing)) for key, ran in tests.items() if ran & failing}
    assert {(path, line): one for path, lines in spectrum.lines.items() for line, one in lines.items()} == wanted


def _process(seen: list[tuple[str, str, int]], order: list[str]) -> Runs:
    files: dict[str, dict[int, int]] = {}
    for test, path, line in seen:
        lines = files.setdefault(path, {})
        lines[line] = lines.get(line, 0) | 1 << order.index(test)
    return Runs(tuple(order), files)


def test_what_runs_while_modules_are_loaded_runs_for_every_test() -> None:
    spectrum = Runs((LOADING, "a", "b"), {"x.py": {1: 1, 2: 3}}).spectrum({"a"}, {"b"})
    assert spectrum.lines == {"x.py": {1: Counts(1, 1, loading=True), 2: Counts(1, 0)}}


@settings(max_examples=30)
@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_what_a_test_writes_in_the_place_of_coverage_is_left_aside(data: bytes) -> None:
    assert list(read_runs(data)) == []


KNOWN = Known.of(
    [
        *("src/app.py", "src/a b/m.py", "tests/test_app.py", "web/cart.js", "web/cart.test.js", "calc/calc.go"),
        *("calc/calc_test.go", "src/lib.rs", "src/main/java/org/shop/Bar.java", "src/main/java/org/other/Bar.java"),
        "src/vec.cpp",
    ],
    [Path("/home/me/a 中 place")],
)
PYTHON = """\
Traceback (most recent call last):
  File "/home/me/a 中 place/tests/test_app.py", line 4, in test_total
  File "/home/me/a 中 place/src/app.py", line 7, in total
  File "src/a b/m.py", line 12, in tax
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
"""
PYTEST = """\
_______ test_total _______
tests/test_app.py:4: in test_total
    total([1])
src/app.py:7: in total
    tax()
src/a b/m.py:12: ValueError
"""
JAVASCRIPT = """\
  ● cart › adds
    at total (/home/me/a 中 place/web/cart.js:7:11)
    at tax (file:///home/me/a 中 place/web/cart.js:12:3)
    at Object.<anonymous> (web/cart.test.js:4:1)
    at node:internal/main/run:1:2
"""
GO = """\
--- FAIL: TestAdd (0.00s)
    calc_test.go:4: got 3
panic: boom
goroutine 7 [running]:
	/home/me/a 中 place/calc/calc.go:12 +0x1d
	/home/me/a 中 place/calc/calc.go:7 +0x2a
"""
RUST = """\
---- tests::adds stdout ----
thread 'tests::adds' panicked at src/lib.rs:12:5:
   2: shop::total at ./src/lib.rs:7:9
"""
JAVA = """\
java.lang.IllegalStateException: boom
	at org.shop.Bar.tax(Bar.java:12)
	at org.shop.Bar.total(Bar.java:7)
	at java.base/java.lang.Thread.run(Thread.java:840)
"""
CPP = """\
vec: src/vec.cpp:12: int at(int): Assertion `i < size' failed.
src/vec.cpp:7: Failure
"""


@pytest.mark.parametrize(
    ("output", "path", "outer"),
    [
        (PYTHON, "src/a b/m.py", "src/app.py"),
        (PYTEST, "src/a b/m.py", "src/app.py"),
        (JAVASCRIPT, "web/cart.js", "web/cart.js"),
        (GO, "calc/calc.go", "calc/calc.go"),
        (RUST, "src/lib.rs", "src/lib.rs"),
        (JAVA, "src/main/java/org/shop/Bar.java", "src/main/java/org/shop/Bar.java"),
        (CPP, "src/vec.cpp", "src/vec.cpp"),
    ],
    ids=["python", "pytest", "javascript", "go", "rust", "java", "c++"],
)
def test_frames_are_found_and_the_innermost_counts_most(output: str, path: str, outer: str) -> None:
    frames = {(one.path, one.line): one for one in frames_of(output, KNOWN)}
    tests = {("tests/test_app.py", 4), ("web/cart.test.js", 4), ("calc/calc_test.go", 4)}
    code = {key: one.weight for key, one in frames.items() if not one.of_tests}
    assert set(code) == {(path, 12), (outer, 7)}
    assert {key for key, one in frames.items() if one.of_tests} <= tests
    innermost = (path, 7) if "at total (" in output else (path, 12)
    assert code[innermost] == max(code.values())
    assert min(code.values()) < max(code.values())


@settings(max_examples=50)
@given(st.text(max_size=300))
def test_no_output_is_too_odd_for_frames(output: str) -> None:
    assert all(one.path in KNOWN.paths for one in frames_of(output, KNOWN))


STATEMENTS = """\
def f(a,
      b=1):
    '''Doc.'''
    if (a and
            b):
        return g(
            a)
    else:
        pass
"""


def test_a_statement_on_several_lines_is_one_suspect_and_else_is_none() -> None:
    found = statements_of({"m.py": STATEMENTS, "broken.py": "def (:\n\n}", "m.go": "x := 1\n}\n// why\n"})
    assert [found["m.py"].at(line) for line in range(1, 10)] == [1, 1, 3, 4, 4, 6, 6, None, 9]
    acts = found["m.py"].acts
    assert acts[3] < acts[1] < acts[9] < acts[6]
    assert found["m.py"].decided == {6: 4, 9: 4}
    assert found["broken.py"].at(1) == 1
    assert [found["m.go"].at(line) for line in (1, 2, 3)] == [1, None, None]


def test_names_of_the_issue_and_the_test_point_to_definitions() -> None:
    test = TestSource("t.py::test_parse_date", "def test_parse_date():\n    assert parse(x) == day(x)", ("parse(x)",))
    said = mentions("The `Clock.read` is wrong in src/app.py: it stops.", [test], [test.name], KNOWN)
    assert {"parse_date", "parseDate", "_parse"} <= {*parts_of(test.name)}
    assert said.names["read"][0] > said.names["stops"][0]
    assert said.names["parse"][0] > said.names["day"][0]
    assert set(said.files) == {"src/app.py"}


def test_what_was_changed_last_is_more_suspect_and_the_first_commit_is_not() -> None:
    day = 86_400
    now, first, later, none = 100.0 * day, "a" * 40, "b" * 40, "0" * 40
    text = (
        f"{first} 1 1 1\nauthor-time 0\nboundary\n\tx\n{later} 2 2 1\nauthor-time {98 * day}\n\tauthor-time 7\n"
        f"{none} 3 3 1\nauthor-time {now:.0f}\n\tz\n{later} 9 4\n\ty\n"
    )
    changes = read_blame(text, now)
    assert changes == {2: Change(2.0), 3: Change(None), 4: Change(2.0)}
    assert changes[3].score > changes[2].score
    assert changes[2].why == "changed 2 days ago"


def test_all_that_is_known_makes_one_order_with_reasons() -> None:
    definitions = {"m.py": tags_of("m.py", CODE).definitions}
    spectrum = Spectrum(
        1, 2, {"m.py": {4: Counts(1, 2, loading=True), 6: Counts(1, 1), 8: Counts(1, 0), 9: Counts(1, 0)}}
    )
    evidence = Evidence(spectrum, statements=statements_of({"m.py": CODE}), definitions=definitions)
    ranking = Ranking(evidence)
    lines = ranking.lines(10)
    assert [one.line for one in lines] == [8, 6, 4]
    assert lines[0].why == ("run by 1 of 1 failing test and 0 of 2 passing ones",)
    assert [(one.name, one.first) for one in ranking.functions(lines, 5)] == [("clamp", 4)]
    assert all(0.0 <= one.score <= 1.0 for one in lines)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "a 店 shop"
    for path, text in {"shop/__init__.py": "", "shop/sizes.py": CODE, "tests/test_sizes.py": TESTS}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "tests/__init__.py").write_text("")
    return root


@pytest.fixture
def bench(shop: Path, tmp_path: Path) -> Iterator[Bench]:
    environ = {**os.environ, "KAT_STATE": str(tmp_path / "state")}
    with views(shop) as made:
        sandbox = sandbox_for(shop.resolve(), Settings(), environ)
        yield Bench(FixRequest(shop, Settings()), Workspace(shop), sandbox, made, "true")


async def _found(bench: Bench, command: str) -> tuple[Bench, Reproduction]:
    bench = replace(bench, command=command)
    report = await bench.tests()
    return bench, Reproduction(command, report, report.failed)


async def test_the_faulty_line_of_a_real_repository_comes_first(bench: Bench) -> None:
    bench, found = await _found(bench, f"{shlex.quote(sys.executable)} -m unittest discover -v")
    assert len(found.failing) == 1
    where = await localise(bench, found)
    assert "coverage" in where.sources
    assert {where.lines[0].line, where.lines[1].line} == {8, 12}
    assert where.lines[0].line == 8, "max(…) does more than the return of what it gave"
    assert where.functions[0].name == "clamp"
    assert not list(bench.workspace.root.glob(".kat*"))
    shown = shown_to_model(where, lambda path: bench.workspace.read(path).text, roughly)
    assert ">   8     chosen = max(" in shown
    assert "shop/sizes.py:4-12 clamp" in shown
    assert roughly(shown) <= 300
    assert "shop/sizes.py:8" in table(where)


async def test_tests_are_watched_behind_a_pipe_that_hides_their_names(bench: Bench) -> None:
    python = shlex.quote(sys.executable)
    bench, found = await _found(
        bench, f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONPATH=. {python} -m pytest -q -p no:terminalreporter | wc -l"
    )
    found = replace(found, before=replace(found.before, exit_code=1))
    assert not found.failing
    where = await localise(bench, found)
    assert where.lines[0].line == 8
    assert where.lines[0].why[0] == "run by 1 of 1 failing test and 0 of 2 passing ones"


async def test_no_more_time_is_taken_than_there_is(bench: Bench, shop: Path) -> None:
    (shop / "tests/test_slow.py").write_text("import time\ntime.sleep(60)\n")
    before = TestReport("", 1, (), ("test_slow",), "shop/sizes.py:7: boom", timed_out=False, seconds=0.1, ran=True)
    command = f"{shlex.quote(sys.executable)} -m unittest discover"
    started = time.monotonic()
    where = await localise(bench, Reproduction(command, before, before.failed), seconds=4)
    assert time.monotonic() - started < 6
    assert "coverage" not in where.sources
    assert "traceback" in where.sources
    assert (where.lines[0].path, where.lines[0].line) == ("shop/sizes.py", 7)


async def test_an_issue_alone_points_to_what_it_names(bench: Bench) -> None:
    before = TestReport("", 0, ("test_double",), (), "", timed_out=False, seconds=0.1, ran=True)
    where = await localise(bench, Reproduction("true", before), issue="`clamp` forgets its upper limit", seconds=10)
    assert where.sources == ("names", "map")
    assert where.functions[0].name == "clamp"
    assert {one.line for one in where.lines} == {4, 6, 7, 8, 12}


def test_tests_are_run_only_as_wide_as_time_allows() -> None:
    report = TestReport("", 1, ("a.py::x", "b.py::y"), ("a.py::z",), "", timed_out=False, seconds=90.0, ran=True)
    found = Reproduction("pytest -q", report, report.failed)
    commands, seconds = zip(*((one.command, one.seconds) for one in widths(found)), strict=True)
    assert commands == ("pytest -q", "pytest -q a.py::z a.py::x", "pytest -q a.py::z")
    assert list(seconds) == sorted(seconds, reverse=True)
    assert [one.command for one in widths(replace(found, command="make test"))] == ["make test"]


def test_nothing_suspect_is_said_in_words() -> None:
    assert "Nothing is suspect" in table(Localisation())
    assert shown_to_model(Localisation(), lambda _: "", roughly) == ""


def test_a_sitecustomize_that_ours_hides_is_run_all_the_same(tmp_path: Path) -> None:
    import assistant.fix.localising as package

    inside = Path(package.__file__).with_name("inside")
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    done = subprocess.run(
        [sys.executable, "-c", "print('main')"],
        env={**os.environ, "PYTHONPATH": f"{inside}:{tmp_path}", "KAT_COVERAGE": "/nowhere", "KAT_COVERAGE_ROOT": "/x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["theirs", "main"]
