"""Bugs by a model (played), combined bugs, functions to be written, and diffs to be reviewed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import UserError
from assistant.tasks.patched import changes_of
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from training.data.asking.inventing import Bug, read
from training.data.invent import Combine, Invent
from training.data.repositories.diffs import changed, rows, unified
from training.data.repositories.modules import functions, module_of
from training.data.review import MutantReview, Review, reversed_patch
from training.data.schema import Function, Refused, Source, Task, Verification, as_line
from training.data.stage import Context
from training.data.writing import Writing

CLAMP = '''    def clamp(self, value, low=0, high=10):
        """Give the value, or the nearer of both ends where it lies outside of them."""
        if value < low:
            return low
        if value > high:
            return high
        return value
'''
COUNT = '''def count_words(text, words):
    """Count how many of the words of a text are among those that are wanted."""
    found = 0
    for word in text.split():
        if word in words and len(word) > 1:
            found += 1
    return found
'''
CODE = f"import os\n\n\nclass Range:\n{CLAMP}\n\n{COUNT}\n\ndef undescribed(a):\n    b = a\n    return b\n"
BAD = CLAMP.replace("value > high", "value >= high").replace("return high", "return high - 1")


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    (root / "tools.py").write_text(CODE)
    names = [("Range.clamp", 5, 11), ("count_words", 14, 20), ("undescribed", 23, 25)]
    run = tuple(Function("tools.py", name, first, last, ("tests/test_a.py::test_b",)) for name, first, last in names)
    lines = {"tools.py": tuple(range(1, 30))}
    return Source("toy", str(root), "sha256:0", "MIT", "2026-01-02", "pytest -q", functions=run, lines=lines)


def here(source):
    return Context(Path(source.root).parent / "cache", 2)


def bare(text):
    """A function as a model writes it: without the indentation of its class."""
    return re.sub(r"^    ", "", text, flags=re.MULTILINE)


def said(answer):
    return f"Plain.\n</judge>\n\n<think_off>\n<answer>\n{answer}\n</answer>"


@pytest.fixture
def play(source):
    """What comes of a source when each function is answered so; the prompts too."""

    def run(clamp, count, **options):
        script = [
            {"match": "function `Range.clamp`", "reply": said(clamp), "times": 0},
            {"match": "function `count_words`", "reply": said(count), "times": 0},
        ]
        with ScriptedServer(script) as server:

            async def engine():
                return HttpEngine(server.url, retries=0, backoff=0.01)

            only = replace(source, functions=source.functions[:2])
            stage = Invent(**{"seed": 3, "tries": 1, "timeout": 5.0, **options})
            found = list(stage([only], replace(here(source), engine=engine)))
            return found, [body["prompt"] for body in server.requests]

    return run


def after(task, patch, source):
    """The file with a patch on what stands in the source, or on that with the task's start."""
    root = Path(source.root)
    (change,) = changes_of(patch, root).changes
    return change.new.content.decode()


def restored(task, source, tmp_path):
    """The file after the start and then the solution."""
    place = tmp_path / task.id
    place.mkdir()
    (place / "tools.py").write_text(after(task, task.start, source))
    (change,) = changes_of(task.solution, place).changes
    return change.new.content.decode()


def test_a_bug_that_a_model_writes_becomes_a_task(play, source, tmp_path):
    found, prompts = play(
        f"Here it is:\n```python\n{bare(BAD)}```", json.dumps({"function": COUNT.replace("> 1", "> 0")})
    )
    tasks = {task.provenance.function: task for task in found}
    assert {*tasks} == {"Range.clamp", "count_words"}
    clamp = tasks["Range.clamp"]
    assert after(clamp, clamp.start, source) == CODE.replace(CLAMP, BAD)
    assert after(tasks["count_words"], tasks["count_words"].start, source) == CODE.replace("> 1", "> 0")
    for task in found:
        assert restored(task, source, tmp_path) == CODE
        assert (task.kind, task.provenance.made_by[:7], task.licence) == ("invented", "invent:", "MIT")
        assert "tools.py" in task.statement or task.provenance.function in task.statement
    assert all("exactly one subtle" in prompt for prompt in prompts)
    assert all(bare(CLAMP) in prompt or COUNT in prompt for prompt in prompts)


