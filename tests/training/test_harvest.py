"""Tasks from real git histories, made here commit by commit; and what a message becomes."""

import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.tasks.patched import changes_of
from training.data.guards.leaks import leak
from training.data.harvest import UNVERIFIED, Harvest
from training.data.questioning.issue_words import expected, statement
from training.data.repositories.diffs import changed, files, hunks, rows, unified
from training.data.schema import Refused, Source, Task, as_line
from training.data.stage import Context

CODE = "def mean(xs):\n    return sum(xs) / len(xs)\n\n\ndef last(xs):\n    return xs[-1]\n"
TESTS = "from stats import mean\n\n\ndef test_mean():\n    assert mean([1, 3]) == 2\n"
FIX = (
    "Fix crash of mean when the list is empty by checking its length (#12)\n\n"
    "The function divides by zero for an empty list, see deadbeef1234.\n"
    "Use a guard in front of the division.\n\n"
    "Fixes #12\nReported-by: Ann Example <ann@example.org>\nCo-authored-by: Bob <bob@example.org>\n"
)
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ann Example",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann Example",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class Repository:
    """A repository that grows by commits, a day apart."""

    def __init__(self, root: Path) -> None:
        self.root, self.day = root, 0
        root.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        date = f"2024-03-{self.day + 1:02}T23:30:00-05:00"
        environ = {**os.environ, **IDENTITY, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(["git", *arguments], cwd=self.root, env=environ, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit(self, message: str, **changes: str | bytes | None) -> str:
        self.day += 1
        for name, content in changes.items():
            path = self.root / name.replace("__", "/").replace("_py", ".py")
            path.parent.mkdir(exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def source(self) -> Source:
        return Source("toy", str(self.root), self.git("rev-parse", "HEAD"), "MIT", test="pytest -q")


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path / "toy")
    made.commit("First version of the statistics", stats_py=CODE, tests__test_stats_py=TESTS)
    return made


def harvest(repository, **options):
    found = list(Harvest(**{"seed": 1, **options})([repository.source()], Context(repository.root)))
    return [each for each in found if isinstance(each, Task)], [each for each in found if isinstance(each, Refused)]


def fixed(repository):
    mended = CODE.replace("    return sum", "    if not xs:\n        return 0.0\n    return sum")
    tests = TESTS + "\n\ndef test_mean_of_nothing_is_zero():\n    assert mean([]) == 0.0\n"
    return repository.commit(FIX, stats_py=mended, tests__test_stats_py=tests), mended, tests


def test_a_commit_with_tests_becomes_a_task_that_leads_from_its_parent_to_it(repository):
    before = repository.git("rev-parse", "HEAD")
    sha, mended, tests = fixed(repository)
    (task,), _ = harvest(repository)
    assert (task.kind, task.provenance.revision, task.provenance.released) == ("commit", before, "2024-03-04")
    assert task.verification.evidence["commit"] == sha
    assert (task.licence, task.test, task.tags.type) == ("MIT", "pytest -q", "")
    repository.git("checkout", "-q", before)
    found = changes_of(task.solution + task.tests_patch, repository.root)
    assert {change.path: change.new.content.decode() for change in found.changes} == {
        "stats.py": mended,
        "tests/test_stats.py": tests,
    }
    assert changes_of(task.solution, repository.root).files == ("stats.py",)


def test_the_statement_says_what_is_wrong_and_neither_who_nor_how(repository):
    fixed(repository)
    for seed in range(4):
        (task,), _ = harvest(repository, seed=seed)
        assert "crash of mean when the list is empty" in task.statement
        assert task.statement.endswith("divides by zero for an empty list.")
        line = as_line(task)
        for word in ("#12", "deadbeef", "Ann", "Bob", "example.org", "checking its length", "guard"):
            assert word not in task.statement
        assert "Ann" not in line
        assert "example.org" not in line


def test_what_nobody_would_learn_from_is_refused_with_the_reason(repository):
    commits = {
        repository.commit("Explain the module in the README", README_md="Words.\n"): "no_code",
        repository.commit("Reformat the statistics module", stats_py=CODE.replace("(xs)", "( xs )")): "formatting",
        repository.commit("Say what the module is for", stats_py=f'"""Statistics."""\n{CODE}'): "formatting",
        repository.commit("Bump version to 1.2", stats_py=CODE + "V = 2\n"): "chore",
        repository.commit("Add many functions at once", stats_py=CODE + "\n" + "x = 1\n" * 600): "large",
        repository.commit("Bring the parser in from elsewhere", vendor__parser_py="x = 1\n"): "generated",
        repository.commit("Make the tables anew", tables_py=f"# @generated\nT = {list(range(50))}\n"): "generated",
        repository.commit("Add a picture to the module", stats_py=CODE, logo_bin=b"\0\1"): "binary",
        repository.commit("wip", stats_py=CODE + "\nONE = 1\n"): "wordless",
        repository.commit("Add new names for numbers", **{"odd name_py": "x = 1\n"}): "odd_path",
    }
    tasks, refused = harvest(repository)
    assert not tasks
    assert {each.id: each.reason for each in refused} == {f"toy@{sha[:12]}": why for sha, why in commits.items()}


def test_many_files_are_too_many(repository):
    repository.commit("Split the module into many small ones", **{f"part{n}_py": "x = 1\n" for n in range(9)})
    _, (refused,) = harvest(repository)
    assert refused.reason == "large"
    (task,), _ = harvest(repository, most_files=9)
    assert task.tags.measures["files"] == 9


def test_a_merge_is_no_task_and_both_of_its_sides_are(repository):
    repository.git("checkout", "-q", "-b", "side")
    repository.commit("Handle negative numbers in last", stats_py=CODE.replace("xs[-1]", "abs(xs[-1])"))
    repository.git("checkout", "-q", "main")
    repository.commit(
        "Add a median of three numbers", other_py="def median(a, b, c):\n    return sorted([a, b, c])[1]\n"
    )
    repository.day += 1
    repository.git("merge", "-q", "--no-ff", "-m", "Merge the side branch into main", "side")
    tasks, _ = harvest(repository)
    assert len(tasks) == 2
    assert all("Merge" not in task.statement for task in tasks)


def test_without_tests_a_task_is_for_training_only(repository):
    repository.commit("Handle negative numbers in last", stats_py=CODE.replace("xs[-1]", "abs(xs[-1])"))
    (task,), _ = harvest(repository)
    assert (task.tags.type, task.verification.by, task.split) == (UNVERIFIED, "none", "train")
    tasks, (refused,) = harvest(repository, untested=False)
    assert not tasks
    assert refused.reason == "untested"


def test_a_message_that_says_nothing_is_written_from_the_new_tests(repository):
    tests = TESTS + "\n\ndef test_last_of_one_element_is_that_element():\n    assert last([1]) == 1\n"
    repository.commit("fix", stats_py=CODE + "\n\ndef only(xs):\n    return xs[0]\n", tests__test_stats_py=tests)
    (task,), _ = harvest(repository)
    assert "last of one element is that element" in task.statement


def test_names_that_tests_need_are_told(repository):
    code = CODE + "\n\ndef middle_value(xs):\n    return sorted(xs)[len(xs) // 2]\n"
    tests = TESTS + "\n\ndef test_middle():\n    from stats import middle_value\n    assert middle_value([1]) == 1\n"
    repository.commit("Add the median of a list of numbers", stats_py=code, tests__test_stats_py=tests)
    (task,), _ = harvest(repository)
    assert "`middle_value`" in task.statement


def test_nothing_of_the_repositorys_configuration_runs(repository, tmp_path):
    fixed(repository)
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    program.chmod(0o755)
    (repository.root / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    for key in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge"):
        repository.git("config", key, str(program))
    repository.git("config", "log.showSignature", "true")
    repository.git("config", "gpg.program", str(program))
    source = Source("toy", str(repository.root), "")
    (task, *_) = Harvest()([source], Context(tmp_path))
    assert isinstance(task, Task)
    assert not ran.exists()


def test_a_folder_without_history_says_so(tmp_path):
    (refused,) = Harvest()([Source("bare", str(tmp_path), "sha256:1")], Context(tmp_path))
    assert (refused.id, refused.reason) == ("bare", "no_history")


def test_the_newest_come_first_and_the_same_each_time(repository):
    for word in ("mean", "last", "first"):
        repository.commit(f"Handle empty lists in {word} too", **{f"{word}_py": f"def {word}(xs):\n    return xs\n"})
    tasks, _ = harvest(repository)
    assert [task.provenance.path for task in tasks] == ["first.py", "last.py", "mean.py"]
    assert [as_line(task) for task in harvest(repository, count=2)[0]] == [as_line(task) for task in tasks[:2]]


words = st.sampled_from(
    ["Fix", "crash", "in", "the", "parser", "when", "input", "is", "empty", "handle", "wrong", "result"]
)
noise = st.sampled_from(["#12", "(#345)", "gh-77", "deadbeef12", "https://x.org/issues/9", "@someone"])


@settings(max_examples=50, deadline=None)
@given(st.lists(words, min_size=4, max_size=9), st.lists(noise, max_size=3), st.integers(0, 99))
def test_numbers_hashes_and_handles_never_stay(said, marks, seed):
    message = " ".join([*said, *marks]) + "\n\nMore of it happens with long lines.\n\nSigned-off-by: A B <a@b.org>"
    made = statement(message, (), random.Random(seed))
    if made is not None:
        assert not re.search(r"#\d|gh-\d|deadbeef|https?:|@\w|Signed-off|a@b", made)


@pytest.mark.parametrize(
    "message", ["wip", "Fix typo", "update tests", "minor cleanup", "address review comments", "#12", ""]
)
def test_what_says_nothing_is_no_statement(message):
    assert statement(message, (), random.Random(1)) is None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("fix: mean loses the last value of a list", ("mean loses the last value of a list", "bug|wrong|problem|fix")),
        ("fix(stats): the order of equal values", ("the order of equal values", "fix|bug|right")),
        ("stats.mean: handle lists of one value", ("handle lists of one value", "`stats.mean`")),
        ("Added support for lists of words", ("add support for lists of words", "")),
        ("Fix #12: the order of equal values", ("the order of equal values", "fix|bug|right")),
        ("feat: lists of words have a mean too", ("lists of words have a mean too", "wanted|goal|miss")),
        ("修复\uff1a空列表的平均值不应出错", ("空列表的平均值不应出错", "修复|缺陷")),
        ("支持空列表的平均值计算", ("请支持空列表|能否支持空列表|支持空列表", "")),
    ],
)
def test_a_message_is_said_as_a_wish_or_as_a_fault(message, said):
    for seed in range(8):
        made = statement(message, (), random.Random(seed))
        assert made is not None
        assert all(re.search(part, made, re.IGNORECASE) for part in said), made
        if re.search("[\u4e00-\u9fff]", message):
            assert not re.search("[A-Za-z]", made)


def test_what_is_new_is_asked_for_by_its_docstring_where_the_message_says_nothing(repository):
    code = (
        CODE + '\n\ndef middle(xs):\n    """The median of a list of numbers."""\n    return sorted(xs)[len(xs) // 2]\n'
    )
    tests = TESTS.replace("mean\n", "mean, middle\n", 1) + "\n\ndef test_middle():\n    assert middle([1]) == 1\n"
    repository.commit("Add middle()", stats_py=code, tests__test_stats_py=tests)
    (task,), _ = harvest(repository)
    assert "`middle`" in task.statement
    assert "The median of a list of numbers." in task.statement
    assert leak(task.statement, task.solution, task.tests_patch) is None


def test_a_subject_that_names_what_only_the_fix_has_is_none():
    assert statement("Call normalise_all in front of every lookup", {"normalise_all"}, random.Random(1)) is None
    assert statement("Call normalise_all in front of every lookup", (), random.Random(1)) is not None
    assert expected(["test_it", "test_2"], random.Random(1)) is None


texts = st.lists(st.sampled_from(["a", "b", "c", "-- x", "++ y", "@@ z", "", " s"]), max_size=12).map("\n".join)


@settings(max_examples=60, deadline=None)
@given(texts, texts, st.integers(1, 3))
def test_a_diff_leads_from_one_text_to_the_other(old, new, around):
    old, new = f"{old}\n", f"{new}\n"
    patch = unified("a/b.py", old, new, around)
    lines, at, built = old.split("\n"), 0, []
    for row in rows(patch):
        built += lines[at : row.old - 1] + ([row.text] if row.sign != "-" else [])
        at = row.old - (row.sign == "+")
        assert row.sign == "+" or lines[row.old - 1] == row.text
        assert row.sign == "-" or new.split("\n")[row.new - 1] == row.text
    assert "\n".join([*built, *lines[at:]]) == new
    assert len(list(changed(patch, "+"))) == sum(row.sign == "+" for row in rows(patch))
    assert hunks(patch) == patch.count("\n@@ -")


@pytest.mark.parametrize(
    ("old", "new"),
    [("a\nb", "a\nc"), ("a\n", "a\nb"), ("a\nb", "a\nb\n"), ("", "x\n"), ("x\n", ""), ("a\n" * 30, "b\n" + "a\n" * 29)],
)
def test_git_takes_diffs_also_without_a_line_break_at_the_end(tmp_path, old, new):
    (tmp_path / "f.py").write_text(old)
    (change,) = changes_of(unified("f.py", old, new), tmp_path).changes
    assert change.new.content.decode() == new
    assert files(unified("f.py", old, new) * 2) == [unified("f.py", old, new)] * 2
