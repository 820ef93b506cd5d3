"""What is called fixed, by runs of the tests that are played."""

from dataclasses import replace
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.request import FixRequest
from assistant.fix.stages import Reproduction
from assistant.fix.trees import fingerprint
from assistant.fix.verify import Verifier, passes
from assistant.fix.views import Views
from assistant.safety.sandbox import Sandbox
from assistant.testing.outcomes import read_outcomes
from assistant.workspace.files import Workspace
from tests.assistant.played import Played, report


@pytest.fixture
def bench(tmp_path: Path) -> Played:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "calc.py").write_text("one\n")
    (root / "test_calc.py").write_text("")
    made = Views(root, tmp_path, "copy")
    return Played(FixRequest(root, Settings()), Workspace(root), Sandbox(root, "none", {}), made, "./run", [], [])


def change(path: str, new: str | None = "two\n", old: str | None = None) -> Change:
    def state(text: str | None) -> FileState | None:
        return None if text is None else FileState(text.encode())

    return Change(path, state(old), state(new))


FIX = Changes((change("calc.py", "two\n", "one\n"),))


def verifier(bench: Played, before: str, *runs: str, seconds: float = 60.0, command: str = "./run") -> Verifier:
    first = report(before, seconds)
    asked = [name for name in first.failed if name in bench.request.tests]
    bench = replace(bench, runs=[*runs], commands=[], command=command)
    return Verifier(bench, Reproduction(command, first, tuple(asked) or first.failed))


@pytest.mark.parametrize(
    ("before", "runs", "why"),
    [
        ("a -b", ["a b", "a b"], ""),
        ("a -b", ["a -b"], "b still fails"),
        ("a -b", ["a"], "not seen to pass"),
        ("a -b", ["a b", "a -b"], "b still fails"),
        ("1", ["0", "0"], ""),
        ("1", ["0", "1"], "exit code 1"),
        ("0 -x.py", ["0 x.py::a -y.py::b"], "y.py::b fails"),
        ("0 -x.js", ["0 x.js > a"] * 2, ""),
        ("-unittest.loader._FailedTest.t.x", ["t.x.T.a"] * 2, ""),
        ("-x.py", ["x.py::a -x.py::b"], "x.py still fails"),
        ("a -b", ["1 a b"], "exit code 1"),
    ],
)
async def test_what_failed_must_pass_and_nothing_else_fail_twice(
    bench: Played, before: str, runs: list[str], why: str
) -> None:
    verdict = await verifier(bench, before, *runs).verify(FIX)
    assert (verdict.fixed, why in verdict.why) == (not why, True), verdict.why


@pytest.mark.parametrize(
    ("runs", "fixed"),
    [
        (["-a b", "a b", "a b", "a b"], True),
        (["-a b", "a b", "a b", "-a b", "-a b"], False),
        (["-a b", "-a b", "-a -b", "-a b"], True),
        (["-a b", "-a b", "a -b"], False),
    ],
    ids=["lost once", "lost in every whole run", "fails without it too", "fails with it only"],
)
async def test_a_test_that_is_lost_is_looked_at_again(bench: Played, runs: list[str], fixed: bool) -> None:
    verdict = await verifier(bench, "a -b", *runs).verify(FIX)
    assert verdict.fixed is fixed, verdict.why


@pytest.mark.parametrize(
    ("asked", "before", "runs", "fixed"),
    [
        (("a",), "a -b", ["a -b"], False),
        (("b",), "a -b -c", ["a b -c"] * 2, True),
        (("new",), "a", ["a new"] * 2, True),
        (("new",), "a", ["a"], False),
    ],
)
async def test_tests_that_were_asked_for_do_not_excuse_what_fails(
    bench: Played, asked: tuple[str, ...], before: str, runs: list[str], fixed: bool
) -> None:
    bench = replace(bench, request=replace(bench.request, tests=asked))
    judge = verifier(bench, before, *runs)
    verdict = await judge.verify(FIX)
    assert (verdict.fixed, judge.shows) == (fixed, True), verdict.why


