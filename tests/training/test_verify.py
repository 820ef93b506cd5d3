"""Tasks that hold, and those that do not, each with its reason."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.fix.changes import Changes
from assistant.testing.report import TestReport
from tests.training.small_source import TEST, small_source
from training.data.episodes import Repairs
from training.data.profile import Profile
from training.data.repositories.diffs import unified
from training.data.repositories.failures import excerpt, statement
from training.data.repositories.trials import Unfit, reference
from training.data.schema import Provenance, Refused, Source, Task, Verification, as_line
from training.data.stage import Context
from training.data.verify import Verify


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    return folder, Context(folder / "cache", jobs=2)


@pytest.fixture(scope="module")
def source(place):
    folder, context = place
    (found,) = Profile(runs=1, environments=False)([small_source(folder)], context)
    assert isinstance(found, Source)
    return found


def mutation(source, name, old, new, path="shop.py", function="total", **more):
    right = Path(source.root, path).read_text()
    wrong = right.replace(old, new)
    provenance = Provenance(source.name, source.revision, path=path, function=function)
    start, solution = unified(path, right, wrong), unified(path, wrong, right)
    return Task(name, "mutation", "words", provenance, start=start, solution=solution, **more)


def test_each_task_holds_or_is_refused_with_the_reason(source, place):
    _, context = place
    right = Path(source.root, "shop.py").read_text()
    test = Path(source.root, "test_shop.py").read_text()
    wrong = right.replace("- free", "+ free")
    hold = mutation(source, "holds", "- free", "+ free")
    given = [
        hold,
        mutation(source, "unseen", "return 0", "return 1"),
        mutation(source, "broken", "def total", "def summed"),
        mutation(source, "loads", "def cheapest", "raise ValueError\ndef cheapest", function="cheapest"),
        replace(hold, id="away", provenance=replace(hold.provenance, source="elsewhere")),
        replace(hold, id="misses", start=hold.start.replace("-    return sum", "-    return min")),
        replace(hold, id="meddles", solution=unified("test_shop.py", test, test.replace("== 2", "== 4"))),
        replace(hold, id="nothing", solution=unified("shop.py", wrong, f"{wrong}# nothing\n")),
        replace(hold, id="flaky", fail_to_pass=source.flaky),
        replace(hold, id="bare", solution=""),
        Task("told", "question", "?", hold.provenance, verification=Verification("construction")),
    ]
    found = {each.id: each for each in Verify(sources=(source,))(given, context)}
    assert {name: each.reason for name, each in found.items() if isinstance(each, Refused)} == {
        "unseen": "not_noticed",
        "broken": "broken",
        "loads": "broken",
        "away": "unverifiable",
        "misses": "does_not_apply",
        "meddles": "tampered",
        "nothing": "not_noticed",
        "flaky": "flaky",
        "bare": "unverifiable",
    }
    assert [*found] == [task.id for task in given]
    task = found["holds"]
    assert task.fail_to_pass == ("test_shop.py::test_free",)
    assert task.pass_to_pass == ("test_shop.py::test_cheapest", "test_shop.py::test_total")
    assert (task.verification.by, task.verification.runs, task.test) == ("tests", 2, TEST)
    assert "test_shop.py::test_free" in task.statement
    assert "assert 4 == 2" in task.statement
    assert context.cache.name not in as_line(task)
    assert source.root not in as_line(task)
    (again,) = Verify(sources=(source,))([task], replace(context, cache=context.cache.parent / "other"))
    assert as_line(again) == as_line(task)


UNREADABLE_SO_FAR = """diff --git a/test_imported.py b/test_imported.py
new file mode 100644
--- /dev/null
+++ b/test_imported.py
@@ -0,0 +1,4 @@
+from shop import double
+
+def test_twice():
+    assert double(double(1)) == 4
"""


@pytest.mark.parametrize("stage", [Verify(), Repairs()])
def test_without_sources_nothing_is_begun(stage, tmp_path):
    with pytest.raises(UserError, match="--set sources=DIR"):
        next(iter(stage([], Context(tmp_path))))


def test_a_commit_brings_tests_of_its_own(tmp_path):
    source = small_source(tmp_path)
    root = Path(source.root)
    for command in (("init", "-q"), ("add", "-A"), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")):
        subprocess.run(["git", "-C", source.root, *command], check=True)
    asked = ["git", "-C", source.root, "rev-parse", "HEAD"]
    head = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    code, tests = (root / "shop.py").read_text(), (root / "test_shop.py").read_text()
    (root / "shop.py").write_text("nobody reads what is not committed")
    task = Task(
        "commit",
        "commit",
        "Add a function that doubles.",
        Provenance("shop", head),
        solution=unified("shop.py", code, f"{code}\n\ndef double(a):\n    return a * 2\n"),
        tests_patch=unified("test_shop.py", tests, f"{tests}\ndef test_double():\n    assert shop.double(2) == 4\n")
        + UNREADABLE_SO_FAR,
    )
    (found,) = Verify(runs=1, sources=(replace(source, revision=head),))([task], Context(tmp_path / "cache"))
    assert isinstance(found, Task)
    assert found.fail_to_pass == ("test_imported.py::test_twice", "test_shop.py::test_double")
    assert (len(found.pass_to_pass), found.statement) == (4, "Add a function that doubles.")


OUTPUT = """
=================================== FAILURES ===================================
________________________ TestShop.test_total[a-b] _________________________

    def test_total(self):
