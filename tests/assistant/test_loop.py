"""What the loop does besides steps: switching, holding, recovering, repairing, steering, stopping, asking."""

import asyncio

import pytest

from assistant.events import (
    CallFinished,
    CallOutput,
    CallStarted,
    Forked,
    Intervened,
    Notice,
    PlanChanged,
    QuestionAsked,
    RunStatus,
    SegmentText,
    StepStarted,
    UserSaid,
)
from assistant.ledger import ledger
from assistant.records import PlanItem
from model.format import Mode, Segment
from tests.e2e.conftest import reply

READ_A, READ_B = ("read_file", {"path": "a.py"}), ("read_file", {"path": "b.py"})
RIGHT = ("edit_file", {"path": "a.py", "old": "x = 1", "new": "x = 5"})
WRONG = ("edit_file", {"path": "a.py", "old": "x = 9", "new": "x = 5"})
DELETE = ("delete_file", {"path": "b.py"})
FINISH = ("finish", {"message": "Done."})


def thinking(thought, answer, *calls):
    """A reply to a prompt that forces thinking."""
    return chosen(answer, *calls, think=thought)


def direct(answer, *calls):
    """A reply to a prompt that forces an answer."""
    return chosen(answer, *calls)


def chosen(answer, *calls, think=None, judge="It is clear."):
    return {"reply": reply(answer, *calls, think=think, judge=judge)}


async def test_four_switches_with_their_rules_and_a_wrong_step_that_recovers(session):
    script = [
        chosen("I read the error.", READ_A),
        chosen("The bound is wrong.", READ_B, think="The sum overflows where x is small."),
        chosen("I set it.", WRONG),
        thinking("The text was not there; it says x = 1.", "Now.", RIGHT),
        chosen("I verify it.", ("run_tests", {})),
        chosen("Mended."),
    ]
    async with session(*script, allow=("edit",), test_command="true") as s:
        end = await s.say("fix the overflow")
        assert end.status is RunStatus.DONE
        assert [record.mode for record in s.steps] == [Mode.OFF, Mode.ON, Mode.OFF, Mode.ON, Mode.OFF, Mode.OFF]
        found = ledger(s.pilot.session, s.journal)
        assert [(switch.at.step, switch.rule) for switch in found.switches] == [
            (2, "model"), (3, "model"), (4, "failed_edit"), (5, "model"),
        ]  # fmt: skip
        assert [recovery.at.step for recovery in found.recovered] == [3]
        assert (s.root / "a.py").read_text() == "x = 5\ny = 2\n"


async def test_what_was_sent_and_what_came_back_are_both_kept(session):
    async with session(chosen("I set it.", WRONG), thinking("Hm.", "There is nothing to do.")) as s:
        await s.say("go")
        assert [(r.request, r.sent, r.mode, r.forced) for r in s.steps] == [
            ("auto", "auto", "off", False), ("on", "on", "on", True),
        ]  # fmt: skip
        assert all(record.obeyed and record.why for record in s.steps)


async def test_a_model_that_does_not_obey_the_switch_is_named_once(session):
    lines = [{"reply": "</think>\n\n<think_off>\n<answer>\nHi.\n</answer>"}, chosen("Hi.")]
    async with session(*lines, dialect="qwen3_coder") as s:
        await s.say("think step by step")
        assert (s.steps[0].request, s.steps[0].sent) == ("on", "auto")
        assert s.of(Notice) == []


async def test_something_destructive_is_held_until_the_model_has_thought(session):
    script = [chosen("Away with it.", DELETE, READ_A), thinking("Nobody uses it.", "Sure.", DELETE), chosen("Gone.")]
    async with session(*script, allow=("edit",)) as s:
        await s.say("tidy up")
        assert [call.outcome for call in s.steps[0].calls] == ["held", "held"]
        assert (s.steps[1].rule, s.steps[1].mode, s.steps[1].calls[0].outcome) == ("before_destructive", "on", "ok")
        assert not (s.root / "b.py").exists()


