"""What tasks are about, and how the user's wish about thinking is put into words and read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.evaluation.more_operators import ALL_OPERATORS
from assistant.think import Policy, Situation
from model.format import Mode, Reply, ThinkRequest
from training.data.asking.pass_rates import PassRates
from training.data.domains import domain_of
from training.data.flow.shards import write
from training.data.modes.intent import BINDING, LANGUAGES, phrase, phrases, strength, wish_of
from training.data.schema import Provenance, Rollout, Task
from training.data.stage import Context
from training.data.tag import OPERATORS, Tag, difficulty, language_of, tags_of
from training.seeds import rng

ALL = list(phrases())
AUTO, ON, OFF = ThinkRequest.AUTO, ThinkRequest.ON, ThinkRequest.OFF
TASK = Task("t", "mutation", "parse_date fails: it returns the wrong day.", Provenance("s", path="dates.py"))


def heard(words):
    decision = Policy().decide(Situation(words, AUTO, 0))
    return decision.request if decision.rule == "user_words" else AUTO


def test_every_wish_that_binds_is_heard_by_the_assistant_and_no_other_is():
    assert {each.text: heard(each.text) for each in ALL} == {
        each.text: each.wish if each.binds else AUTO for each in ALL
    }


def test_every_phrase_is_read_with_the_strength_it_was_made_with():
    assert [(each.text, strength(each.text)) for each in ALL] == [(each.text, each.strength) for each in ALL]
    assert {wish_of(each.strength) for each in ALL if each.binds} == {ON, OFF}


def test_there_are_many_wordings_of_many_strengths_in_both_languages():
    for language in LANGUAGES:
        for wish in ThinkRequest:
            mine = [each for each in ALL if (each.language, each.wish) == (language, wish)]
            assert len({each.text for each in mine}) >= (6 if wish is AUTO else 60)
            assert len({each.strength for each in mine}) >= (1 if wish is AUTO else 6)


@given(st.integers(0, 10**6), st.sampled_from(ThinkRequest), st.sampled_from(LANGUAGES), st.sampled_from(["en", "zh"]))
def test_a_phrase_keeps_its_meaning_beside_a_question(seed, wish, language, place):
    made = phrase(rng(seed, "phrase"), wish, language)
    assert made in ALL
    question = "What does `f(2)` return?" if language == "en" else "`f(2)` 返回什么?"
    words = f"{made.text} {question}" if place == "en" else f"{question} {made.text}"
    assert heard(words) is (made.wish if made.binds else AUTO)
    assert strength(words) == made.strength


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("Think about it thoroughly before you change anything", ON),
        ("no need to think long here", OFF),
        ("Reply immediately.", OFF),
        ("the endpoint must answer immediately or the client hangs", AUTO),
        ("Don't answer directly", AUTO),
        ("不要直接回答", AUTO),
        ("要不要思考都行", AUTO),
        ("不要一步步推理", OFF),
        ("只要答案正确就可以", AUTO),
        ("I think it over-allocates memory", AUTO),
        ("I think this through-put is low", AUTO),
        ("There is no reasoning behind this constant", AUTO),
        ("别想太多,先给我结果", OFF),
        ("Do not think it through, just say it", OFF),
        ("只要答案，别解释", OFF),
    ],
)
def test_words_that_are_none_of_ours(words, wish):
    assert heard(words) is wish
    assert wish_of(strength(words)) is wish
    assert (abs(strength(words)) >= BINDING) is (wish is not AUTO)


def test_tasks_are_tagged_by_what_can_be_measured():
    head = "diff --git a/dates.py b/dates.py\n--- a/dates.py\n+++ b/dates.py\n"
    patch = f"{head}@@ -1 +1 @@\n-    return day\n+    return day - 1\n"
    tags = tags_of(replace(TASK, solution=patch, statement="Mend it. Think step by step."))
    assert (tags.type, tags.domain, tags.intent, tags.language) == ("repair", "dates", 0.8, "en")
    assert (tags.measures["hunks"], tags.measures["changed"]) == (1, 2)
    assert tags.difficulty == "easy"
    assert tags_of(replace(TASK, statement="修复错误")).language == "zh"
    assert tags_of(replace(TASK, tags=replace(TASK.tags, type="unverified"))).type == "unverified"


def test_mutants_that_no_test_notices_make_a_task_harder(tmp_path):
    mutants = [replace(TASK, id=f"m{number}") for number in range(4)]
    write(mutants, tmp_path / "mutants", kind="task")
    write(mutants[:1], tmp_path / "verified", kind="task")
    reasons = {"m1": "not_noticed", "m2": "timeout", "m3": "not_noticed"}
    rows = [json.dumps({"id": name, "reason": reason, "detail": ""}) for name, reason in reasons.items()]
    (tmp_path / "verified" / "refused.jsonl").write_text("\n".join(rows))
    stage = Tag(mutants=str(tmp_path / "mutants"), verified=str(tmp_path / "verified"))
    elsewhere = replace(TASK, provenance=replace(TASK.provenance, function="other"))
    seen, unknown = stage([mutants[0], elsewhere], Context(tmp_path))
    assert seen.tags.measures["survived"] == 0.5
    assert "survived" not in unknown.tags.measures


@pytest.mark.parametrize(
    ("measures", "operator", "level"),
    [
        ({"pass_off": 1.0, "context": 9_000.0}, None, "easy"),
        ({"pass_off": 0.0}, "truth", "hard"),
        ({"pass_off": 0.5}, None, "medium"),
        ({"context": 600.0, "hunks": 1.0}, "comparison", "easy"),
        ({"context": 6_000.0, "hunks": 5.0, "survived": 0.9}, "removed statement", "hard"),
        ({}, None, "medium"),
    ],
)
def test_difficulty_is_measured(measures, operator, level):
    assert difficulty(measures, operator) == level


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 9_000))
def test_a_task_that_is_solved_less_often_is_never_easier(one, other, size):
    levels = ["easy", "medium", "hard"]
    low, high = sorted((one, other))
    easier, harder = (difficulty({"pass_off": rate, "context": size}, None) for rate in (high, low))
    assert levels.index(easier) <= levels.index(harder)


def test_the_stage_reads_pass_rates_from_a_folder_of_rollouts(tmp_path):
    tries = [Rollout(f"r{n}", "t", Mode.OFF, Reply(mode=Mode.OFF, answer="x"), n == 0, "execution") for n in range(4)]
    write(tries, tmp_path / "rollouts", kind="rollout", format="jsonl")
    (tagged,) = Tag(rollouts=str(tmp_path / "rollouts"))([TASK], Context(tmp_path))
    assert tagged.tags.measures["pass_off"] == 0.25
    assert tagged.tags.difficulty == "hard"
    assert PassRates.of("").without_thought("t") is None


@pytest.mark.parametrize(
    ("path", "text", "domain"),
    [
        ("toolz/itertoolz.py", "import itertools\nimport heapq", "collections"),
        ("a.py", "import socket\nfrom urllib import request", "network"),
        ("humanize/time.py", "def naturalday(value): ...", "dates"),
        ("a.py", "x = y", "general"),
    ],
)
def test_domains(path, text, domain):
    assert domain_of(path, text) == domain


def test_languages():
    assert (language_of("Fix it"), language_of("修复 it")) == ("en", "zh")


def test_every_operator_of_mutations_has_a_difficulty():
    assert {operator.name for operator in ALL_OPERATORS} == {*OPERATORS}
    assert tags_of(replace(TASK, provenance=replace(TASK.provenance, made_by="mutate: truth"))).difficulty == "easy"
