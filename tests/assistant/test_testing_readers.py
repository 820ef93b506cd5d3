"""Readers get back what runners print: made-up results in their formats, what they really print, and real runs."""

import json
from collections.abc import Callable, Sequence
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.testing.outcomes import read_results
from assistant.testing.readers.outcome import Result

Test = tuple[str, str, Result]
"""A group, a name in it, and what came of it."""

WORDS = st.sampled_from(
    [
        "a",
        "add",
        "b_2",
        "c3",
        "d_e_f",
        "failed",
        "get",
        "http2",
        "is_ok",
        "key",
        "list",
        "main",
        "ok",
        "passed",
        "skipped",
        "t_1",
        "x",
    ]
)
TITLES = st.sampled_from(
    [
        "adds",
        "adds two",
        "is = to é",
        "don't, ever",
        "a/b/c.d",
        "the # sign",
        "handles a - b",
        "takes (x)",
        "ok",
        "not ok 1",
        "[1, 2] is a list",
        "in 5 steps",
        "x & y",
        "100% of it",
        "Ünïcode 漢字",
        "ends with :",
        "failed to fail",
        "«skipped»",
        "returns a|b",
        "{key: 1}",
    ]
)
RESULTS: st.SearchStrategy[Result] = st.sampled_from(["passed", "failed", "skipped"])


def suites(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[Test]]:
    """Some tests in some groups, each group in one piece."""
    groups = st.dictionaries(WORDS, st.dictionaries(names, RESULTS, min_size=1, max_size=4), min_size=1, max_size=3)
    return groups.map(lambda all_: [(group, name, its) for group, of in all_.items() for name, its in of.items()])


def by_group(tests: Sequence[Test]) -> dict[str, list[tuple[str, Result]]]:
    return {group: [(name, its) for owner, name, its in tests if owner == group] for group, *_ in tests}


def as_pytest(tests: Sequence[Test]) -> str:
    lines = ["===== test session starts =====", "collected 3 items", ""]
    words = {"passed": "PASSED", "failed": "FAILED", "skipped": "SKIPPED (why, so)"}
    lines += [f"test_{group}.py::{name} {words[its]}   [ 10%]" for group, name, its in tests]
    lines += ["===== FAILURES =====", "PASSED test_it.py::printed", "===== short test summary info ====="]
    lines += [f"PASSED test_{group}.py::{name}" for group, name, its in tests if its == "passed"]
    lines += [f"SKIPPED [1] test_{group}.py:{3}: why, so" for group, name, its in tests if its == "skipped"]
    lines += [f"FAILED test_{group}.py::{name} - x\nPASSED y" for group, name, its in tests if its == "failed"]
    return "\n".join([*lines, "===== 1 failed, 2 passed in 0.10s =====", "PASSED z"])


def as_unittest(tests: Sequence[Test]) -> str:
    words = {"passed": "ok", "failed": "FAIL", "skipped": "skipped 'not now'"}
    lines = [
        f"{name} (t.{group}.{name}){doc} ... {words[its]}"
        for number, (group, name, its) in enumerate(tests)
        for doc in (["", "\nSome words.", "\nWords ... printed\n2 is ok or not"][number % 3],)
    ]
    heads = [f"FAIL: {name} (t.{group}.{name})\nTraceback" for group, name, its in tests if its == "failed"]
    return "\n".join([*lines, "", *heads, "Ran 3 tests in 0.001s"])


def as_go(tests: Sequence[Test]) -> str:
    words = {"passed": "PASS", "failed": "FAIL", "skipped": "SKIP"}
    lines = []
    for group, its_tests in by_group(tests).items():
        for name, its in its_tests:
            lines += [f"=== RUN   Test_{name}", f"--- {words[its]}: Test_{name} (0.01s)"]
        failed = any(its == "failed" for _, its in its_tests)
        lines += ["FAIL", f"FAIL\tx.org/{group}\t0.01s"] if failed else ["PASS", f"ok  \tx.org/{group}\t0.01s"]
    return "\n".join(lines)


