"""Commands that run some tests only, and real runs of runners that are installed here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.safety.sandbox import Sandbox, detect
from assistant.testing.report import TestReport as Report
from assistant.testing.run import run_tests
from assistant.testing.selecting import impacted, with_tests
from assistant.workspace.files import Workspace

PARAM = "test_a.py::test_p[a b]"


@pytest.mark.parametrize(
    ("command", "ids", "wanted"),
    [
        ("pytest -q", [PARAM, "b.py"], "pytest -q 'test_a.py::test_p[a b]' b.py"),
        ("python -m pytest -n 4 tests -k 'x y'", ["a.py::t"], "python -m pytest -n 4 -k 'x y' a.py::t"),
        ("A='b c' uv run pytest tests/", ["a.py::t"], "env 'A=b c' uv run pytest a.py::t"),
        ("cd 'sub dir' && pytest", ["a.py::t"], "cd 'sub dir' && pytest a.py::t"),
        ("timeout 60 python3.12 -m pytest", ["a.py::t"], "timeout 60 python3.12 -m pytest a.py::t"),
        ("pytest --unknown thing", ["a.py::t"], None),
        ("pytest | tee log", ["a.py::t"], None),
        ("pytest $OPTIONS", ["a.py::t"], None),
        ("pytest; true", ["a.py::t"], None),
        ("pytest &", ["a.py::t"], None),
        ("pytest 'half", ["a.py::t"], None),
        ("echo '&& pytest'", ["a.py::t"], None),
        ("make test", ["a.py::t"], None),
        ("tox -q", ["a.py::t"], None),
        ("pytest", [], None),
        ("python -m unittest discover -s t", ["a.T.b"], "python -m unittest discover -s t -k a.T.b"),
        ("go test ./...", ["x.org/a::TestA/s", "x.org/b::TestB"], "go test -run '^(TestA|TestB)$' x.org/a x.org/b"),
        ("go test -count 1 ./...", ["x.org/a"], "go test -count 1 x.org/a"),
        ("cargo test --no-fail-fast", ["d:src/lib.rs::m::a", "b"], "cargo test --no-fail-fast -- --exact m::a b"),
        ("cargo test", ["d:doc::src/lib.rs - add"], None),
        ("npx jest", ["a.test.js > g > x (1)"], r"npx jest a.test.js -t '^(g x \(1\))$'"),
        ("npm test -- --verbose", ["a.test.js > x"], "npm test -- --verbose a.test.js -t '^(x)$'"),
        ("yarn vitest run", ["a.test.ts", "b.test.ts > x"], "yarn vitest run a.test.ts b.test.ts"),
        ("npm test", ["a.test.js > x"], None),
        ("npx mocha", ["g > x"], "npx mocha -g '^(g x)$'"),
        ("cmake --build b && ctest --test-dir b", ["a.b"], r"cmake --build b && ctest --test-dir b -R '^(a\.b)$'"),
        ("bundle exec rspec", ["A adds"], "bundle exec rspec -e 'A adds'"),
        (
            "mvn -q test",
            ["com.x.ATest.testA(int)[1]", "com.x.BTest"],
            "mvn -q test '-Dtest=com.x.ATest#testA,com.x.BTest' -Dsurefire.failIfNoSpecifiedTests=false",
        ),
        ("./gradlew test", ["com.x.ATest.testA"], "./gradlew test --tests com.x.ATest.testA"),
    ],
)
def test_the_command_for_some_tests(command: str, ids: list[str], wanted: str | None) -> None:
    assert with_tests(command, ids) == wanted


def test_a_command_that_gets_too_long_is_none() -> None:
    assert with_tests("pytest", (f"test_a.py::test_{number:040}" for number in range(5_000))) is None


def test_impacted_first_what_fails_then_what_is_near() -> None:
    ids = ["a/test_far.py::t", "a/test_calc.py::t", "a/test_it.py::u", "a/test_it.py::t", "a/test_reads.py::t"]
    files = ["src/calc.py", "src/__init__.py"]
    near = ("a/test_it.py::t", "a/test_it.py::u", "a/test_calc.py::t")
    assert impacted(["a/test_it.py::t"], ids, files) == near
    texts = {"a/test_reads.py": "from src import calc"}
    assert impacted(["a/test_it.py::t"], ids, files, lambda path: texts.get(path, "")) == (*near, "a/test_reads.py::t")


@pytest.mark.parametrize(
    ("failing", "other", "file"),
    [
        ("com.x.ATest.testA", "com.x.CalcTest.testB", "src/main/java/com/x/Calc.java"),
        ("src/a.test.js > g > x", "src/calc.test.js > y", "src/calc.js"),
        ("x.org/a::TestA", "x.org/calc::TestB", "calc/calc.go"),
        ("tests.test_a.T.test_x", "tests.test_calc.T.test_y", "calc.py"),
    ],
)
def test_a_test_named_as_a_file_that_changed(failing: str, other: str, file: str) -> None:
    assert impacted([failing], [other, failing, "else"], [file]) == (failing, other)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    subprocess.run(["git", "init", "-q", path], check=True)
    return path


async def again(root: Path, sandbox: Sandbox, command: str, failed: list[str]) -> Report:
    """What failed, alone; `command` runs everything."""
    alone = with_tests(command, failed)
    assert alone is not None
    report = await run_tests(sandbox, Workspace(root), alone, timeout=60)
    assert [*report.failed] == failed
    return report


async def run(root: Path, command: str, files: dict[str, str]) -> tuple[Sandbox, Report]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    sandbox = detect(root)
    return sandbox, await run_tests(sandbox, Workspace(root), command, timeout=60)


PYTHON = """
import unittest
class T(unittest.TestCase):
    def test_good(self): pass
    def test_bad(self): self.fail("PASSED test_a.py::T::test_bad\\nPASSED x")
    def test_bad_too(self): self.fail("x")
    @unittest.skip("why")
    def test_skip(self): pass
    @unittest.expectedFailure
    def test_known(self): self.fail()
    def test_parts(self):
        "Words."
        for part in range(2):
            with self.subTest(part=part): self.assertEqual(part, 0)
