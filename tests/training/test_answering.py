"""Answers to tasks: in both regimes, with the user's wish where he has one, and in no other mode than that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assistant.think import wish_in
from model.dialects import dialect
from model.format import Mode, ThinkRequest
from training.data.answering import Answering
from training.data.asking.posing import code_of
from training.data.schema import Provenance, Refused, Sample, Tags, Task, TaskKind, Verification, as_line
from training.data.stage import Context

CONTEXT = Context(Path("/nowhere"))


def task(number: int, kind: TaskKind = "trace", language: str = "en") -> Task:
    return Task(
        f"{kind}-{language}-{number}",
        kind,
        f"What does `double({number})` return?",
        Provenance("pkg", "sha256:1", path="pkg/a.py", function="double", made_by=kind),
        licence="MIT",
        context="1: def double(n):\n2:     return n * 2",
        answer=str(number * 2),
        thought=f"At the start n = {number}.\nLine 2: {number * 2} is returned.",
        tags=Tags(language=language, difficulty="easy"),
        verification=Verification("execution", 2),
        split="valid",
    )


def answered(tasks: list[Task], **options: float | str) -> list[Sample]:
    made = [*Answering(seed=2, **options)(tasks, CONTEXT)]  # type: ignore[arg-type]
    assert all(isinstance(each, Sample) for each in made)
    return [each for each in made if isinstance(each, Sample)]


TASKS = [
    task(number, kind, language) for number in range(60) for kind in ("trace", "question") for language in ("en", "zh")
]


def test_the_shares_are_those_asked_for() -> None:
    samples = answered(TASKS, on=0.348, wishes=0.25)
    assert len(samples) == len(TASKS)
    assert 0.28 < sum(sample.mode is Mode.ON for sample in samples) / len(samples) < 0.42
    assert 0.1 < sum(sample.by == "request" for sample in samples) / len(samples) < 0.25
    for sample in samples:
        assert bool(sample.think) is (sample.mode is Mode.ON)
        assert (sample.licence, sample.split, sample.provenance.parent) == ("MIT", "valid", sample.task)
        assert "def double(n):" in sample.messages[-1].content


def test_a_wish_that_binds_is_heard_and_obeyed() -> None:
    samples = answered(TASKS, wishes=1.0)
    binding = [sample for sample in samples if sample.by == "request"]
    assert {sample.mode for sample in binding} == {Mode.ON, Mode.OFF}
    for sample in samples:
        heard = wish_in(sample.messages[-1].content)
        assert heard.value == (sample.mode.value if sample.by == "request" else "auto")
        assert (abs(sample.tags.intent) >= 0.5) is (sample.by == "request")
    forced = [sample for sample in binding if sample.request is not ThinkRequest.AUTO]
    assert 0 < len(forced) < len(binding)
    assert {sample.judge for sample in forced} == {
        "The user asks to reason step by step.",
        "The user asks for a direct answer.",
    }


def test_both_regimes_answer_alike_and_are_read_back() -> None:
    samples = answered(TASKS[:20], regimes="both")
    assert len(samples) == 40
    for off, on in zip(samples[::2], samples[1::2], strict=True):
        assert (off.mode, on.mode, off.answer, off.task) == (Mode.OFF, Mode.ON, on.answer, on.task)
        for sample in (off, on):
            parser = dialect("kat").parser()
            parser.feed(dialect("kat").write(sample.reply))
            assert parser.reply == sample.reply
            assert sample.judge


def test_without_a_thought_there_is_only_one_regime() -> None:
    silent = replace(TASKS[0], thought="")
    (only,) = answered([silent], regimes="both")
    assert only.mode is Mode.OFF
    (refused,) = Answering(regimes="on")([silent], CONTEXT)
    assert isinstance(refused, Refused)
    assert refused.reason == "no_thought"


def test_a_task_that_says_how_is_not_answered_otherwise() -> None:
    direct = replace(TASKS[0], statement="Just answer: what does it return?")
    (only,) = answered([direct], regimes="both", wishes=1.0)
    assert (only.mode, only.by) == (Mode.OFF, "request")


def test_the_same_again_in_any_order() -> None:
    once = {sample.id: as_line(sample) for sample in answered(TASKS)}
    again = {sample.id: as_line(sample) for sample in answered(TASKS[::-1])}
    assert once == again


def test_code_with_fences_in_it_is_fenced_and_read_back() -> None:
    code = 'def f():\n    """Say it.\n\n    ```pycon\n    >>> f()\n    ```\n    """\n'
    (sample,) = answered([replace(task(1, "writing"), answer=code)], regimes="off", wishes=0.0)
    assert sample.answer == f"````python\n{code}````"
    assert code_of(sample.answer) == code


@pytest.mark.parametrize(
    ("kind", "context", "start"), [("writing", "", "```python\n"), ("review", "diff --git a/a b/a\n-1", "2")]
)
def test_kinds_have_their_forms(kind: TaskKind, context: str, start: str) -> None:
    (sample,) = answered([replace(task(1, kind), context=context)], regimes="off", wishes=0.0)
    assert sample.answer.startswith(start)
    assert ("```diff" in sample.messages[-1].content) is (kind == "review")
