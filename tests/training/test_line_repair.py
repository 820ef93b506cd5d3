"""Line repairs: each edit restores the line, each thought is true of the code, and the form is `kat fix`'s own."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.dialects import dialect
from model.format import Mode, ThinkRequest
from model.line import WHY, LineTask, messages, parse, render
from training.data.flow.shards import write as write_records
from training.data.line_repair import LEAST, MOST, LineRepair, Mistakes
from training.data.repairing.thoughts import difference
from training.data.repositories.diffs import unified
from training.data.schema import Provenance, Refused, Sample, Source, Task, Verification, as_line
from training.data.stage import Context

CODE = '''"""Shapes."""


def area(width, height=1):
    """The area of a rectangle."""
    if width < 0 or height < 0:
        raise ValueError("a side is negative")
    return width * height


class Grid:
    """Cells in rows."""

    def __init__(self, rows):
        self.rows = rows
        self.seen = set()

    def neighbours(self, x, y):
        """The cells around one."""
        found = []
        for dx, dy in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if not self.inside(x + dx, y + dy):
                continue
            found.append((x + dx, y + dy))
        self.seen.add((x, y))
        return found[:4]

    def inside(self, x, y):
        return 0 <= y < len(self.rows) and 0 <= x < len(self.rows[y])


def longest(words, most=None):
    """The longest of some words.

    More of them may be long; then the first counts.
    """
    best = ""
    for number, word in enumerate(words):
        if most is not None and number >= most:
            break
        word = word.strip()
        if len(word) > len(best):
            best = word
    return best.lower()
'''
FAILURE = ">       assert f(0) == 1\nE       AssertionError: assert 2 == 1"
CONTEXT = Context(Path("/nowhere"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    root = tmp_path_factory.mktemp("shapes")
    (root / "shapes.py").write_text(CODE, "utf-8")
    return Source("shapes", str(root), "sha256:1", licence="MIT")


@pytest.fixture(scope="module")
def both(source: Source) -> list[Sample]:
    return drawn(source, regimes="both", chinese=0.2)


def drawn(source: Source, **options: object) -> list[Sample]:
    made = [*Mistakes(seed=5, count=0, **options)([source], CONTEXT)]  # type: ignore[arg-type]
    assert all(isinstance(each, Sample) for each in made)
    return [each for each in made if isinstance(each, Sample)]


def asked(sample: Sample) -> LineTask:
    """The question taken apart again."""
    path, rest = sample.messages[1].content.split(":\n", 1)
    code, *said = rest.split("\n\nThe issue: ")[0].split("\n\nWhich line is wrong")
    rows = [re.fullmatch(r"(\d+): ?(.*)", line) for line in code.split("\n")]
    assert all(rows), code
    issue = sample.messages[1].content.split("\n\nThe issue: ")[1].split("\n\n")[0] if not said else ""
    return LineTask(path, int(rows[0][1]), tuple(row[2] for row in rows if row), issue=issue)  # type: ignore[index]


def test_each_edit_restores_the_line_and_each_thought_is_true(both: list[Sample]) -> None:
    right = CODE.split("\n")
    assert len(both) > 120
    for sample in both:
        task, edit = asked(sample), parse(sample.answer)
        assert edit is not None
        assert edit.text == right[edit.number - 1].strip() != task.text(edit.number)
        shown = right[task.first - 1 : task.first - 1 + len(task.lines)]
        wrong = [
            row for row, (one, other) in enumerate(zip(task.lines, shown, strict=True), task.first) if one != other
        ]
        assert wrong == [edit.number]
        assert LEAST <= len(task.lines) <= MOST
        *said, last = sample.think.split("\n")
        for row, text in quoted(said):
            assert task.text(row) == text
        if sample.mode is Mode.ON:
            assert len(quoted(said)) >= 1
            assert f"`{edit.text}`" in last
            assert str(edit.number) in last


def quoted(said: list[str]) -> list[tuple[int, str]]:
    """What a thought says stands in which line."""
    found = (
        (re.search(r"(?:[Ll]ine |第 )(\d+)", each), re.search(r"`(.*)`", each)) for each in said if "到" not in each
    )
    return [(int(row[1]), text[1]) for row, text in found if row and text]


def test_the_form_is_the_one_of_a_fix(source: Source) -> None:
    samples = drawn(source, regimes="off")
    forced = [sample for sample in samples if sample.request is ThinkRequest.OFF]
    assert 0.3 < len(forced) / len(samples) < 0.7
    for sample in forced:
        task = asked(sample)
        assert sample.messages == messages(task)
        prompt = dialect("kat").render(sample.messages, sample.tools, sample.request, sample.judge)
        assert prompt == render(task, dialect("kat"))
        assert sample.judge == WHY
    for sample in samples:
        assert not sample.think
        assert sample.mode is Mode.OFF


def test_what_users_say_does_not_give_the_fix_away(both: list[Sample]) -> None:
    issues = [(asked(sample).issue, parse(sample.answer)) for sample in both]
    assert 0.4 < sum(bool(issue) for issue, _ in issues) / len(issues) < 0.8
    for issue, edit in issues:
        assert edit is not None
        assert edit.text not in issue
        assert str(edit.number) not in issue


def test_replies_are_read_back_and_ids_are_unique(both: list[Sample]) -> None:
    samples = both
    assert max(Counter(sample.id for sample in samples).values()) == 1
    assert Counter(sample.mode for sample in samples)[Mode.ON] == len(samples) / 2
    for sample in samples:
        parser = dialect("kat").parser()
        parser.feed(dialect("kat").write(sample.reply))
        assert parser.reply == sample.reply


def test_the_same_again_and_no_more_than_wanted(source: Source) -> None:
    few, again = ([*Mistakes(seed=5, count=20)([source], CONTEXT)] for _ in range(2))
    assert [as_line(each) for each in few if isinstance(each, Sample)] == [*map(as_line, again)]  # type: ignore[arg-type]
    assert len(few) == 20
    assert len({each.provenance.function for each in few if isinstance(each, Sample)}) >= 4
    with pytest.raises(UserError, match="regimes"):
        list(Mistakes(regimes="none")([source], CONTEXT))


def task_of(source: Source, old: str, new: str) -> Task:
    wrong = CODE.replace(old, new)
    assert wrong != CODE
    return Task(
        "mutation-1",
        "mutation",
        f"neighbours() finds cells outside.\n\nIt says:\n\n```\n{FAILURE}\n```",
        Provenance("shapes", "sha256:1", path="shapes.py", function="Grid.neighbours", made_by="mutate: dropped not"),
        start=unified("shapes.py", CODE, wrong),
        solution=unified("shapes.py", wrong, CODE),
        verification=Verification("tests", 2),
    )


@pytest.mark.parametrize("known", [True, False])
def test_a_verified_task_becomes_a_repair(source: Source, tmp_path: Path, known: bool) -> None:
    where = ""
    if known:
        where = str(tmp_path / "sources")
        write_records([source], where, kind="source")
    stage = LineRepair(seed=1, sources=where, regimes="both")
    off, on = stage([task_of(source, "if not self.inside", "if self.inside")], Context(tmp_path / "cache"))
    assert isinstance(off, Sample)
    assert isinstance(on, Sample)
    row = CODE[: CODE.index("if not self.inside")].count("\n") + 1
    assert off.answer == on.answer == f"{row}:             if not self.inside(x + dx, y + dy):"
    question = off.messages[1].content
    assert f"{row}:             if self.inside(x + dx, y + dy):" in question
    assert "The issue: neighbours() finds cells outside.\n\nThe test" in question
    assert f"The test fails:\n{FAILURE}\n" in question
    assert len(question.split("\n\n")[0].split("\n")) > LEAST if known else True
    assert "AssertionError: assert 2 == 1\n" in on.think
    assert (on.verification.by, on.task, on.provenance.parent) == ("tests", "mutation-1", "mutation-1")


def test_a_fix_of_more_lines_is_refused(source: Source) -> None:
    task = task_of(source, "if not self.inside", "if self.inside")
    longer = replace(task, solution=unified("shapes.py", CODE, CODE.replace("found = []", "found = []\n        x = 1")))
    (refused,) = LineRepair()([longer], CONTEXT)
    assert isinstance(refused, Refused)
    assert refused.reason == "not_one_line"


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["a", "b1", "<=", "<", "(", ")", " ", "+", "not", ", "]), max_size=8), st.data())
def test_a_difference_put_right_gives_the_other_line(tokens: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(tokens)))
    bad, good = "".join(tokens), "".join([*tokens[:at], "new", *tokens[at + 1 :]])
    wrong, right = difference(bad, good)
    assert wrong in bad
    assert right in good
    assert len(good) - len(bad) - 2 <= len(right) - len(wrong) <= len(good) - len(bad) + 2
    assert difference(good, good) == ("", "")