def as_go_json(tests: Sequence[Test]) -> str:
    words = {"passed": "pass", "failed": "fail", "skipped": "skip"}
    return "\n".join(
        json.dumps({"Time": "t", "Action": action, "Package": f"x.org/{group}", "Test": f"Test_{name}", "Elapsed": 0.1})
        for group, name, its in tests
        for action in ("run", "output", words[its])
    )


def as_cargo(tests: Sequence[Test]) -> str:
    words = {"passed": "ok", "failed": "FAILED", "skipped": "ignored, not now"}
    lines = []
    for group, its_tests in by_group(tests).items():
        lines += [f"     Running tests/{group}.rs (target/debug/deps/{group}-0123456789abcdef)", "", "running 2 tests"]
        lines += [f"test {name} ... {words[its]}" for name, its in its_tests]
        lines += ["", "failures:", "---- a stdout ----", "test printed ... ok", "test result: FAILED. 1 passed"]
    return "\n".join(lines)


def as_tap(tests: Sequence[Test]) -> str:
    lines = ["TAP version 13"]
    for group, its_tests in by_group(tests).items():
        lines.append(f"# Subtest: {group}")
        for number, (name, its) in enumerate(its_tests, 1):
            escaped = name.replace("#", "\\#")
            lines += [f"    {'not ' * (its == 'failed')}ok {number} - {escaped}{' # SKIP why' * (its == 'skipped')}"]
            lines += ["      ---", "      duration_ms: 1.5", "      not ok 9 - printed", "      ..."]
        lines += [f"    1..{len(its_tests)}", f"{'not ' * any(i == 'failed' for _, i in its_tests)}ok 1 - {group}"]
    return "\n".join([*lines, "1..2"])


def as_node(tests: Sequence[Test]) -> str:
    marks = {"passed": "✔", "failed": "✖", "skipped": "﹣"}
    lines = []
    for group, its_tests in by_group(tests).items():
        lines.append(f"▶ {group}")
        lines += [f"  {marks[its]} {name} (0.5ms){' # SKIP' * (its == 'skipped')}" for name, its in its_tests]
        lines.append(f"{marks['failed' if any(i == 'failed' for _, i in its_tests) else 'passed']} {group} (3.2ms)")
    return "\n".join([*lines, "ℹ tests 3", "✖ failing tests:", "✖ printed (1ms)"])


def as_jest(tests: Sequence[Test]) -> str:
    marks = {"passed": "✓", "failed": "✕", "skipped": "○ skipped"}
    lines = []
    for group, its_tests in by_group(tests).items():
        lines.append(f"{'FAIL' if any(i == 'failed' for _, i in its_tests) else 'PASS'} src/{group}.test.js (5.1 s)")
        lines += ["  group", *(f"    {marks[its]} {name} (2 ms)" for name, its in its_tests)]
        lines += ["", "  ● group › x", "    ✓ printed", ""]
    return "\n".join([*lines, "Test Suites: 1 failed, 1 total", "Tests: 3 total"])


def as_vitest(tests: Sequence[Test]) -> str:
    marks = {"passed": "✓", "failed": "×", "skipped": "↓"}
    lines = [f" {marks[its]} src/{group}.test.ts > group > {name} 3ms" for group, name, its in tests]
    return "\n".join([" RUN  v3.1.0 /x", *lines, "⎯⎯⎯ Failed Tests 1 ⎯⎯⎯", " Test Files  1 failed"])


def as_mocha(tests: Sequence[Test]) -> str:
    marks = {"passed": "✔", "failed": "1)", "skipped": "-"}
    lines = [""]
    for group, its_tests in by_group(tests).items():
        lines += [f"  {group}", *(f"    {marks[its]} {name}" for name, its in its_tests), ""]
    return "\n".join([*lines, "", "  2 passing (5ms)", "  1 failing", "  1) group", "       x:"])


def as_ctest(tests: Sequence[Test]) -> str:
    words = {"passed": "   Passed ", "failed": "***Failed ", "skipped": "***Skipped"}
    lines = [f"1/3 Test  #1: {group}.{name} ........{words[its]}    0.01 sec" for group, name, its in tests]
    return "\n".join([*lines, "", "50% tests passed, 1 tests failed out of 3"])