async def test_a_held_call_is_not_asked_about(session):
    script = [chosen("Away with it.", DELETE), thinking("No, it is needed.", "I leave it.")]
    async with session(*script) as s:
        await s.say("tidy up")
        assert (s.root / "b.py").exists()
        assert not any(event.kind == "approval_asked" for event in s.events)


async def test_finish_after_a_change_is_held_once(session):
    script = [chosen("I set it.", RIGHT), chosen("Done.", FINISH), thinking("It is whole.", "Yes.", FINISH)]
    async with session(*script, allow=("edit",)) as s:
        end = await s.say("set x")
        assert (end.status, end.message) == (RunStatus.DONE, "Done.")
        assert [record.rule for record in s.steps] == ["model", "model", "before_finish"]


async def test_finish_without_a_change_or_against_the_users_words_is_not_held(session):
    async with session(chosen("Looked.", READ_A), chosen("Done.", FINISH)) as s:
        assert (await s.say("look")).steps == 2
    async with session(direct("I set it.", RIGHT), direct("Done.", FINISH), allow=("edit",)) as s:
        assert (await s.say("answer directly: set x")).steps == 2


async def test_reads_that_a_thought_planned_are_made_without_another(session):
    script = [
        chosen("First a.py.", READ_A, think="I need a.py and b.py, and missing.py."),
        direct("Then b.py.", READ_B),
        chosen("x is 1."),
    ]
    async with session(*script) as s:
        await s.say("compare")
        assert [record.rule for record in s.steps] == ["model", "planned_read", "model"]


async def test_the_session_thinks_no_more_than_its_budget(session):
    script = [
        {**chosen("", think="hm " * 400, judge="Hm."), "chunk": 3, "pause": 0.002},
        {"match": "</think>\n\n<answer>\n$", **chosen("A.", READ_A, think="-")},
        direct("B.", WRONG),
        direct("C."),
    ]
    async with session(*script, session_think_budget=20) as s:
        assert (await s.say("go")).status is RunStatus.DONE
        assert s.steps[0].tokens.think <= 20 + 3
        assert s.steps[0].interventions[0].tokens == 20
        assert [record.rule for record in s.steps] == ["model", "budget_spent", "budget_spent"]


async def test_a_thought_over_budget_is_cut_and_the_answer_follows(session):
    script = [
        {"reply": f"Hard.\n</judge>\n\n<think_on>\n<think>\n{'hm ' * 400}", "chunk": 6, "pause": 0.002},
        {"match": "</think>\n\n<answer>\n$", **chosen("So it is 5.", think="-")},
    ]
    async with session(*script, think_budget=24) as s:
        end = await s.say("how much is x?")
        assert end.status is RunStatus.DONE
        (record,) = s.steps
        assert [each.reason for each in record.interventions] == ["think_budget"]
        assert 24 <= record.tokens.think <= 24 + 6
        assert "".join(e.text for e in s.of(SegmentText) if e.segment is Segment.ANSWER) == "So it is 5."
        assert next(r for r in s.journal if r["kind"] == "reply")["think"].startswith("hm hm")


async def test_enough_ends_the_thought_and_a_fact_goes_into_it(session):
    script = [
        {"reply": f"Hard.\n</judge>\n\n<think_on>\n<think>\n{'hm ' * 400}", "chunk": 6, "pause": 0.005},
        {"match": "x is negative.*[^>]\n*$", **chosen("", think="so " * 400), "chunk": 6, "pause": 0.005},
        {"match": "</think>\n\n<answer>\n$", **chosen("Then 7.", think="-")},
    ]
    done = []

    def on(event):
        if isinstance(event, SegmentText) and event.segment is Segment.THINK:
            if "hm" in event.text and not done:
                done.append(s.pilot.inform("x is negative"))
            elif "so" in event.text and len(done) == 1:
                done.append(s.pilot.enough())

    async with session(*script) as s:
        await s.say("how much?", on=on)
        assert [each.intervention.reason for each in s.of(Intervened)] == ["fact", "enough"]
        assert "Then 7." in "".join(e.text for e in s.of(SegmentText) if e.segment is Segment.ANSWER)