async def test_where_nothing_fails_nothing_shows_that_it_was_mended(bench: Played) -> None:
    bench = replace(bench, request=replace(bench.request, tests=("a",)))
    judge = verifier(bench, "a", "a", "a")
    assert "still passes" in (await judge.verify(FIX)).why
    assert not judge.shows


@pytest.mark.parametrize(
    ("runs", "fixed", "count"),
    [
        (["-m.b"], False, 1),
        (["m.b", "-m.b m.a"], False, 2),
        (["m.b", "m.b", "m.a m.b", "m.a m.b"], True, 4),
        (["1 m.b", "1 m.b", "m.a m.b", "m.a m.b"], True, 4),
        (["4", "4", "m.a m.b", "m.a m.b"], True, 4),
        (["m.b", "-m.a m.b", "m.a m.b", "-m.a m.b", *["m.a m.b"] * 6], True, 10),
    ],
    ids=["fails alone", "fails behind", "holds", "an exit code of a part", "nothing chosen", "a flaky neighbour"],
)
async def test_impacted_tests_alone_only_speak_against_an_attempt(
    bench: Played, runs: list[str], fixed: bool, count: int
) -> None:
    judge = verifier(bench, "m.a -m.b", *runs, command="python -m unittest")
    verdict = await judge.verify(FIX)
    assert isinstance(judge.bench, Played)
    assert (verdict.fixed, len(judge.bench.commands)) == (fixed, count), verdict.why
    parts = ["python -m unittest -k m.b", "python -m unittest -k m.b -k m.a"]
    assert judge.bench.commands[:2] == parts[: len(judge.bench.commands)]


async def test_many_failing_tests_are_all_run_first(bench: Played) -> None:
    names = [f"t{number}" for number in range(90)]
    good = " ".join(names)
    judge = verifier(bench, " ".join(f"-{name}" for name in names), *[good] * 4, command="python -m unittest")
    assert (await judge.verify(FIX)).fixed


async def test_the_users_files_are_what_they_were_or_it_is_proven_again(bench: Played) -> None:
    judge = verifier(bench, "a -b", "a b", "a b", "a b", "a b")
    stamp = fingerprint(judge.bench.workspace.root)
    verdict = await judge.verify(FIX)
    assert (await judge.still(verdict, stamp)) is verdict
    assert (await judge.still(verdict, "another")).fixed
    (judge.bench.workspace.root / "calc.py").write_text("mine\n")
    assert "somebody else" in (await judge.still(verdict, stamp)).why


NAMED, UNNAMED = "tests/test_a.py::a -calc.py::test_b", "1"


@pytest.mark.parametrize(
    ("path", "new", "before", "command"),
    [
        ("tests", "elsewhere", NAMED, "pytest"),
        ("test_calc/__init__.py", "", NAMED, "pytest"),
        ("sub/pytest.toml", "[pytest]\naddopts = ['-p', 'plug']\n", NAMED, "pytest"),
        ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-p plug'\n", NAMED, "pytest"),
        ("setup.cfg", "[tool:pytest]\naddopts = -p plug\n", NAMED, "pytest"),
        ("plug.egg-info/entry_points.txt", "[pytest11]\nplug = plug\n", NAMED, "pytest"),
        ("src/sitecustomize.py", "", NAMED, "pytest"),
        ("sub/unittest/__init__.py", "", NAMED, "cd sub && python -m unittest"),
        ("traceback.py", "", NAMED, "pytest"),
        ("Makefile", "test:\n\ttrue\n", NAMED, "make test"),
        ("package.json", '{"scripts": {"test": "echo ok"}}', NAMED, "npm test"),
        ("package.json", "{}", UNNAMED, "npm test"),
        ("run.sh", "exit 0\n", UNNAMED, "bash -e run.sh"),
        ("tools/check.py", "", NAMED, "python3 -u tools/check.py"),
        ("tools/run", "", NAMED, "cd . && CI=1 ./tools/run -v"),
        ("expected", "", UNNAMED, "./calc | diff - expected"),
        ("testcalc.py", "", "-testcalc.T.b", "python -m unittest"),
    ],
)
def test_what_says_how_tests_run_is_put_back(bench: Played, path: str, new: str, before: str, command: str) -> None:
    attempt = Changes((change(path, new), *FIX.changes))
    assert verifier(bench, before, command=command).of_the_code(attempt) == FIX


