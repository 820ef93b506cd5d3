"""What the ledger adds up, and `kat stats`."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.commands.registry import run
from assistant.leaks import leaked
from assistant.ledger import Account, Ledger, StepRef, as_json, ledger
from assistant.records import Branch, CallOutcome, Intervention, Seconds, StepRecord, Tokens
from assistant.sessions import Journal, fork, read
from model.engine import EngineInfo
from model.format import Mode, ThinkRequest

INFO = EngineInfo("embedded", "nano", "kat", 8192, "asked for")
ON, OFF = Mode.ON, Mode.OFF


def step(index, mode, rule="model", *, think=0, calls=(), sent=None, **more):
    tokens = Tokens(prompt=100 * index, cached=90 * index, judge=3, think=think, answer=20)
    seconds = Seconds(queue=1.0, first_token=3.0, decode=4.0, tools=5.0)
    outcomes = tuple(CallOutcome(f"{index}.{n}", *call) for n, call in enumerate(calls, 1))
    request = sent or ThinkRequest.AUTO
    fields = {"tokens": tokens, "seconds": seconds, "calls": outcomes, "sent": sent} | more
    return StepRecord(index, request, rule, "It is clear.", mode, forced=sent is not None, **fields)


def write(journal, *steps, answers=None):
    """Put steps into a journal, each with its reply."""
    for each in steps:
        answer = (answers or {}).get(each.index, "Done.")
        reply = {"judge": each.judge, "mode": each.mode, "think": "", "answer": answer, "calls": []}
        journal.append("reply", step=each.index, cut=each.cut, why="", **reply)
        journal.step(each)


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path / "config"))
    journal = Journal.create(tmp_path / "state/sessions", tmp_path, INFO)
    yield journal
    journal.close()


def of(journal):
    return ledger(journal.session, read(journal.path))


BUGFIX = (
    step(1, OFF, "model"),
    step(2, ON, "failed_test", think=400, sent=ThinkRequest.ON),
    step(3, OFF, "planned_read", sent=ThinkRequest.OFF),
    step(4, ON, "before_finish", think=200, sent=ThinkRequest.ON),
    step(5, OFF, "user_words", sent=ThinkRequest.OFF),
)


def test_steps_are_added_up_by_mode_and_by_rule(journal):
    write(journal, *BUGFIX)
    found = of(journal)
    assert found.total.steps == 5
    assert found.by_mode["on"] == Account(
        2, Tokens(600, 540, 6, 600, 40), Seconds(queue=2.0, first_token=6.0, decode=8.0, tools=10.0)
    )
    assert found.by_mode["on"].prefill == 4.0
    assert found.by_mode["off"].cached_share == pytest.approx(0.9)
    assert {rule: each.steps for rule, each in found.by_rule.items()} == {
        "model": 1, "failed_test": 1, "planned_read": 1, "before_finish": 1, "user_words": 1,
    }  # fmt: skip


def test_switches_name_the_rules_that_made_them(journal):
    write(journal, *BUGFIX)
    assert [(each.at.step, each.before, each.after, each.rule) for each in of(journal).switches] == [
        (2, OFF, ON, "failed_test"),
        (3, ON, OFF, "planned_read"),
        (4, OFF, ON, "before_finish"),
        (5, ON, OFF, "user_words"),
    ]


def test_always_on_is_an_estimate_from_the_sessions_own_thoughts(journal):
    write(journal, *BUGFIX)
    found = of(journal)
    assert found.estimate.off_steps == 3
    assert found.estimate.tokens == 3 * 300
    written = 5 * 23 + 600
    assert found.estimate.saved_share == pytest.approx(900 / (written + 900))
    assert found.estimate.seconds == pytest.approx(900 * 20.0 / written)
    told = as_json(found)["always_on"]
    assert told["estimate"] is True
    assert "median" in told["how"]


def test_a_session_that_never_thought_has_no_estimate(journal):
    write(journal, step(1, OFF), step(2, OFF), step(3, ON, think=9, cut="stopped"))
    found = of(journal)
    assert found.estimate is None
    assert found.not_estimated == 2
    assert as_json(found)["always_on"] is None


@pytest.mark.parametrize(
    "answer",
    [
        "Wait, that is not right.",
        "It is in b.py. Hmm, the index is off too.",
        "Let me think about this.",
        "Okay, let me reconsider the loop.",
        "On second thought, a set is better.",
        "Actually, the loop ends early. Maybe I should look at b.py.",
        "wait... this is x",
        "So the bug is here.\n</think>\n\nThe fix is below.",
        "让我想想,这里有问题。",
        "让我再仔细想一想",
        "修好了。等等，还有一处。",
        "嗯，看起来是边界。",
        "首先看循环，其次看边界，最后得出结论。所以答案是 3。",
    ],
)
def test_reasoning_in_an_answer_is_found(answer):
    assert leaked(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Wait for the server, then retry.",
        "Wait, then retry.",
        "The threads wait, and the lock is held.",
        "Let me know what you think.",
        "Let me look at the file.",
        "I think it is fine.",
        "Actually, the bug is in b.py.",
        "Print `let me think` and `wait, what`.",
        "```python\n# Hmm, let me think\n```\nThat is all.",
        "> Wait, is it broken?\n\nNo.",
        'The comment says "let me think", which is odd.',
        "The `<think>` tag comes first.",
        "苹果、梨等等，都可以。",
        "首先安装依赖，其次运行测试，最后提交。",
        "不对，这个函数返回 None。",
        "让我看看文件。",
    ],
)
def test_a_plain_answer_is_no_leak(answer):
    assert leaked(answer) is None


def test_only_answers_without_thinking_are_looked_at_for_leaks(journal):
    wait = "Wait, I should check b.py."
    write(journal, step(1, OFF), step(2, OFF), step(3, ON, think=5), answers={2: wait, 3: wait})
    found = of(journal)
    assert found.answers_off == 2
    assert [(leak.at.step, leak.words) for leak in found.leaks] == [(2, wait)]


def test_a_wrong_step_is_recovered_when_the_thought_behind_it_goes_well(journal):
    failed = [("edit_file", {}, "failed", "there is no such text")]
    write(
        journal,
        step(1, OFF, calls=failed),
        step(2, ON, "failed_edit", think=50, calls=[("edit_file", {}, "ok", "+1 -1")]),
        step(3, OFF, fault="empty"),
        step(4, ON, "recovery", think=50, calls=[("", {}, "invalid", "cannot be read")]),
        step(5, OFF, calls=failed),
        step(6, ON, "user_words", think=50),
    )
    found = of(journal)
    assert [(each.at.step, each.wrong, each.well) for each in found.wrong] == [
        (1, "edit_file failed: there is no such text", True),
        (3, "empty", False),
    ]
    assert [each.rule for each in found.recovered] == ["failed_edit"]


def test_a_thought_that_went_wrong_is_no_wrong_off_step(journal):
    write(journal, step(1, ON, think=5, calls=[("run_tests", {}, "failed", "1 failed")]), step(2, ON, "failed_test"))
    assert of(journal).wrong == ()


def test_what_was_not_obeyed_and_what_stepped_in(journal):
    cut = (Intervention("think_budget", 100), Intervention("fact", 40, "The lock is held."))
    write(
        journal,
        step(1, ON, sent=ThinkRequest.OFF),
        step(2, OFF, sent=ThinkRequest.OFF),
        step(3, OFF),
        step(4, ON, interventions=cut, sent=ThinkRequest.ON),
        step(5, ON, interventions=cut[:1]),
    )
    found = of(journal)
    assert found.disobeyed == (StepRef(journal.session, 1),)
    assert found.interventions == {"think_budget": 2, "fact": 1}


def test_forks_are_counted_apart_and_the_last_preference_stands(journal):
    write(journal, step(1, OFF), step(2, ON, think=10))
    branches = {
        "original": asdict(Branch(step(1, OFF), "", "a")),
        "other": asdict(Branch(step(1, ON, think=70), "", "b")),
    }
    journal.append("fork", step=1, think="on", **branches)
    for choice in ("original", "other"):
        journal.append("preference", step=1, choice=choice, think="on", **branches)
    found = of(journal)
    assert (found.total.steps, found.total.tokens.think) == (2, 10)
    assert (found.forks.steps, found.forks.tokens.think) == (1, 70)
    assert [(each.at.step, each.choice, each.think) for each in found.preferences] == [(1, "other", "on")]


some_steps = st.lists(
    st.tuples(
        st.sampled_from([ON, OFF, None]), st.sampled_from(["model", "recovery", "pinned"]), st.integers(0, 500)
    ).map(lambda drawn: {"mode": drawn[0], "rule": drawn[1], "think": drawn[2]}),
    max_size=8,
)


def _ledger(name, drawn):
    steps = [step(index, **each) for index, each in enumerate(drawn, 1)]
    return ledger(name, [{"kind": "step", "record": asdict(each)} for each in steps])


@settings(max_examples=40, deadline=None)
@given(some_steps, some_steps, some_steps)
def test_ledgers_add_and_lose_nothing(first, second, third):
    a, b, c = _ledger("a", first), _ledger("b", second), _ledger("c", third)
    both = a + b
    assert both.total == sum(both.by_mode.values(), Account()) == sum(both.by_rule.values(), Account())
    assert both.total.steps == len(first) + len(second)
    assert Ledger() + a == a + Ledger() == a
    assert ((a + b) + c).total == (a + (b + c)).total
    assert ((a + b) + c).switches == (a + (b + c)).switches
    off = sum(each["mode"] is OFF for each in first + second)
    assert both.not_estimated + (both.estimate.off_steps if both.estimate else 0) == off


def test_what_a_fork_inherits_is_counted_once(journal, tmp_path, capsys):
    write(journal, *BUGFIX)
    path = fork(journal.path.parent, journal.path, 2)
    child = Journal.reopen(path)
    write(child, step(3, OFF))
    child.close()
    assert run(["stats", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["steps"] == 6
    assert run(["stats", path.stem, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["steps"] == 3
    journal.close()
    journal.path.unlink()
    assert run(["stats", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["steps"] == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines, {"kind": "step", "record": {"index": 9}}],
        lambda lines: [*lines, {"kind": "reply", "step": 9, "mode": "off"}],
        lambda lines: [{**lines[0], "version": 99}, *lines[1:]],
        lambda lines: [
            {**lines[0], "engine": None, "repository": 5},
            *lines[1:],
            {"kind": "renamed"},
            {"kind": "fork", "n": 9},
        ],
        lambda lines: lines[1:],
    ],
)
def test_a_damaged_journal_is_named_and_the_others_are_counted(journal, capsys, damage):
    write(journal, *BUGFIX)
    lines = damage(list(read(journal.path)))
    other = journal.path.with_name("20200101-000000-abcdef.jsonl")
    other.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert run(["stats", "--all", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["sessions"] == [journal.session]
    assert said.err.startswith("kat: left out: ")
    assert said.err.count("\n") == 1
    assert other.stem in said.err
    assert run(["sessions", "list"]) == 0
    assert run(["sessions", "show", other.stem]) == 0
    for arguments in (["stats", other.stem], ["explain", "9", "--session", other.stem]):
        assert run(arguments) == 2
        assert "unexpected" not in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["40", "80", "140"])
def test_stats_fit_the_terminal_and_have_no_colours_elsewhere(journal, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    write(journal, *BUGFIX, answers={1: "Wait, \x1b[31mred [bold]?"})
    assert run(["stats"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    tables = out[: out.index("Thinking at every step")]
    assert max(map(len, tables.splitlines())) <= int(columns)
    for words in ("think on", "before_finish", "900 tokens", "(estimate)", "step 3 on→off (planned_read)", "[bold]"):
        assert words in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stats"], "has no steps yet"),
        (["stats", "--all"], "no session has a step"),
        (["stats", "nope"], "there is no session 'nope'"),
        (["stats", "2", "--all"], "not both"),
    ],
)
def test_bad_input_is_one_line(journal, capsys, arguments, words):
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_without_any_session_stats_say_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    assert run(["stats"]) == 2
    assert "there is no session yet" in capsys.readouterr().err
