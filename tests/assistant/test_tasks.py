"""Task directories, many tasks at a time, predictions and instances."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.config import Settings
from assistant.errors import RefusedError, UserError
from assistant.fix.report import FixReport
from assistant.fix.request import FixRequest
from assistant.records import Tokens
from assistant.tasks.batch import Outcomes, fix_tasks, settings_digest
from assistant.tasks.checkout import checked_out
from assistant.tasks.fixing import request_of
from assistant.tasks.instance import Instance, check_base, judged, read_instance, request_for
from assistant.tasks.patched import changes_in_turn, changes_of
from assistant.tasks.predictions import Predictions
from assistant.tasks.several import several
from assistant.tasks.storing import append_line, read_lines
from assistant.tasks.task import Task, read_task, read_tasks, write_task
from assistant.testing.report import TestReport
from model.engine import EngineUnreachable
from tests.e2e.conftest import git, make_repository

FIXED = FixReport("fixed", "1 failing test now passes.", patch="diff --git …", tokens=Tokens(answer=7), seconds=1.5)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def make(folder: Path, name: str, **values) -> Task:
    (folder / name / "repo").mkdir(parents=True)
    (folder / name / "repo/a.py").write_text("x = 1\n")
    task = Task(name, (folder / name).resolve(), "fix", **values)
    write_task(task)
    return task


@settings(max_examples=25, deadline=None)
@given(test=words, issue=words, tests=st.lists(words, min_size=1), seconds=st.floats(0.1, 1e6))
def test_what_is_written_is_read_back(tmp_path_factory, test, issue, tests, seconds):
    folder = tmp_path_factory.mktemp("tasks")
    task = make(folder, "one", test=test, issue=issue, tests=tuple(tests), timeout_s=seconds, language="python")
    assert read_task(folder / "one") == task


def test_tasks_are_found_in_nested_folders_in_order_and_not_within_each_other(tmp_path):
    make(tmp_path / "z", "b-2")
    make(tmp_path, "c")
    make(tmp_path / "z/y", "a.1")
    (tmp_path / "c/repo/task.toml").write_text("a file of the repository's")
    assert [task.id for task in read_tasks(tmp_path)] == ["a.1", "b-2", "c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('id = "x"\nkind = "fix"\ntimeouts = 3', "unknown key 'timeouts'; did you mean 'timeout_s'?"),
        ('id = "x"\nkind = "fix"\nqqq = 3', "unknown key 'qqq'; use id, kind"),
        ('kind = "fix"', "the key 'id' is missing"),
        ('id = "x"\nkind = "fox"', "'kind' is one of fix, answer, not 'fox'"),
        ('id = "../x"\nkind = "fix"', "the id '../x' has to be letters"),
        ('id = "x"\nkind = "fix"\ntimeout_s = true', "'timeout_s' is a positive number of seconds, not True"),
        ('id = "x"\nkind = "fix"\ntests = "a"', "'tests' is a list of test ids"),
        ('id = "x"\nkind = "answer"', "needs the file prompt.md"),
        ('id = "x', "cannot be read"),
        pytest.param(f"id = {'1' * 5_000}", "cannot be read", id="long number"),
        pytest.param(f"id = {'[' * 5_000}", "cannot be read", id="deep list"),
        pytest.param(
            f'id = "x"\nkind = "fix"\ntimeout_s = 1{"0" * 400}', "'timeout_s' is a positive number", id="long time"
        ),
    ],
)
def test_a_wrong_task_is_one_line_with_its_path(tmp_path, text, words):
    (tmp_path / "repo").mkdir()
    (tmp_path / "task.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_tasks(tmp_path)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "task.toml"))
    assert words in said


def test_the_same_id_twice_is_refused(tmp_path):
    make(tmp_path / "one", "Same")
    make(tmp_path / "two", "same")
    with pytest.raises(UserError, match=r"taken twice, in .*one/Same and .*two/same"):
        read_tasks(tmp_path)
    with pytest.raises(UserError, match="no task in"):
        read_tasks(tmp_path / "one/Same/repo")


def test_the_digest_is_of_all_that_a_task_consists_of_and_of_nothing_else(tmp_path):
    task, other = make(tmp_path / "1", "a"), make(tmp_path / "2", "a")
    assert task.digest == other.digest
    (task.repo / "__pycache__").mkdir()
    (task.repo / "__pycache__/a.pyc").write_text("x")
    assert task.digest == other.digest
    (task.repo / "a.py").write_text("x = 2\n")
    assert task.digest != other.digest


async def test_a_task_is_worked_on_in_a_repository_of_its_own(tmp_path):
    make_repository(tmp_path, {".gitignore": "*\n"})
    task = make(tmp_path, "a")
    before = task.digest
    async with checked_out(task) as root:
        assert git(root, "ls-files").split() == ["a.py"]
        assert git(root, "status", "--porcelain") == ""
        (root / "a.py").write_text("x = 3\n")
    assert not root.exists()
    assert task.digest == before
    assert not (task.repo / ".git").exists()


def test_a_task_is_a_request(tmp_path):
    base = FixRequest(Path(), Settings(), timeout=100, candidates=3)
    task = make(tmp_path, "a", test="make test", issue="It is slow.", tests=("t::a",), timeout_s=300)
    request = request_of(task, base, tmp_path)
    assert (request.test_command, request.issue, request.tests, request.timeout) == (
        "make test",
        "It is slow.",
        ("t::a",),
        100,
    )
    assert (request.repository, request.candidates) == (tmp_path, 3)


async def test_at_most_so_many_at_a_time_and_the_first_error_ends_all():
    running, most, done = 0, 0, []

    async def work(item):
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1
        if item == 5:
            raise UserError("five")
        done.append(item)

    await several(range(5), work, 2)
    assert (most, done) == (2, [0, 1, 2, 3, 4])
    with pytest.raises(UserError, match="five"):
        await several(range(5, 50), work, 1)
    assert done == [0, 1, 2, 3, 4]


async def test_tasks_are_kept_as_they_end_and_not_run_again(tmp_path):
    tasks = [make(tmp_path / "tasks", name) for name in ("a", "b", "c")]
    outcomes, ran, said = Outcomes(tmp_path / "out", settings_digest({"model": "m"})), [], []

    async def run(task):
        ran.append(task.id)
        if task.id == "b":
            raise UserError("there are\nno tests")
        return FIXED

    summary = await fix_tasks(tasks, run, outcomes, say=said.append)
    assert summary.as_json()["statuses"] == {"error": 1, "fixed": 2}
    assert (summary.tokens.answer, summary.seconds, summary.all_fixed) == (14, 3.0, False)
    assert said[1] == "[2/3] b: error (0.0 s, 0 tokens) there are no tests"
    kept = json.loads((tmp_path / "out/a.json").read_text())
    assert (kept["id"], kept["status"], kept["patch"]) == ("a", "fixed", FIXED.patch)

    (tasks[2].repo / "a.py").write_text("changed")
    assert (await fix_tasks(tasks, run, outcomes)).kept == 1
    assert ran == ["a", "b", "c", "b", "c"]
    await fix_tasks(tasks, run, replace(outcomes, settings=settings_digest({"model": "n"})))
    assert len(ran) == 8
    assert (await fix_tasks(tasks[:1], run, outcomes, again=True)).all_fixed
    assert len(ran) == 9


@pytest.mark.parametrize("error", [EngineUnreachable("gone"), RefusedError("no sandbox"), asyncio.CancelledError()])
async def test_what_is_done_stays_when_the_rest_is_ended(tmp_path, error):
    tasks = [make(tmp_path / "tasks", name) for name in ("a", "b", "c")]

    async def run(task):
        if task.id == "b" and isinstance(error, asyncio.CancelledError):
            batch.cancel()
            await asyncio.sleep(60)
        elif task.id == "b":
            raise error
        return FIXED

    batch = asyncio.ensure_future(fix_tasks(tasks, run, Outcomes(tmp_path / "out", "s")))
    with pytest.raises(type(error)):
        await batch
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.json"]


def test_digests_leave_secrets_out():
    assert settings_digest({"a": 1, "api_key": "x"}) == settings_digest({"api_key": "y", "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


@pytest.mark.parametrize("name", ["p.jsonl", "p.json"])
def test_predictions_are_replaced_and_others_stay(tmp_path, name):
    path = tmp_path / name
    Predictions(path, "one").add("x-1", "old \udcff")
    again = Predictions(path, "two")
    again.add("x-2", "second")
    again.add("x-1", "new")
    text = path.read_text()
    found = json.loads(text) if name == "p.json" else [json.loads(line) for line in text.splitlines()]
    assert found == [
        {"instance_id": "x-1", "model_name_or_path": "two", "model_patch": "new"},
        {"instance_id": "x-2", "model_name_or_path": "two", "model_patch": "second"},
    ]


def test_a_file_of_something_else_is_no_file_of_predictions(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    for name in ("x.json", "x.jsonl"):
        with pytest.raises(UserError, match="holds something else"):
            Predictions(tmp_path / name, "m")


@pytest.mark.parametrize("torn", ['{"a": 3', "\x00" * 70_000], ids=["cut", "zeros"])
def test_a_torn_line_is_cut_when_the_next_is_added(tmp_path, torn):
    path = tmp_path / "deep/r.jsonl"
    append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write(torn)
    assert list(read_lines(path)) == [{"a": 1}]
    append_line(path, {"a": 2})
    assert list(read_lines(path)) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n[]\n')
    with pytest.raises(UserError, match="line 2 is no JSON object"):
        list(read_lines(path))


def test_a_whole_line_without_an_end_stays(tmp_path):
    path = tmp_path / "others.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}')
    append_line(path, {"a": 3})
    assert list(read_lines(path)) == [{"a": 1}, {"a": 2}, {"a": 3}]
    path.write_text("a note of the user's")
    with pytest.raises(UserError, match="line 1 is no JSON"):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["p.jsonl", "p.json"])
def test_two_that_add_predictions_lose_none(tmp_path, name):
    first, second = Predictions(tmp_path / name, "m"), Predictions(tmp_path / name, "m")
    first.add("x-1", "one")
    second.add("x-2", "two")
    first.add("x-1", "new")
    text = (tmp_path / name).read_text()
    found = json.loads(text) if name == "p.json" else [json.loads(line) for line in text.splitlines()]
    assert {each["instance_id"]: each["model_patch"] for each in found} == {"x-1": "new", "x-2": "two"}


@pytest.fixture
def checkout(tmp_path):
    files = {"shop/price.py": "def total(p):\n    return 1\n", "tests/test_a.py": "A = 1\n", "old name.py": "b\n" * 9}
    return make_repository(tmp_path / "shop", files)


def patch_of(root: Path, change) -> str:
    change()
    git(root, "add", "-A")
    patch = git(root, "diff", "--cached", "-M", "--binary")
    git(root, "reset", "-q", "--hard")
    return patch


def test_what_a_patch_makes_of_files(checkout):
    def change():
        (checkout / "tests/test_a.py").write_text("A = 2\n")
        (checkout / "tests/grün.py").write_text("G = 1\n")
        (checkout / "tests/grün.py").chmod(0o755)
        (checkout / "old name.py").rename(checkout / "new name.py")
        (checkout / "bin").write_bytes(bytes(range(256)))
        (checkout / "link").symlink_to("bin")
        (checkout / "shop/price.py").unlink()

    patch = patch_of(checkout, change)
    found = {each.path: each for each in changes_of(patch, checkout).changes}
    assert list(found) == [
        "bin",
        "link",
        "new name.py",
        "old name.py",
        "shop/price.py",
        "tests/grün.py",
        "tests/test_a.py",
    ]
    assert found["tests/test_a.py"].old.content == b"A = 1\n"
    assert found["tests/test_a.py"].new.content == b"A = 2\n"
    assert [found[name].new for name in ("old name.py", "shop/price.py")] == [None, None]
    assert (found["link"].new.mode, found["tests/grün.py"].new.mode) == ("120000", "100755")
    assert git(checkout, "status", "--porcelain") == ""
    assert not changes_of(" \n", checkout)


def test_a_patch_may_copy_files(checkout):
    patch = (
        "diff --git a/old name.py b/copy.py\nsimilarity index 100%\ncopy from old name.py\ncopy to copy.py\n"
        "diff --git a/old name.py b/old name.py\n--- a/old name.py\n+++ b/old name.py\n@@ -9 +9 @@\n-b\n+c\n"
    )
    assert changes_of(patch, checkout).files == ("copy.py", "old name.py")


@pytest.mark.parametrize(
    "patch",
    [
        "nonsense",
        "--- a/../x\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n",
        "--- a/shop/price.py\n+++ b/shop/price.py\n@@ -1 +1 @@\n-x\n+y\n",
    ],
)
def test_a_patch_that_does_not_apply_is_refused(checkout, patch):
    with pytest.raises(UserError, match="the patch"):
        changes_of(patch, checkout)


def instance_file(path: Path, **values) -> Path:
    path.write_text(json.dumps({"instance_id": "shop__1", "problem_statement": "It is wrong.", **values}))
    return path


def test_an_instance_becomes_a_request_that_hides_its_tests(checkout, tmp_path):
    tests = patch_of(checkout, lambda: (checkout / "tests/test_a.py").write_text("A = 3\n"))
    head = git(checkout, "rev-parse", "HEAD").strip()
    path = instance_file(
        tmp_path / "i.json",
        base_commit=head,
        test_patch=tests,
        patch="the solution",
        FAIL_TO_PASS='["tests/test_a.py::test_a", "test_b (tests.test_b.T)", "test_c (t.T.test_c)"]',
        PASS_TO_PASS=["x"],
    )
    instance = read_instance(path)
    check_base(instance, checkout)
    request = request_for(instance, FixRequest(checkout, Settings()))
    assert request.issue == "It is wrong."
    assert instance.fail_to_pass == ("tests/test_a.py::test_a", "tests.test_b.T.test_b", "t.T.test_c")
    assert request.tests == ()
    assert request_for(replace(instance, test_patch=""), request).tests == instance.fail_to_pass
    assert "the solution" not in repr((instance, request))
    assert "A = 3" not in repr(request)
    with pytest.raises(UserError, match=r"is at [0-9a-f]{12}, and shop__1 is for abcdef012345; run `git checkout"):
        check_base(replace(instance, base_commit="abcdef0123456"), checkout)
    with pytest.raises(UserError, match="the tests of shop__1 cannot be laid over"):
        request_for(replace(instance, test_patch="x"), FixRequest(checkout, Settings()))


@pytest.mark.parametrize(
    ("passed", "status", "words"),
    [
        (("new", "old"), "fixed", "All tests of shop__1 pass: 1 that failed, and 1 that passed before."),
        (("new",), "not_fixed", "Of the tests of shop__1, old does not pass."),
        ((), "not_fixed", "new does not pass (and 1 more)."),
    ],
)
async def test_hidden_tests_judge_the_patch_that_is_handed_over(checkout, passed, status, words):
    tests = patch_of(checkout, lambda: (checkout / "tests/test_a.py").write_text("A = 3\n"))

    def change():
        (checkout / "shop/price.py").write_text("def total(p):\n    return 2\n")
        (checkout / "tests/test_a.py").write_text("A = 'always right'\n")

    instance = Instance("shop__1", "It is wrong.", fail_to_pass=("new",), pass_to_pass=("old",), test_patch=tests)
    report = FixReport("not_fixed", "who knows", patch=patch_of(checkout, change))
    ran = []

    async def run(changes):
        ran.append({each.path: each.new.content for each in changes.changes})
        return TestReport("t", 0, passed, (), "", timed_out=False, seconds=0.1, ran=True)

    found = await judged(instance, report, checkout, run)
    assert (found.status, found.patch) == (status, report.patch)
    assert words in found.message
    assert ran == [{"shop/price.py": b"def total(p):\n    return 2\n", "tests/test_a.py": b"A = 3\n"}]
    assert await judged(instance, replace(report, patch=""), checkout, run) == replace(report, patch="")
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"problem_statement": " "}, "problem_statement is missing"),
        ({"FAIL_TO_PASS": 3}, "FAIL_TO_PASS is a list of test ids"),
        ({"FAIL_TO_PASS": "["}, "is no instance"),
        ({"base_commit": "--help"}, "base_commit '--help' is no commit"),
    ],
)
def test_a_wrong_instance_is_one_line(tmp_path, values, words):
    with pytest.raises(UserError, match=words):
        read_instance(instance_file(tmp_path / "i.json", **values))


def test_a_patch_cannot_reach_outside_through_what_another_made(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "x", outside):
        folder.mkdir(parents=True)
    (root / "x/f").write_text("ours\n")
    link = f"diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+{outside}\n"
    link += "\\ No newline at end of file\n"
    file = link.replace("120000", "100644")
    edit = "--- a/x/f\n+++ b/x/f\n@@ -1 +1 @@\n-ours\n+theirs\n"
    for first in (link, file):
        with pytest.raises(UserError):
            changes_in_turn((first, edit), root)
    assert not [*outside.iterdir()]