@pytest.mark.parametrize("first", ["", '```json\n{"name": "read_file", "arguments": {"path": "a.py"}}\n```'])
async def test_an_empty_reply_or_a_leaked_call_is_asked_for_again_once(session, first):
    async with session(chosen(first), thinking("Right.", "x is 1.")) as s:
        end = await s.say("what is x?")
        assert (end.status, end.steps, s.steps[1].rule) == (RunStatus.DONE, 2, "recovery")
        assert "[Your reply" in s.server.requests[1]["prompt"]
    async with session(chosen(first), thinking("", first)) as s:
        end = await s.say("what is x?")
        assert (end.status, end.steps) == (RunStatus.FAILED, 2)
        assert "twice" in end.message


async def test_an_answer_that_explains_a_call_is_no_leak(session):
    text = 'Call it so:\n```json\n{"name": "read_file", "arguments": {"path": "a.py"}}\n```\nThat reads the file.'
    async with session(chosen(text)) as s:
        assert (await s.say("how do I call it?")).steps == 1


async def test_a_call_that_cannot_be_read_twice_is_reported(session):
    broken = "\n<tool_call>\n{nonsense\n</tool_call>"
    async with session({"reply": reply("I") + broken}, {"reply": reply("I", think="Hm.") + broken}) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.FAILED, 2)
        assert "cannot be read" in end.message


async def test_calls_that_only_look_run_at_the_same_time_and_are_recorded_in_order(session):
    async with session(chosen("Both.", READ_A, READ_B, READ_A), chosen("Done.")) as s:
        await s.say("look")
        kinds = [type(e) for e in s.events if isinstance(e, CallStarted | CallFinished)]
        assert kinds == [CallStarted] * 3 + [CallFinished] * 3
        assert [call.id for call in s.steps[0].calls] == ["1.1", "1.2", "1.3"]
        prompt = s.server.requests[1]["prompt"]
        assert prompt.index("1\tx = 1") < prompt.index("1\tz = 3") < prompt.rindex("1\tx = 1")


async def test_the_same_call_three_times_is_noted_then_asked_about(session):
    script = [chosen(f"Step {n}.", READ_A) for n in range(2)]
    script += [chosen("Step 2.", READ_A), thinking("Hm.", "Again.", READ_A), chosen("Enough.")]
    async with session(*script) as s:
        s.said = ["Look into b.py instead"]
        end = await s.say("go")
        assert [record.rule for record in s.steps][3] == "loop_warning"
        (asked,) = s.of(QuestionAsked)
        assert "read_file" in asked.question
        assert s.of(UserSaid) == [UserSaid("Look into b.py instead", "auto")]
        assert end.status is RunStatus.DONE
        assert "Look into b.py instead" in s.server.requests[-1]["prompt"]


async def test_a_circle_ends_the_run_where_nobody_can_be_asked(session):
    script = [chosen(f"Step {n}.", READ_A) for n in range(3)] + [thinking("Hm.", "Again.", READ_A)]
    async with session(*script, interactive=False) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.STOPPED, 4)


async def test_what_the_user_says_meanwhile_is_read_before_the_next_step(session):
    def on(event):
        if isinstance(event, CallFinished) and event.id == "1.1":
            assert s.pilot.steer("only a.py matters; answer directly")

    async with session(chosen("I look.", READ_A), direct("x is 1.")) as s:
        assert not s.pilot.steer("nothing runs")
        await s.say("what is x?", on=on)
        assert s.steps[1].rule == "user_words"
        assert s.server.requests[1]["prompt"].count("only a.py matters") == 1
        assert [r["text"] for r in s.journal if r["kind"] == "steer"] == ["only a.py matters; answer directly"]


async def test_words_that_come_with_the_last_step_keep_the_run_going(session):
    def on(event):
        if isinstance(event, SegmentText) and event.text.startswith("x is"):
            s.pilot.steer("and y?")

    async with session(chosen("x is 1."), chosen("y is 2.")) as s:
        assert (await s.say("what is x?", on=on)).steps == 2