>       assert shop.total([1]) == 1
E       AssertionError: assert <Box at 0x7f0011aa22bb> == 1

/tmp/kat-1/shop/test_shop.py:3: AssertionError
__________________________________ test_other __________________________________
>       assert {}
E       assert {}
=========================== short test summary info ============================
"""


def report(output=OUTPUT):
    return TestReport("", 1, (), (), output, False, 0.0, True, place=Path("/tmp/kat-1/shop"))


def test_what_is_quoted_of_a_failure_is_the_same_each_time():
    found = excerpt(report(), "tests/test_shop.py::TestShop::test_total[a-b]")
    assert found.split("\n") == [
        ">       assert shop.total([1]) == 1",
        "E       AssertionError: assert <Box at 0x…> == 1",
    ]
    assert excerpt(report(), "tests/test_shop.py::test_none") == ""
    steady = statement("t", ("t.py::test_other",), [report(), report()])
    assert "E       assert {}" in steady
    moving = statement("t", ("t.py::test_other",), [report(), report(OUTPUT.replace("assert {}", "assert []"))])
    chinese = statement("t", ("t.py::test_other", "t.py::test_total"), [report()], "zh")
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert not re.search("[A-Z][a-z]", chinese)
    assert "`t.py::test_other`" in chinese
    assert steady.startswith(moving)
    assert "```" not in moving


class Slow:
    """Tests that end once they may take more than so many seconds."""

    def __init__(self, needs):
        self.needs, self.asked = needs, []

    async def run(self, changes, *, number, seconds):
        self.asked.append(seconds)
        late = seconds < self.needs
        return replace(report(), passed=() if late else ("t.py::test_a",), timed_out=late, seconds=self.needs)


@pytest.mark.parametrize(
    ("known", "needs", "asked"), [(0, 10, [300.0]), (100, 390, [404.0]), (100, 500, [404.0, 808.0])]
)
async def test_a_reference_has_the_time_that_the_source_took_and_once_more(known, needs, asked):
    tests = Slow(needs)
    found = await reference(tests, Changes(), 1, known)
    assert found.passing == {"t.py::test_a"}
    assert tests.asked == asked


async def test_what_never_ends_is_no_reference():
    tests = Slow(1e9)
    with pytest.raises(Unfit, match="do not end"):
        await reference(tests, Changes(), 1)
    assert tests.asked == [300.0], "twice the patience is less than that"
