"""What fails is told from what is flaky, on real repositories and with real runs."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.errors import UserError
from assistant.fix.bench import Bench
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.reproduce import reproduce
from assistant.fix.request import FixRequest
from assistant.fix.stages import Attempt
from assistant.fix.views import views
from assistant.records import Tokens
from assistant.safety.sandbox import detect
from assistant.workspace.files import Workspace
from tests.assistant.played import Played

UNITTEST = f"{sys.executable} -m unittest -v"
HEAD = "import os, unittest\nfrom calc import add\n\nclass T(unittest.TestCase):\n"
GOOD = "    def test_good(self): pass\n"
BAD = "    def test_bad(self): self.assertEqual(add(1, 2), 3)\n"
LEAKS = "    def test_a_leaks(self): os.environ['LEAK'] = '1'\n"
BEHIND = "    def test_behind(self): self.assertNotIn('LEAK', os.environ)\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    with views(root) as made:
        yield Bench(FixRequest(root, Settings()), Workspace(root), detect(root), made, UNITTEST)


def with_suite(bench: Bench, *tests: str, command: str = UNITTEST) -> Bench:
    (bench.workspace.root / "test_it.py").write_text(HEAD + "".join(tests))
    return replace(bench, command=command)


def played(bench: Bench, *runs: str, command: str = "pytest", timeout: float = 1_800.0) -> Played:
    request = replace(bench.request, timeout=timeout)
    return Played(request, bench.workspace, bench.sandbox, bench.views, command, [*runs], [])


@pytest.mark.parametrize(
    ("runs", "failing", "flaky"),
    [
        (["t1 -t2 -t3", "-t2 -t3", "-t2 -t3"], ["t2", "t3"], []),
        (["t1 -t2 -t3", "-t2 t3", "t1 -t2 t3", "-t2"], ["t2"], ["t3"]),
        (["t1 -t2 -t3", "-t2 t3", "-t1 -t2 -t3", "-t2 -t3"], ["t2", "t3"], ["t1"]),
        (["t1 -t2", "-t2", "t2", "t1 t2"], [], ["t2"]),
        (["t1 -t2", "4", "t1 t2"], [], ["t2"]),
        (["t1 t2"], [], []),
    ],
    ids=["both", "once", "only behind others", "late", "cannot run apart", "none"],
)
async def test_what_once_passed_is_set_apart(
    bench: Bench, runs: list[str], failing: list[str], flaky: list[str]
) -> None:
    found = await reproduce(played(bench, *runs))
    assert ([*found.failing], [*found.flaky]) == (failing, flaky)


async def test_without_time_nothing_is_run_again_that_cannot_be_run_apart(bench: Bench) -> None:
    notes: list[str] = []
    piped = played(bench, "t1 -t2", command="pytest | cat", timeout=100.0)
    assert (await reproduce(piped, note=notes.append)).failing == ("t2",)
    assert "not run again" in notes[0]
    apart = played(bench, "t1 -t2", "-t2", "-t2", timeout=100.0)
    assert (await reproduce(apart)).failing == ("t2",)
    assert apart.commands == [None, "pytest t2", "pytest t2"]


@pytest.mark.parametrize(("runs", "code"), [(["2", "2", "2"], 2), (["2", "2", "0"], 0), (["2 t1", "2 t1", "t1"], 0)])
async def test_where_no_name_fails_the_exit_code_must_fail_every_time(bench: Bench, runs: list[str], code: int) -> None:
    found = await reproduce(played(bench, *runs))
    assert (found.failing, found.flaky, found.before.exit_code) == ((), (), code)


async def test_a_real_failure_and_one_that_stands_only_behind_another_test(bench: Bench) -> None:
    bench = with_suite(bench, GOOD, BAD, LEAKS, BEHIND)
    found = await reproduce(bench)
    assert (found.failing, found.flaky) == (("test_it.T.test_bad", "test_it.T.test_behind"), ())
    assert found.before.passed == ("test_it.T.test_a_leaks", "test_it.T.test_good")
    asked = replace(bench, request=replace(bench.request, tests=("test_it.T.test_behind", "test_it.T.test_good")))
    assert (await reproduce(asked)).failing == ("test_it.T.test_behind",)


async def test_names_decide_where_a_pipe_loses_the_exit_code(bench: Bench) -> None:
    found = await reproduce(with_suite(bench, GOOD, BAD, command=f"{UNITTEST} 2>&1 | tee log"))
    assert (found.before.exit_code, found.failing) == (0, ("test_it.T.test_bad",))
    assert not (bench.workspace.root / "log").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-runner", "--test COMMAND"),
        ("sleep 30", "--test-timeout"),
        ("false | tail -n 1", "leave the pipe out"),
    ],
)
async def test_what_cannot_be_run_says_what_to_do(bench: Bench, command: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        await reproduce(replace(bench, command=command, request=replace(bench.request, test_timeout=1.0)))


def added(path: str, text: str) -> Changes:
    return Changes.of([Change(path, None, FileState(text.encode()))])


class Author:
    """Writes one test after another, and keeps what it was told."""

    def __init__(self, *written: Changes) -> None:
        self.hints: list[str] = []
        self._written = list(written)

    async def __call__(self, hint: str = "") -> Attempt:
        self.hints.append(hint)
        return Attempt("agent", self._written.pop(0), tokens=Tokens(answer=5))


SHOWS = added("test_issue.py", HEAD.replace("class T", "class Issue") + BAD)
PASSES = added("test_issue.py", HEAD + GOOD)
UNLOADABLE = added("test_issue.py", "import nothing_like_this\n")
BREAKS = Changes.of([Change("test_it.py", FileState((HEAD + GOOD).encode()), FileState((HEAD + BAD).encode()))])


async def test_for_an_issue_a_test_is_written(bench: Bench) -> None:
    code = added("other.py", "x = 1\n")
    author = Author(Changes.of([*SHOWS.changes, *code.changes]))
    found = await reproduce(with_suite(bench, GOOD), author)
    assert (found.failing, found.own_test, found.tokens) == (("test_issue.Issue.test_bad",), SHOWS, Tokens(answer=5))
    assert set(found.before.passed) == {"test_it.T.test_good"}
    assert not (bench.workspace.root / "test_issue.py").exists()


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        (PASSES, "does not fail"),
        (added("other.py", "x = 1\n"), "No test was written"),
        (BREAKS, "passed before"),
        (UNLOADABLE, "cannot be loaded"),
    ],
    ids=["passes", "none", "breaks", "unloadable"],
)
async def test_a_test_that_shows_nothing_is_written_again_once(bench: Bench, written: Changes, hint: str) -> None:
    bench = with_suite(bench, GOOD)
    notes: list[str] = []
    author = Author(written, PASSES)
    found = await reproduce(bench, author, notes.append)
    assert author.hints[0] == ""
    assert hint in author.hints[1]
    assert (found.failing, found.own_test, found.tokens) == ((), Changes(), Tokens(answer=10))
    assert "could be written" in notes[0]


async def test_no_test_is_written_where_one_fails(bench: Bench) -> None:
    author = Author()
    assert (await reproduce(with_suite(bench, BAD), author)).failing == ("test_it.T.test_bad",)
    assert not author.hints