@pytest.mark.parametrize(
    ("path", "new", "before", "command"),
    [
        ("pyproject.toml", "[project]\nname = 'x'\n", NAMED, "pytest"),
        ("package.json", '{"dependencies": {}}', NAMED, "npm test"),
        ("calc/types.py", "", NAMED, "pytest"),
        ("ab_test/model.py", "", NAMED, "pytest"),
        ("web/http/server.go", "", NAMED, "go test ./..."),
        ("calc.c", "", UNNAMED, "cc ./calc.c && ./a.out"),
        ("calc.js", "", UNNAMED, "node -e \"require('./calc.js')\""),
        ("new.py", "", NAMED, "pytest ./new.py"),
        ("Makefile", "all:\n", NAMED, "pytest"),
    ],
)
def test_what_is_code_stays(bench: Played, path: str, new: str, before: str, command: str) -> None:
    attempt = Changes((change(path, new),))
    assert verifier(bench, before, command=command).of_the_code(attempt) == attempt


@pytest.mark.parametrize(
    ("old", "new", "before", "why"),
    [
        ("", "import os\nos._exit(0)\n", NAMED, "os._exit"),
        ("", "def f():\n    import unittest\n", NAMED, "unittest"),
        ("import pytest\n", "import pytest  # for plugins\n", NAMED, ""),
        ("", "from unittest import mock\n", NAMED, ""),
        ("", "import sys\nsys.exit(0)\n", NAMED, ""),
        ("", "import sys\nsys.exit(0)\n", UNNAMED, "sys.exit(0)"),
        ("def test_b():\n    assert f()\n", "def test_b():\n    pass\n", NAMED, "inside calc.py"),
        ("def f():\n    '''\n    >>> f()\n    1\n    '''\n", "def f():\n    return 1\n", NAMED, "inside calc.py"),
        ("def test_b():\n    assert f()\n", "def f(): return 1\n\ndef test_b():\n    assert f()\n", NAMED, ""),
    ],
)
async def test_code_that_gets_hold_of_its_tests_proves_nothing(
    bench: Played, old: str, new: str, before: str, why: str
) -> None:
    good = before.replace("-", "").replace("1", "0")
    verdict = await verifier(bench, before, good, good).verify(Changes((change("calc.py", new, old),)))
    assert (verdict.fixed, why in verdict.why) == (not why, True), verdict.why


async def test_who_allows_changed_tests_gets_them(bench: Played) -> None:
    bench = replace(bench, request=replace(bench.request, allow_test_edits=True))
    attempt = Changes((change("tests/test_new.py", "import pytest\n"),))
    verdict = await verifier(bench, "-b", "b", "b").verify(attempt)
    assert (verdict.fixed, verdict.changes) == (True, attempt)


def test_tests_inside_code_of_rust_stay(bench: Played) -> None:
    old = "fn f() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn a() { f() }\n}\n"
    guard = verifier(bench, "-tests::a", command="cargo test")._guard
    assert not guard.objection(Changes((change("src/lib.rs", f"// {old}", old),)))
    assert guard.objection(Changes((change("src/lib.rs", old.replace("f() }", "}"), old),)))


def test_a_file_of_tests_that_could_not_be_read_passes_with_all_in_it() -> None:
    assert passes("a.py", report("a.py::x b.py::y"))
    assert not passes("a.py", report("a.py::x -a.py::z"))
    assert not passes("a.py", report("ab.py::x"))


def test_a_module_in_a_package_that_unittest_cannot_import_has_a_name() -> None:
    said = "ERROR: tests.test_a (unittest.loader._FailedTest.tests.test_a)\n" + "-" * 70 + "\nRan 1 test in 0.004s\n"
    _, (name,) = read_outcomes(said)
    assert passes(name, report("tests.test_a.T.test_b"))
    assert not passes(name, report("tests.test_c.T.test_b"))
