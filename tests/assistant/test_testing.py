import json
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.safety.sandbox import Sandbox, detect
from assistant.testing.commands import find_test_command, find_tests, with_target
from assistant.testing.outcomes import read_outcomes
from assistant.testing.paths import is_test_file
from assistant.testing.run import run_tests
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace

PYTEST = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest"

SUITE = """
import pytest, unittest

class T(unittest.TestCase):
    def test_good(self):
        print("PASSED fake::id")
    def test_bad(self):
        "With words."
        self.fail("no - really")

@pytest.mark.parametrize("x", ["a - b", "c]d"])
def test_param(x):
    assert x == "c]d", "FAILED x - y"
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    path.mkdir()
    subprocess.run(["git", "init", "-q", path], check=True)
    return path


@pytest.fixture
def sandbox(root: Path) -> Sandbox:
    return detect(root)


async def test_pytest_by_id(root: Path, sandbox: Sandbox) -> None:
    (root / "test_it.py").write_text(SUITE)
    report = await run_tests(sandbox, Workspace(root), f"{PYTEST} -q")
    assert set(report.passed) == {"test_it.py::T::test_good", "test_it.py::test_param[c]d]"}
    assert set(report.failed) == {"test_it.py::T::test_bad", "test_it.py::test_param[a - b]"}
    assert (report.exit_code, report.ran, report.ok, report.problem) == (1, True, False, "")
    assert names(root) == [".git", "test_it.py"]


async def test_unittest_by_id(root: Path, sandbox: Sandbox) -> None:
    (root / "test_it.py").write_text(SUITE.split("@pytest")[0].replace("pytest, ", ""))
    report = await run_tests(sandbox, Workspace(root), "python3 -m unittest -v")
    assert (report.passed, report.failed) == (("test_it.T.test_good",), ("test_it.T.test_bad",))
    quiet = await run_tests(sandbox, Workspace(root), "python3 -m unittest")
    assert (quiet.passed, quiet.failed) == ((), ("test_it.T.test_bad",))


async def test_an_error_in_collection_is_a_failure(root: Path, sandbox: Sandbox) -> None:
    (root / "test_it.py").write_text("import nothing_like_this\n")
    report = await run_tests(sandbox, Workspace(root), f"{PYTEST} -q")
    assert (report.failed, report.ran) == (("test_it.py",), True)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-runner", "not found"),
        ("./test_it.py", "cannot be run"),
        (f"{PYTEST} -q", "No tests were found"),
        (f"{PYTEST} --no-such-option", "did not understand"),
        ("python3 -S -m pytest", "not installed"),
        ("python3 -m unittest discover", "No tests were found"),
    ],
)
async def test_what_ran_no_test_says_why(root: Path, sandbox: Sandbox, command: str, said: str) -> None:
    (root / "test_it.py").write_text("")
    report = await run_tests(sandbox, Workspace(root), command)
    assert (report.ran, report.ok) == (False, False)
    assert said in report.problem


async def test_a_runner_that_prints_no_ids_counts_by_its_exit_code(root: Path, sandbox: Sandbox) -> None:
    good = await run_tests(sandbox, Workspace(root), "echo fine")
    bad = await run_tests(sandbox, Workspace(root), "printf '\\033[31mbroken\\033[0m'; exit 2")
    assert (good.ok, bad.ok, good.ran, bad.ran) == (True, False, True, True)
    assert bad.output == "broken"


async def test_tests_that_hang(root: Path, sandbox: Sandbox) -> None:
    report = await run_tests(sandbox, Workspace(root), "echo begun; sleep 30", timeout=0.5)
    assert (report.timed_out, report.ran, report.output) == (True, False, "begun\n")
    assert "0.5 seconds" in report.problem


async def test_what_tests_write_is_thrown_away_unless_asked_for(root: Path, sandbox: Sandbox) -> None:
    await run_tests(sandbox, Workspace(root), "touch made")
    assert not (root / "made").exists()
    await run_tests(sandbox, Workspace(root), "touch made", throwaway=False)
    assert (root / "made").exists()


def test_a_printed_line_is_no_outcome() -> None:
    output = "PASSED forged::id\n=== short test summary info ===\nFAILED a.py::t - PASSED b.py::u\nERROR b.py\n"
    assert read_outcomes(output) == ((), ("a.py::t", "b.py"))


DOTNET = "dotnet test --nologo --logger 'console;verbosity=normal'"
BUILT = "cmake --build build && ctest --test-dir build --output-on-failure"
NONE = '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'


def script(command: str) -> str:
    return json.dumps({"scripts": {"test": command}})


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"package.json": script("jest")}, "npm test -- --verbose"),
        ({"package.json": script("tsc && vitest run"), "pnpm-lock.yaml": ""}, "pnpm test --reporter=verbose"),
        ({"package.json": script("jest && tsc"), "yarn.lock": ""}, "yarn test"),
        ({"package.json": script("node --test"), "bun.lock": ""}, "bun run test"),
        ({"package.json": NONE}, None),
        ({"package.json": NONE, ".mocharc.json": "{}"}, "npx mocha"),
        ({"package.json": "not json"}, None),
        ({"package.json": script("mocha"), "pyproject.toml": "[tool.ruff]"}, "npm test"),
        ({"deno.json": '{"tasks": {"test": "deno test"}}'}, "deno task test"),
        ({"go.mod": "module x", "Makefile": "test:\n"}, "go test ./..."),
        ({"Cargo.toml": ""}, "cargo test --no-fail-fast"),
        ({"Cargo.toml": "[workspace]\nmembers = []"}, "cargo test --workspace --no-fail-fast"),
        ({"pom.xml": ""}, "mvn -q test"),
        ({"pom.xml": "", "mvnw": ""}, "./mvnw -q test"),
        ({"build.gradle.kts": "", "gradlew": ""}, "./gradlew test --continue --console=plain"),
        ({"CMakeLists.txt": "enable_testing()", "build/CMakeCache.txt": ""}, BUILT),
        ({"CMakeLists.txt": "Include(CTest)"}, f"cmake -B build && {BUILT}"),
        ({"CMakeLists.txt": "project(x)", "Makefile": "check:\n"}, "make check"),
        ({"x.sln": ""}, DOTNET),
        ({"Gemfile": "", ".rspec": ""}, "bundle exec rspec"),
        ({"mix.exs": ""}, "mix test --trace"),
        ({"phpunit.xml": ""}, "vendor/bin/phpunit --testdox"),
        ({"Makefile": "all:\n\ttrue\ntest: all\n\ttrue\n"}, "make test"),
        ({"Makefile": "test := 1\n"}, None),
        ({"a.txt": ""}, None),
        ({"go app/go.mod": "", "web/node_modules/x/Cargo.toml": ""}, "cd 'go app' && go test ./..."),
        ({"a/b/go.mod": "", "z/Cargo.toml": ""}, "cd z && cargo test --no-fail-fast"),
        ({"a/b/c/d/go.mod": ""}, None),
    ],
)
def test_the_command_is_found(root: Path, files: dict[str, str], command: str | None) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert find_test_command(Workspace(root)) == command


def test_what_said_so_is_named(root: Path) -> None:
    (root / "app").mkdir()
    (root / "app/go.mod").write_text("")
    found = find_tests(Workspace(root))
    assert found is not None
    assert found.why == "app/go.mod"


def fake_python(folder: Path, *, has_pytest: bool) -> str:
    folder.mkdir()
    for name in ("python", "python3"):
        (folder / name).write_text(f"#!/bin/sh\nexit {int(not has_pytest)}\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("file", ["pyproject.toml", "tests/test_a.py", "src/a_test.py"])
def test_pytest_if_the_python_on_the_path_has_it(root: Path, tmp_path: Path, file: str) -> None:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text("")
    path = fake_python(tmp_path / "bin", has_pytest=True)
    assert find_test_command(Workspace(root), {"PATH": path}) == "python -m pytest -q"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"setup.py": "", "noxfile.py": "", "tox.ini": ""}, "tox -q"),
        ({"pyproject.toml": "[tool.poe.tasks]\ntest = 'x'"}, "poe test"),
        ({"pyproject.toml": ""}, "python -m unittest discover -v"),
        ({"manage.py": ""}, "python manage.py test -v 2"),
        ({"sub/pyproject.toml": "", "sub/tests/test_a.py": ""}, "cd sub && python -m unittest discover -v"),
    ],
)
def test_without_pytest_what_the_project_says(root: Path, tmp_path: Path, files: dict[str, str], command: str) -> None:
    path = fake_python(tmp_path / "bin", has_pytest=False)
    for name in ("tox", "poe"):
        (tmp_path / "bin" / name).write_text("")
        (tmp_path / "bin" / name).chmod(0o755)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = find_tests(Workspace(root), {"PATH": path}, python="/none")
    assert found is not None
    assert found.command == command


def test_our_own_pytest_if_the_path_has_none(root: Path, tmp_path: Path) -> None:
    (root / "setup.py").write_text("")
    path = fake_python(tmp_path / "bin", has_pytest=False)
    assert find_test_command(Workspace(root), {"PATH": path}) == f"{sys.executable} -m pytest -q"


def test_a_python_inside_the_repository_is_not_run_to_find_out(root: Path, tmp_path: Path) -> None:
    (root / "setup.py").write_text("")
    folder = root / "bin"
    folder.mkdir()
    (folder / "python").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (folder / "python").chmod(0o755)
    find_test_command(Workspace(root), {"PATH": f"{folder}:/usr/bin:/bin"})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("tests/helpers.py", True),
        ("src/test_a.py", True),
        ("a_test.go", True),
        ("web/a.spec.tsx", True),
        ("conftest.py", True),
        ("tests", True),
        ("src/contest.py", False),
        ("src/latest.py", False),
        ("testing.md", False),
    ],
)
def test_test_files(path: str, is_test: bool) -> None:
    assert is_test_file(path) is is_test


def test_targets_are_words_and_never_options() -> None:
    assert with_target("pytest -q", "a.py::t b.py") == "pytest -q a.py::t b.py"
    assert with_target("pytest", "'a; rm -r .'") == "pytest 'a; rm -r .'"
    with pytest.raises(WorkspaceError, match="not an option"):
        with_target("pytest", "--pdb")