def as_junit(tests: Sequence[Test]) -> str:
    inner = {
        "passed": "",
        "failed": "<failure message='x'>&lt;testcase name='printed'/></failure>",
        "skipped": "<skipped/>",
    }
    cases = [
        f"<testcase classname={quoteattr(group)} name={quoteattr(name)} time='0.1'>{inner[its]}</testcase>"
        for group, name, its in tests
    ]
    return f"<?xml version='1.0'?>\n<testsuites><testsuite name='x'>{''.join(cases)}</testsuite></testsuites>"


def as_gradle(tests: Sequence[Test]) -> str:
    return "\n".join(["> Task :test", *(f"{group} > {name} {its.upper()}" for group, name, its in tests)])


def as_rspec(tests: Sequence[Test]) -> str:
    marks = {"passed": "", "failed": " (FAILED - 1)", "skipped": " (PENDING: later)"}
    lines = []
    for group, its_tests in by_group(tests).items():
        lines += ["", group, *(f"  {name}{marks[its]}" for name, its in its_tests)]
    return "\n".join([*lines, "", "Failures:", "", "  1) x", "Finished in 0.01 seconds", "3 examples, 1 failure"])


def as_phpunit(tests: Sequence[Test]) -> str:
    marks = {"passed": "✔", "failed": "✘", "skipped": "↩"}
    lines = ["PHPUnit 11.0"]
    for group, its_tests in by_group(tests).items():
        lines += [f"Words (Tests\\{group})", *(f" {marks[its]} {name}" for name, its in its_tests), ""]
    return "\n".join([*lines, "There was 1 failure:", "", "1) Tests\\A::b"])


def as_dotnet(tests: Sequence[Test]) -> str:
    return "\n".join(f"  {its.capitalize()} N.{group}.{name} [< 1 ms]" for group, name, its in tests)


def as_deno(tests: Sequence[Test]) -> str:
    words = {"passed": "ok (2ms)", "failed": "FAILED (3ms)", "skipped": "ignored (0ms)"}
    lines = []
    for group, its_tests in by_group(tests).items():
        lines += [f"running 2 tests from ./{group}.ts", *(f"{name} ... {words[its]}" for name, its in its_tests)]
    return "\n".join(lines)


def as_bun(tests: Sequence[Test]) -> str:
    words = {"passed": "(pass)", "failed": "(fail)", "skipped": "(skip)"}
    lines = ["bun test v1.2"]
    for group, its_tests in by_group(tests).items():
        lines += ["", f"{group}.test.ts:", *(f"{words[its]} {name} [0.10ms]" for name, its in its_tests)]
    return "\n".join(lines)


def as_exunit(tests: Sequence[Test]) -> str:
    lines = []
    for group, its_tests in by_group(tests).items():
        lines += ["", f"X{group} [test/x.exs]"]
        for name, its in its_tests:
            lines += [f"  * {name} [L#3]\r  * {name} ({'skipped' if its == 'skipped' else '0.1ms'}) [L#3]"]
            lines += [f"\n  1) {name} (X{group})\n     test/x.exs:3\n"] * (its == "failed")
    return "\n".join([*lines, "Finished in 0.01 seconds (0.00s async, 0.01s sync)"])


FORMATS: list[tuple[Callable[[Sequence[Test]], str], st.SearchStrategy[str], str]] = [
    (as_pytest, WORDS, "test_{}.py::{}"),
    (as_pytest, st.builds("{}[{}]".format, WORDS, TITLES), "test_{}.py::{}"),
    (as_unittest, WORDS, "t.{}.{}"),
    (as_go, WORDS, "x.org/{}::Test_{}"),
    (as_go_json, WORDS, "x.org/{}::Test_{}"),
    (as_cargo, WORDS, "{0}:tests/{0}.rs::{1}"),
    (as_tap, TITLES, "{} > {}"),
    (as_node, TITLES, "{} > {}"),
    (as_jest, TITLES, "src/{}.test.js > group > {}"),
    (as_vitest, TITLES, "src/{}.test.ts > group > {}"),
    (as_mocha, TITLES, "{} > {}"),
    (as_ctest, TITLES, "{}.{}"),
    (as_junit, TITLES.filter(lambda title: title != "ok"), "{}.{}"),
    (as_gradle, TITLES, "{}.{}"),
    (as_rspec, TITLES, "{} {}"),
    (as_phpunit, TITLES, "Tests\\{} > {}"),
    (as_dotnet, WORDS, "N.{}.{}"),
    (as_deno, TITLES, "./{}.ts > {}"),
    (as_bun, TITLES, "{}.test.ts > {}"),
    (as_exunit, TITLES, "X{}.{}"),
]