def test_the_same_again_asks_nobody(play):
    first, prompts = play(f"```python\n{bare(BAD)}```", "no idea")
    again, more = play("something else", "something else")
    assert [as_line(each) for each in first if isinstance(each, Task)] == [
        as_line(each) for each in again if isinstance(each, Task)
    ]
    assert len(prompts) == 2
    assert not more


USELESS = {
    "I cannot do that.": "malformed",
    "```python\ndef clamp(self:\n```": "malformed",
    "```python\ndef other(self):\n    return 1\n```": "malformed",
    '{"function": 3}': "malformed",
    '{"function": "def clamp(self, value):': "malformed",
    f"```python\n{bare(CLAMP)}```": "unchanged",
    f"```python\n{bare(CLAMP)}    # nothing to see\n```": "unchanged",
    f"```python\n{bare(BAD).replace('high - 1', 'high - 1  # BUG: off by one')}```": "telling",
    f"```python\n{bare(BAD).replace('high - 1', 'high - 1  # 这里应该是 high')}```": "telling",
    "```python\ndef clamp(self, value, low=0, high=10):\n" + "    value += 1\n" * 9 + "    return value\n```": "large",
}


@pytest.mark.parametrize(("answer", "reason"), USELESS.items(), ids=range(len(USELESS)))
def test_a_reply_that_is_no_good_is_refused_with_the_reason(answer, reason):
    (clamp, *_) = functions(module_of("tools.py", CODE))
    found = read(clamp, answer)
    assert not isinstance(found, Bug)
    assert found.reason == reason


def test_what_is_refused_is_named_and_asked_for_again(play):
    found, prompts = play("no", f"```python\n{COUNT.replace('> 1', '> 0')}```", tries=3)
    (refused,) = [each for each in found if isinstance(each, Refused)]
    assert (refused.id, refused.reason) == ("toy:tools.py:Range.clamp", "malformed")
    assert len(prompts) == 4


def test_a_head_that_the_model_changed_stays_as_it_was(source):
    (clamp, *_) = functions(module_of("tools.py", CODE))
    written = bare(BAD).replace("low=0, high=10", "low, high").replace("Give the value", "Other words")
    found = read(clamp, f"```python\n{written}```")
    assert isinstance(found, Bug)
    assert found.text == CODE.replace(CLAMP, BAD)


def test_without_an_engine_or_tests_it_says_so(source):
    with pytest.raises(UserError, match="--teacher"):
        list(Invent()([source], here(source)))
    (refused,) = Invent()([replace(source, functions=())], here(source))
    assert refused.reason == "uncovered"


def test_two_mutations_in_one_place(source, tmp_path):
    made = [task for seed in range(2) for task in Combine(seed)([source], here(source))]
    assert made
    for task in made:
        one, _, two = task.provenance.made_by.removeprefix("combine:").partition("+")
        assert one != two
        assert after(task, task.start, source) != CODE
        assert module_of("tools.py", after(task, task.start, source)) is not None
    assert restored(made[0], source, tmp_path) == CODE
    again = [task for seed in range(2) for task in Combine(seed)([source], here(source))]
    assert [as_line(task) for task in made] == [as_line(task) for task in again]


def test_a_function_is_to_be_written_from_its_docstring(source, tmp_path):
    tasks = list(Writing(2)([source], here(source)))
    assert [task.provenance.function for task in tasks] == ["Range.clamp", "count_words"]
    for task in tasks:
        space = {}
        exec(after(task, task.start, source), space)
        name = task.provenance.function
        with pytest.raises(NotImplementedError):
            space["Range"]().clamp(1) if name == "Range.clamp" else space[name]("a", "b")
        assert restored(task, source, tmp_path) == CODE
        assert task.context in task.statement
        assert task.answer in CODE
        body = [line.strip() for line in changed(task.solution, "+")]
        assert not any(line in task.statement for line in body if len(line) > 12)


