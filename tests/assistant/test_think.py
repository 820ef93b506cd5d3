"""Who decides whether a step thinks."""

import pytest

from assistant.records import CallOutcome, StepRecord, Tokens
from assistant.think import BUILT_IN, Policy, Situation, ThinkDecision, unthought_change
from assistant.think_settings import UserRule, read_rules
from model.format import Mode, ThinkRequest

AUTO, ON, OFF = ThinkRequest.AUTO, ThinkRequest.ON, ThinkRequest.OFF
decide = Policy().decide


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
        ("don't think hard, it is only a typo", OFF),
        ("Don’t think about it", OFF),
        ("不要仔细思考,给我答案", OFF),
        ("I don't think the cache is ever emptied", AUTO),
        ("we really do not think that is right; don't think it is the lock either", AUTO),
        ("不要想当然", AUTO),
        ("Fix the bug in stock.py", AUTO),
        ("I think the answer is in directly.py", AUTO),
        ("特别仔细分析一下", ON),
        ("分别仔细分析这两个函数", ON),
        ("先列出文件，不要跳过思考", AUTO),
        ("不要马上回答", AUTO),
        ("服务器应立刻回答请求", AUTO),
        ("麻烦马上回答。", OFF),
        ("按步骤一步步迁移数据库", AUTO),
        ("等我想清楚了再说,先列出文件", AUTO),
        ("Please do not skip the thinking", AUTO),
        ("Don't just give me the answer, explain", AUTO),
        ("Skip thinking tokens in the parser output", AUTO),
        ("Skip the thinking, please", OFF),
        ("The handler must read the request, and reply at once", AUTO),
        ("Write a retry loop: reply immediately on 429", AUTO),
        ("Just show me the result of the tests", AUTO),
        ("Don't work it out step by step", OFF),
        ("Add a step-by-step analysis to the README", AUTO),
        ("Let me think it over before merging", AUTO),
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


def call(tool, outcome="ok", **arguments):
    return CallOutcome("1.1", tool, arguments, outcome)


def step(*calls, mode=Mode.OFF, **known):
    return StepRecord(1, AUTO, "model", "", mode, False, calls=calls, **known)


def after(*steps, words="fix it", pinned=AUTO, **known):
    return Situation(words, pinned, len(steps), past=steps, **known)


EDIT_FAILED = step(call("edit_file", "failed", path="a.py"))
READ = step(call("read_file", path="a.py"))


@pytest.mark.parametrize(
    ("situation", "rule", "request_"),
    [
        (after(READ, thought=500, budget=500), "budget_spent", OFF),
        (after(READ, warning="again and again"), "loop_warning", ON),
        (after(step(call("delete_file", "held")), held="before_destructive"), "before_destructive", ON),
        (after(step(call("finish", "held")), held="before_finish"), "before_finish", ON),
        (after(EDIT_FAILED), "failed_edit", ON),
        (after(step(call("apply_patch", "invalid"))), "failed_edit", ON),
        (after(step(call("run_tests", "failed"))), "failed_test", ON),
        (after(step(call("run_command", "failed", command="python -m pytest -q"))), "failed_test", ON),
        (after(step(call("run_command", "failed", command="make build"))), "recovery", ON),
        (after(step(call("nonsense", "invalid"))), "recovery", ON),
        (after(step(fault="empty")), "recovery", ON),
        (after(step(cut="the stream broke off")), "recovery", ON),
        (after(step(cut="too many tokens", fault="too_long")), "model", AUTO),
        (after(READ, planned=("b.py",)), "planned_read", OFF),
    ],
)
def test_each_rule_speaks_where_it_should(situation, rule, request_):
    decision = decide(situation)
    assert (decision.rule, decision.request) == (rule, request_)
    assert decision.why


@pytest.mark.parametrize(
    "situation",
    [
        after(),
        after(READ),
        after(READ, thought=499, budget=500),
        after(step(call("edit_file", "denied", path="a.py"))),
        after(step(call("run_command", "failed", command="grep -q x a.py"))),
        after(step(call("nonsense", "invalid"), mode=Mode.ON)),
        after(step(call("edit_file", path="a.py")), planned=("b.py",)),
        after(EDIT_FAILED, READ),
    ],
)
def test_where_no_rule_speaks_the_model_judges(situation):
    assert decide(situation) == ThinkDecision(AUTO, "model", "The model judges for itself.")