@pytest.mark.parametrize(("write", "names", "form"), FORMATS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_written_is_read_back(
    write: Callable[[Sequence[Test]], str], names: st.SearchStrategy[str], form: str
) -> None:
    @settings(max_examples=12, deadline=None)
    @given(suites(names))
    def check(tests: list[Test]) -> None:
        found = read_results(f"npm warn something\n{write(tests)}\nmake: *** [test] Error 1\n")
        wanted = {form.format(group, name): its for group, name, its in tests}
        its = dict.fromkeys(found.passed, "passed") | dict.fromkeys(found.failed, "failed")
        assert its | dict.fromkeys(found.skipped, "skipped") == wanted

    check()


def names(output: str) -> tuple[list[str], list[str], list[str]]:
    found = read_results(output)
    return [*found.passed], [*found.failed], [*found.skipped]


PYTEST = """
===== test session starts =====
test_a.py::T::test_skip SKIPPED (why)                     [ 25%]
test_b.py::test_far[a b] <- lib/base.py SKIPPED           [ 25%]
[gw1] [ 50%] SKIPPED test_c.py::test_worker
===== slowest durations =====
0.25s call     test_a.py::test_p[a - b]
0.01s setup    test_a.py::test_p[a - b]
===== short test summary info =====
PASSED test_a.py::test_p[a - b]
SKIPPED [1] test_a.py:4: why
SKIPPED [2] test_module.py:1: no such thing
XFAIL test_a.py::test_x - reason
XPASS test_a.py::test_y
ERROR test_broken.py - ImportError
SUBFAILED[i=1] test_a.py::test_sub - AssertionError: 1
FAILED test_a.py::test_f[c]d] - no - really
1 failed, 1 passed in 0.76s
"""
GO = """=== RUN   TestA
=== RUN   TestA/sub_one
--- FAIL: TestA (0.00s)
    --- PASS: TestA/sub_one (0.00s)
    --- FAIL: TestA/sub_two (0.00s)
FAIL
FAIL\tx.org/a\t0.005s
ok  \tx.org/quiet\t(cached)
?   \tx.org/none\t[no test files]
FAIL\tx.org/broken [build failed]
"""
JEST = """PASS src/a.test.js
FAIL src/b.test.js (5.2 s)
  ● group › subs

    expect(received).toBe(expected)

Test Suites: 1 failed, 1 passed, 2 total
Tests:       1 failed, 2 passed, 3 total
Summary of all failing tests
FAIL src/b.test.js
"""
VITEST = """ RUN  v2.1.8 /home/u/x

 ✓ src/a.test.ts (3 tests) 5ms
 ❯ src/b.test.ts (2 tests | 1 failed) 8ms
stdout | src/a.test.ts > x
 ✓ src/a.test.ts > printed

   × group > subs 3ms
     → expected 1 to be 2

 Test Files  1 failed | 1 passed (2)
"""
MAVEN = """[INFO] Running com.x.ATest
[ERROR] Tests run: 2, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.05 s <<< FAILURE! -- in com.x.ATest
[ERROR] com.x.ATest.testBad -- Time elapsed: 0.01 s <<< FAILURE!
[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.01 s -- in com.x.BTest
Running com.x.OldTest
Tests run: 1, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.1 sec
[ERROR] Tests run: 4, Failures: 1, Errors: 0, Skipped: 0
"""
PROVE = """t/a.t ..
1..3
ok 1 - adds
not ok 2 - todo # TODO later
ok 3
ok
t/b.t ..
not ok 1 - adds
1..1
"""
NEXTEST = """    Starting 3 tests across 1 binary
        PASS [   0.005s] (1/3) demo tests::a
        FAIL [   0.006s] (2/3) demo::it b
        SKIP [         ] (3/3) demo tests::c
"""


@pytest.mark.parametrize(
    ("output", "passed", "failed", "skipped"),
    [
        (
            PYTEST,
            ["test_a.py::test_p[a - b]"],
            ["test_broken.py", "test_a.py::test_f[c]d]", "test_a.py::test_sub"],
            [
                "test_a.py::test_x",
                "test_a.py::test_y",
                "test_a.py::T::test_skip",
                "test_b.py::test_far[a b]",
                "test_c.py::test_worker",
                "test_module.py",
            ],
        ),
        (
            GO,
            ["x.org/a::TestA/sub_one", "x.org/quiet"],
            ["x.org/a::TestA", "x.org/a::TestA/sub_two", "x.org/broken"],
            [],
        ),
        (JEST, ["src/a.test.js"], ["src/b.test.js"], []),
        (VITEST, ["src/a.test.ts"], ["src/b.test.ts"], []),
        (MAVEN, ["com.x.BTest"], ["com.x.ATest"], ["com.x.OldTest"]),
        (PROVE, ["t/a.t > adds", "t/a.t > test 3"], ["t/b.t > adds"], ["t/a.t > todo"]),
        (NEXTEST, ["demo::tests::a"], ["demo::it::b"], ["demo::tests::c"]),
    ],
    ids=["pytest", "go", "jest", "vitest", "maven", "prove", "nextest"],
)
def test_what_runners_print(output: str, passed: list[str], failed: list[str], skipped: list[str]) -> None:
    assert names(output) == (passed, failed, skipped)


def test_seconds_are_read_where_they_are_said() -> None:
    assert dict(read_results(PYTEST).times) == {"test_a.py::test_p[a - b]": 0.26}


def test_two_runners_in_one_run() -> None:
    both = PYTEST + GO
    assert set(read_results(both).passed) == {*read_results(PYTEST).passed, *read_results(GO).passed}


def test_what_is_printed_within_a_run_of_pytest_is_no_outcome() -> None:
    inner = GO + MAVEN + JEST
    output = PYTEST.replace("===== slowest", f"{inner}===== slowest")
    assert names(output) == names(PYTEST)


def test_files_count_where_the_output_does_not_name_the_tests() -> None:
    written = as_junit([("com.x.ATest", "testBad", "failed"), ("com.x.ATest", "testGood", "passed")])
    found = read_results(MAVEN, [written, "<testsuite><broken>"])
    assert (found.passed, found.failed) == (("com.x.ATest.testGood",), ("com.x.ATest.testBad",))
    assert read_results(GO, [written]) == read_results(GO)


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
    assert read_results("", [bomb]) == read_results("")


def test_of_a_file_that_was_cut_the_suites_that_are_whole_count() -> None:
    suites = '<testsuites><testsuite><testcase name="a"/></testsuite><testsuite><testcase name="b"/></testsuite>'
    for end in ("</testsuites>", "", '<testsuite name="c"><testcase'):
        assert read_results("", [suites + end]).passed == ("a", "b")


@pytest.mark.parametrize("piece", ["\n", "<testsuite ", "<testsuites>", "A > a > a > a > a\n"])
def test_much_of_nothing_takes_no_time(piece: str) -> None:
    """None of these takes as long as the square of its length."""
    assert names(f"C > good PASSED\n{piece * (250_000 // len(piece))}A{' > a' * 400}\n") == (["C.good"], [], [])


def test_results_in_each_other_without_end_are_read() -> None:
    lines = "".join(f"{' ' * depth}ok {depth} - t{depth}\n" for depth in range(1_500, 0, -1))
    assert names(f"1..1\n{lines}")[0]


def test_endless_lines_take_no_time() -> None:
    """A megabyte that fits the beginning of every expression, in less than the limit of a test."""
    for line in ("a::" * 300_000 + " SKIPPED [ 1%]", "test " + "a - " * 200_000, "x > " * 200_000, "(" * 500_000):
        assert names(f"{PYTEST}{line}\n1..2\nrunning 1 test\n{line}\n") == names(PYTEST)