def test_writing_needs_a_test_unless_it_is_told_otherwise(source):
    (refused,) = Writing()([replace(source, functions=())], here(source))
    assert refused.reason == "undescribed"
    assert len(list(Writing(covered=False)([replace(source, functions=())], here(source)))) == 2
    assert len(list(Writing(count=1)([source], here(source)))) == 1


def test_reviews_of_mutants_are_faulty_or_not_as_they_say(source):
    """Both are made of the same texts, so that nothing but the code tells them apart."""
    tasks = [task for seed in range(7) for task in MutantReview(seed, each=9, chinese=0.3)([source], here(source))]
    assert {task.tags.language for task in tasks} == {"en", "zh"}
    faulty = [task for task in tasks if ":faulty:" in task.provenance.made_by]
    assert 0.4 < len(faulty) / len(tasks) < 0.6
    for task in tasks:
        right = {line for line in CODE.split("\n") if line.strip()}
        sides = {sign: [row.text for row in rows(task.context) if row.sign == sign] for sign in "+-"}
        good, bad = ("-", "+") if task in faulty else ("+", "-")
        assert right.issuperset(line for line in sides[good] if line.strip())
        assert sides[good] != sides[bad]
        if task in faulty:
            number = int(re.search(r"(?:line |第 )(\d+)", task.answer, re.IGNORECASE)[1])
            assert number in {row.new for row in rows(task.context) if row.sign == "+"}
        else:
            assert re.search(r"No fault|is fine|Nothing is wrong|没有", task.answer)
    verdicts: dict[frozenset[str], set[bool]] = {}
    for task in tasks:
        lines = frozenset(row.text for row in rows(task.context) if row.sign != " ")
        verdicts.setdefault(lines, set()).add(task in faulty)
    assert any(len(each) == 2 for each in verdicts.values())


def mutation(source, **more):
    wrong = CODE.replace("value > high", "value >= high")
    made = Task(
        "task-1",
        "mutation",
        "x",
        replace(next(Writing(covered=False)([source], here(source))).provenance, made_by="mutate:comparison"),
        start=unified("tools.py", CODE, wrong),
        solution=unified("tools.py", wrong, CODE),
        verification=Verification("tests", 2),
    )
    return replace(made, **more)


def test_a_verified_task_becomes_a_review_either_way(source):
    tasks = [mutation(source, id=f"task-{number}") for number in range(12)]
    made = list(Review(1)(tasks, here(source)))
    assert {task.verification.by for task in made} == {"tests"}
    assert {task.provenance.made_by for task in made} == {"review:faulty:comparison", "review:clean:comparison"}
    for task, before in zip(made, tasks, strict=True):
        assert task.provenance.parent == before.id
        assert next(changed(task.context, "+")).strip() == (
            "if value >= high:" if ":faulty:" in task.provenance.made_by else "if value > high:"
        )


def test_commits_are_reviewed_only_where_tests_vouch_for_them(source):
    commit = mutation(source, kind="commit", start="")
    kept, refused = Review(1)([commit, replace(commit, verification=Verification())], here(source))
    assert isinstance(kept, Task)
    assert refused.reason == "unverified"
    long = replace(commit, solution=unified("a.py", "a\n" * 9, "b\n" * 9))
    (refused,) = Review(1)([long], here(source))
    assert refused.reason == "large"


def test_a_patch_turned_round_leads_back(source, tmp_path):
    task = mutation(source)
    (tmp_path / "tools.py").write_text(CODE)
    (change,) = changes_of(reversed_patch(task.solution), tmp_path).changes
    assert change.new.content.decode() == CODE.replace("value > high", "value >= high")