"""


async def test_pytest(root: Path) -> None:
    command = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q"
    sandbox, report = await run(root, command, {"test_a.py": PYTHON})
    assert report.passed == ("test_a.py::T::test_good",)
    assert set(report.failed) == {f"test_a.py::T::test_{name}" for name in ("bad", "bad_too", "parts")}
    assert set(report.skipped) == {"test_a.py::T::test_skip", "test_a.py::T::test_known"}
    alone = await again(root, sandbox, command, ["test_a.py::T::test_bad"])
    assert alone.named
    assert not alone.passed


async def test_unittest(root: Path) -> None:
    command = f"{sys.executable} -m unittest discover -v -s tests"
    sandbox, report = await run(root, command, {"tests/test_a.py": PYTHON})
    assert report.passed == ("test_a.T.test_good",)
    assert set(report.failed) == {f"test_a.T.test_{name}" for name in ("bad", "bad_too", "parts")}
    assert set(report.skipped) == {"test_a.T.test_skip", "test_a.T.test_known"}
    assert not (await again(root, sandbox, command, ["test_a.T.test_parts"])).passed


RUST = """
/// ```
/// assert_eq!(demo::add(1, 2), 3);
/// ```
pub fn add(a: u64, b: u64) -> u64 { a + b }
#[cfg(test)]
mod tests {
    #[test] fn a() {}
    #[test] #[ignore = "slow, really"] fn b() {}
    #[test] #[should_panic] fn c() { panic!("x") }
    #[test] fn d() { println!("test tests::z ... ok"); assert_eq!(1, 2); }
}
"""


@pytest.mark.skipif(not shutil.which("cargo"), reason="cargo is not installed")
async def test_cargo(root: Path) -> None:
    manifest = '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n[profile.test]\ndebug = false\n'
    files = {"Cargo.toml": manifest, "src/lib.rs": RUST, "tests/it.rs": "#[test] fn a() {}"}
    _, report = await run(root, "cargo test --no-fail-fast --tests", files)
    assert report.ran, report.output
    assert set(report.passed) == {"demo:src/lib.rs::tests::a", "demo:src/lib.rs::tests::c", "it:tests/it.rs::a"}
    assert report.failed == ("demo:src/lib.rs::tests::d",)
    assert report.skipped == ("demo:src/lib.rs::tests::b",)
    assert not (root / "target").exists()


NODE = """
const {test, describe, it} = require('node:test');
describe('group # one', () => {
  it('adds', () => {});
  it('subs', () => { throw new Error('x') });
  it.skip('later', () => {});
});
test('top', async t => { await t.test('inner', () => {}) });
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
@pytest.mark.parametrize("reporter", ["tap", "spec"])
async def test_node(root: Path, reporter: str) -> None:
    _, report = await run(root, f"node --test --test-reporter={reporter} a.test.js", {"a.test.js": NODE})
    assert report.passed == ("group # one > adds", "top > inner"), report.output
    assert (report.failed, report.skipped) == (("group # one > subs",), ("group # one > later",))


CMAKE = """
cmake_minimum_required(VERSION 3.10)
project(demo NONE)
enable_testing()
add_test(NAME good COMMAND true)
add_test(NAME bad.one COMMAND false)
add_test(NAME skips COMMAND sh -c "exit 77")
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
"""


@pytest.mark.skipif(not shutil.which("ctest"), reason="ctest is not installed")
async def test_ctest(root: Path) -> None:
    command = "cmake -B build && cmake --build build && ctest --test-dir build"
    sandbox, report = await run(root, command, {"CMakeLists.txt": CMAKE})
    assert (report.passed, report.failed, report.skipped) == (("good",), ("bad.one",), ("skips",)), report.output
    await again(root, sandbox, command, ["bad.one"])
    written = "cmake -B build >log && ctest --test-dir build --output-junit junit.xml >log 2>&1"
    _, quiet = await run(root, written, {})
    assert (quiet.passed, quiet.failed, quiet.skipped) == (("good",), ("bad.one",), ("skips",))
    assert sorted(path.name for path in root.iterdir()) == [".git", "CMakeLists.txt"]


async def test_files_that_a_run_writes_are_read_and_links_are_not(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other.xml").write_text('<testsuite><testcase name="other"/></testsuite>')
    fresh = '<testsuite><testcase classname="C" name="fresh"><failure/></testcase></testsuite>'
    command = f"ln -s {tmp_path}/other.xml link.xml; mkdir out; echo '{fresh}' > out/junit.xml; false"
    (root / "stale.xml").write_text('<testsuite><testcase name="stale"/></testsuite>')
    os.utime(root / "stale.xml", (0, 0))
    _, report = await run(root, command, {})
    assert (report.passed, report.failed) == ((), ("C.fresh",))