async def test_draining_stops_at_the_steps_end(session):
    def on(event):
        if isinstance(event, StepStarted):
            s.pilot.drain()

    async with session(chosen("I set it.", RIGHT), chosen("More.", READ_A), allow=("edit",)) as s:
        end = await s.say("go", on=on)
        assert (end.status, end.steps) == (RunStatus.STOPPED, 1)
        assert (s.root / "a.py").read_text() == "x = 5\ny = 2\n"


@pytest.mark.parametrize(("setting", "value"), [("run_tokens", 10), ("run_seconds", 0.001), ("max_steps", 1)])
async def test_the_limits_of_a_run(session, setting, value):
    async with session(chosen("I look at the file, word by word.", READ_A), chosen("x"), **{setting: value}) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.LIMIT, 1)


async def test_a_list_of_things_to_do_and_a_question_reach_the_user(session):
    plan = ("todo", {"items": [{"text": "read", "state": "done"}, {"text": "mend", "state": "doing"}]})
    ask = ("ask_user", {"question": "Which x?", "options": ["small", "large"]})
    async with session(chosen("A plan.", plan), chosen("A question.", ask), chosen("So it is.")) as s:
        s.said = ["the large one"]
        await s.say("go")
        assert s.of(PlanChanged)[0].items == (PlanItem("read", "done"), PlanItem("mend", "doing"))
        assert s.of(QuestionAsked)[0].options == ("small", "large")
        assert "the large one" in s.server.requests[2]["prompt"]


async def test_a_question_is_given_up_by_a_stop(session):
    def on(event):
        if isinstance(event, QuestionAsked):
            s.pilot.stop()

    async with session(chosen("A question.", ("ask_user", {"question": "Which?"}))) as s:
        s.pilot.answer = lambda *_: None
        assert (await s.say("go", on=on)).status is RunStatus.STOPPED


async def test_a_sub_agent_reads_in_a_context_of_its_own_and_brings_back_a_summary(session):
    script = [
        {"match": "sub-agent of KAT", "reply": reply("I look.", READ_B, RIGHT)},
        {"match": "sub-agent of KAT", "reply": "Hm.\n</think>\n\n<answer>\nz is 3, in b.py:1.\n</answer>"},
        chosen("I send somebody.", ("spawn", {"task": "What is z? SECRET OF THE TASK"})),
        chosen("z is 3."),
    ]
    async with session(*script) as s:
        s_journals = s.root.parent / "state/sessions"
        end = await s.say("what is z?")
        assert end.status is RunStatus.DONE
        (call,) = s.of(CallFinished)
        assert call.output == "z is 3, in b.py:1."
        assert "Read b.py" in "".join(event.text for event in s.of(CallOutput))
        assert "1\tz = 3" not in s.server.requests[-1]["prompt"]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"
        assert len(list(s_journals.glob("*.jsonl"))) == 2


async def test_a_long_command_goes_to_the_background_and_is_read_later(session):
    slow = ("run_command", {"command": "echo begun; sleep 20; echo ended"})

    def on(event):
        if isinstance(event, CallOutput) and "begun" in event.text:
            s.pilot.background(event.id)

    script = [chosen("I start it.", slow), chosen("Meanwhile.", ("read_output", {"id": "job1"})), chosen("Done.")]
    async with session(*script) as s:
        async with asyncio.timeout(15):
            end = await s.say("go", on=on)
        assert end.status is RunStatus.DONE
        first, second = s.of(CallFinished)
        assert "background" in first.output
        assert "begun" in second.output


async def test_a_step_runs_again_in_the_other_mode_and_the_choice_is_kept(session):
    other = {"match": "see this step with a thought", **thinking("Better think.", "I set it.", RIGHT)}
    async with session(other, chosen("x is 1.")) as s:
        await s.say("what is x?")
        events = [event async for event in s.pilot.fork(1, "on")]
        assert isinstance(events[-1], Forked)
        assert (events[-1].original.record.mode, events[-1].other.record.mode) == (Mode.OFF, Mode.ON)
        assert "+x = 5" in events[-1].other.patch
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"
        [event async for event in s.pilot.prefer(1, "other")]
        assert [r["choice"] for r in s.journal if r["kind"] == "preference"] == ["other"]
