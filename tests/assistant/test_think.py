"""Who decides whether a step thinks."""

import pytest

from assistant.think import RULES, Situation, decide
from model.format import ThinkRequest

AUTO, ON, OFF = ThinkRequest.AUTO, ThinkRequest.ON, ThinkRequest.OFF


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("不要思考,直接告诉我哪个文件有错", OFF),
        ("直接回答:这个函数做什么?", OFF),
        ("请一步一步仔细推理", ON),
        ("请仔细思考后再修改", ON),
        ("Answer directly, please.", OFF),
        ("Don't think, just run the tests", OFF),
        ("Think step by step about the race", ON),
        ("please think carefully", ON),
        ("Do not think long. On second thought, think hard", ON),
        ("Fix the bug in stock.py", AUTO),
        ("I think the answer is in directly.py", AUTO),
        ("", AUTO),
    ],
)
def test_the_users_words(words, request_):
    assert decide(Situation(words, AUTO, 0)).request is request_


def test_words_beat_the_pinned_mode():
    decision = decide(Situation("answer directly", ON, 0))
    assert (decision.request, decision.rule) == (OFF, "user_words")


@pytest.mark.parametrize("pinned", [ON, OFF])
def test_the_pinned_mode_beats_the_model(pinned):
    decision = decide(Situation("fix it", pinned, 3))
    assert (decision.request, decision.rule) == (pinned, "pinned")
    assert decision.why


def test_otherwise_the_model_judges():
    assert decide(Situation("fix it", AUTO, 0)).rule == "model"
    assert decide(Situation("answer directly", AUTO, 0), RULES[1:]).rule == "model"