@pytest.mark.parametrize("rule", BUILT_IN)
def test_what_the_user_says_now_beats_every_built_in_rule(rule):
    loud = after(EDIT_FAILED, warning="w", held="before_finish", planned=("b.py",), thought=9, budget=1)
    assert decide(Situation("answer directly", AUTO, 1, loud.past, "before_finish", "w")).rule == "user_words"
    assert decide(after(EDIT_FAILED, pinned=OFF, held=rule)).rule == "pinned"


def test_a_spent_budget_beats_what_calls_for_a_thought():
    assert decide(after(EDIT_FAILED, thought=9, budget=9)).rule == "budget_spent"


def test_a_rule_of_the_users_own_comes_behind_his_words_and_before_the_built_in_ones():
    own = UserRule("migrations", ON, tool="read_file", path="migrations/*")
    policy = Policy.of([own])
    looked = after(step(call("read_file", path="migrations/0001.py")), planned=("b.py",))
    assert policy.decide(looked).rule == "migrations"
    assert policy.decide(after(READ, planned=("b.py",))).rule == "planned_read"
    assert policy.decide(after(*looked.past, words="just answer")).rule == "user_words"


def test_a_rule_can_be_left_out_with_its_hold():
    policy = Policy.of(without=["failed_edit", "before_finish"])
    assert policy.decide(after(EDIT_FAILED)).rule == "recovery"
    asked = ThinkDecision(AUTO, "model", "")
    assert policy.hold(asked, Mode.OFF, destroys=False, finishes=True) == ""
    assert policy.hold(asked, Mode.OFF, destroys=True, finishes=False) == "before_destructive"


@pytest.mark.parametrize("rule", ["user_words", "pinned", "budget_spent", "before_finish", "before_destructive"])
def test_a_step_that_the_user_or_a_hold_decided_is_not_held(rule):
    assert Policy().hold(ThinkDecision(OFF, rule, ""), Mode.OFF, destroys=True, finishes=True) == ""


@pytest.mark.parametrize(("think", "first"), [(OFF, ""), (AUTO, "before_finish"), (ON, "before_finish")])
def test_a_rule_of_the_users_own_that_wants_no_thought_is_not_held_and_no_other_is_twice(think, first):
    asked = ThinkDecision(think, "mine", "")
    assert Policy().hold(asked, Mode.OFF, destroys=False, finishes=True) == first
    assert Policy().hold(asked, Mode.OFF, destroys=True, finishes=True, again=True) == ""


def test_a_step_that_thought_is_not_held():
    assert Policy().hold(ThinkDecision(AUTO, "model", ""), Mode.ON, destroys=True, finishes=True) == ""


def test_a_change_counts_as_unthought_until_a_step_thinks():
    edit, thought = step(call("edit_file", path="a.py")), step(mode=Mode.ON, tokens=Tokens(think=5))
    assert unthought_change([edit])
    assert unthought_change([thought, edit, READ])
    assert not unthought_change([edit, thought, READ])
    assert not unthought_change([step(call("edit_file", path="a.py"), mode=Mode.ON), READ])
    assert not unthought_change([EDIT_FAILED])
    assert unthought_change([step(call("run_command", command="sed -i s/a/b/ a.py"), tree_before="1", tree_after="2")])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"think": "on"}, "table"),
        ([{"think": "maybe", "words": "x"}], "think"),
        ([{"think": "on"}], "condition"),
        ([{"think": "on", "words": "("}], "regular expression"),
        ([{"think": "on", "word": "x"}], "'word'"),
        ([{"think": "on", "words": "x", "name": "pinned"}], "built-in"),
    ],
)
def test_a_rule_that_is_none_is_refused_with_a_reason(value, said):
    with pytest.raises((TypeError, ValueError), match=said):
        read_rules(value)
