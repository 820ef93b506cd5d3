"""The loop at its edges: holds that meet the user's rules, waiting that counts for nobody, limits, sub-agents."""

import asyncio

import pytest

from assistant.events import (
    ApprovalAsked,
    CallFinished,
    CallOutput,
    CallStarted,
    Decision,
    ModeKnown,
    Notice,
    QuestionAsked,
    RunFinished,
    RunStatus,
    SegmentText,
    StepFinished,
)
from assistant.stopping import Stopped, unless_stopped
from assistant.think_settings import read_rules
from model.format import Mode, Segment, ThinkRequest
from tests.assistant.test_loop import DELETE, READ_A, READ_B, RIGHT, chosen, thinking
from tests.e2e.conftest import reply

ASK = ("ask_user", {"question": "Which x?"})
CHILD = "sub-agent of KAT"


def spawn(task="Look.", **more):
    return ("spawn", {"task": task, **more})


@pytest.mark.parametrize(("think", "outcomes"), [("off", ["ok"]), ("auto", ["held", "ok"])])
async def test_a_rule_of_the_users_own_is_never_held_twice(session, think, outcomes):
    rules = read_rules([{"name": "quick", "think": think, "words": "tidy"}])
    script = [chosen("Away with it.", DELETE)] * len(outcomes) + [chosen("Gone.")]
    async with session(*script, allow=("edit",), think_rules=rules) as s:
        end = await s.say("tidy up")
        assert (end.status, [r.calls[0].outcome for r in s.steps[:-1]]) == (RunStatus.DONE, outcomes)


async def test_time_that_a_person_takes_is_no_time_of_tools_and_uses_up_no_limit(session):
    script = [chosen("A question.", ASK), chosen("May I?", RIGHT), chosen("Done.")]
    async with session(*script, run_seconds=1.4) as s:
        pilot, loop = s.pilot, asyncio.get_running_loop()
        async for event in pilot.run("go", ThinkRequest.AUTO):
            s.events.append(event)
            if isinstance(event, QuestionAsked):
                loop.call_later(0.8, pilot.answer, event.id, "the large one")
            if isinstance(event, ApprovalAsked):
                loop.call_later(0.8, pilot.decide, event.id, Decision.ONCE)
        assert s.events[-1].status is RunStatus.DONE
        assert all(record.seconds.tools < 0.7 and record.calls[0].seconds < 0.7 for record in s.steps[:2])


@pytest.mark.parametrize("child", [False, True])
async def test_what_the_user_writes_while_he_is_asked_is_his_own(session, child):
    """A command of the same step may have changed anything; what changes while a question waits it did not change."""
    command = ("run_command", {"command": "echo made > made.txt"})
    remote = ("run_command", {"command": "echo made > made.txt", "network": True})
    script = [chosen("Both.", command, ASK), chosen("Done.")]
    if child:
        script = [
            {"match": CHILD, "reply": reply("I write.", remote)},
            {"match": CHILD, **chosen("Written.")},
            chosen("Somebody.", spawn(write=True)),
            chosen("Done."),
        ]

    async with session(*script) as s:
        asked = []
        async for event in s.pilot.run("go", ThinkRequest.AUTO):
            if isinstance(event, ApprovalAsked | QuestionAsked):
                (s.root / "mine.txt").write_text("the user's own\n")
                asked.append(event.id)
                s.pilot.decide(event.id, Decision.ONCE)
                s.pilot.answer(event.id, "this")
        assert asked == ["1.1/1.1" if child else "1.2"]
        assert (s.root / "made.txt").exists()
        assert [event.kind async for event in s.pilot.restore("undo")] == ["restored"]
        assert not (s.root / "made.txt").exists()
        assert (s.root / "mine.txt").read_text() == "the user's own\n"


async def test_a_sub_agents_tokens_count_and_its_limits_are_those_of_the_run(session):
    script = [
        {"match": CHILD, **chosen("I look.", READ_B, think="word " * 40)},
        {"match": CHILD, **chosen("Never asked for.")},
        chosen("Somebody.", spawn()),
        chosen("Never asked for."),
    ]
    async with session(*script, run_tokens=80) as s:
        end = await s.say("what is z?")
        assert (end.status, end.steps) == (RunStatus.LIMIT, 1)
        assert end.tokens.think >= 40
        (call,) = s.of(CallFinished)
        assert "limit of" in call.output


async def test_what_a_sub_agent_is_refused_is_said_and_what_was_refused_before_is_kept(session):
    remote = ("run_command", {"command": "curl x", "network": True})
    script = [
        {"match": CHILD, "reply": reply("I fetch.", remote)},
        {"match": CHILD, **thinking("Hm.", "It cannot be fetched.")},
        chosen("An edit, then somebody.", RIGHT, spawn(write=True)),
        thinking("Hm.", "Done."),
        chosen("Done."),
    ]
    async with session(*script, interactive=False) as s:
        end = await s.say("go")
        assert end.status is RunStatus.REFUSED
        assert end.message == "Refused by policy; allow it with --allow edit."
        assert "It cannot be fetched." in s.of(CallFinished)[1].output


async def test_draining_ends_a_sub_agent_too(session):
    script = [
        {"match": CHILD, **chosen("I look.", READ_A)},
        {"match": CHILD, **chosen("I look on.", READ_B)},
        chosen("Somebody.", spawn()),
    ]

    def on(event):
        if event.kind == "call_output":
            s.pilot.drain()

    async with session(*script) as s:
        end = await s.say("go", on=on)
        assert (end.status, end.steps) == (RunStatus.STOPPED, 1)
        assert len(s.server.requests) == 2


async def test_a_sub_agents_engine_that_fails_is_told_and_the_run_goes_on(session):
    failing = {"match": CHILD, "status": 400, "body": {"message": "no such luck"}}
    async with session(failing, chosen("Somebody.", spawn()), thinking("Hm.", "I do it myself.")) as s:
        end = await s.say("go")
        (call,) = s.of(CallFinished)
        assert (end.status, call.outcome, "no such luck" in call.output) == (RunStatus.DONE, "failed", True)


async def test_draining_does_not_wait_for_a_reply_to_be_mended(session):
    async with session(chosen(""), thinking("Hm.", "Never asked for.")) as s:
        end = await s.say("go", on=lambda event: s.pilot.drain())
        assert (end.status, end.steps) == (RunStatus.STOPPED, 1)


async def test_words_that_come_too_late_are_not_taken_and_lost(session):
    said = []

    def on(event):
        if isinstance(event, StepFinished):
            asyncio.get_running_loop().call_soon(lambda: said.append(s.pilot.steer("one more thing")))
        if isinstance(event, RunFinished):
            said.append(s.pilot.steer("and another"))

    async with session(chosen("Done."), chosen("Done again.")) as s:
        end = await s.say("go", on=on)
        assert said == [False, False] if end.steps == 1 else said[1:] == [False]


async def test_a_mode_that_enough_settled_was_not_the_models_choice(session):
    script = [
        {"reply": "It is hard to say. " * 30 + "\n</judge>\n\n<think_on>\n", "chunk": 6, "pause": 0.005},
        {"match": "<think_off>\n<answer>\n$", **chosen("Seven.")},
    ]

    def on(event):
        if isinstance(event, SegmentText) and event.segment is Segment.JUDGE:
            s.pilot.enough()

    async with session(*script, judge_budget=500) as s:
        await s.say("how much?", on=on)
        (record,) = s.steps
        assert (record.request, record.sent, record.mode, record.forced) == ("auto", "auto", Mode.OFF, True)
        assert [event.forced for event in s.of(ModeKnown)] == [True]


async def test_enough_at_once_is_no_disobedience(session):
    def on(event):
        if event.kind == "step_started":
            asyncio.get_running_loop().call_later(0.05, s.pilot.enough)

    slow = {"reply": "x\n</judge>\n\n<think_on>\n<think>\nHm.", "delay": 0.4}
    async with session(slow, chosen("Seven."), dialect="qwen3") as s:
        await s.say("think step by step", on=on)
        assert s.steps[0].interventions[0].reason == "enough"
        assert [event.text for event in s.of(Notice)] == []


async def test_a_reply_that_reached_its_limit_is_asked_for_again_once(session):
    long = chosen("I write it all at once. " * 60, RIGHT)
    async with session(long, chosen("In parts."), max_tokens=120) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.DONE, 2)
        assert [r.rule for r in s.steps] == ["model", "model"], "a thought would leave less room still"
        assert s.steps[0].fault == "too_long"
        assert "[Your reply was cut" in s.server.requests[1]["prompt"]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"
    async with session(long, long, max_tokens=120) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.FAILED, 2)
        assert "max_tokens" in end.message


async def test_of_calls_that_look_one_may_fail_and_the_others_still_answer(session):
    gone = ("read_file", {"path": "gone.py"})
    async with session(chosen("Three.", READ_A, gone, READ_B), thinking("Hm.", "Done.")) as s:
        await s.say("look")
        assert [call.outcome for call in s.steps[0].calls] == ["ok", "failed", "ok"]
        assert [type(e) for e in s.events if isinstance(e, CallStarted | CallFinished)][:3] == [CallStarted] * 3


async def test_work_is_not_begun_behind_a_stop():
    stop, done = asyncio.Event(), []

    async def work():
        done.append(True)

    stop.set()
    with pytest.raises(Stopped):
        await unless_stopped(work(), stop)
    assert done == []


async def test_no_journal_holds_the_users_key_nor_that_of_a_sub_agent(session):
    key = "correcthorsebatterystaple"
    script = [
        {"match": CHILD, **chosen(f"I look for {key}.")},
        chosen("Somebody.", spawn(task=f"What is {key}?")),
        chosen("Done."),
    ]
    async with session(*script, api_key=key) as s:
        assert (await s.say("go")).status is RunStatus.DONE
        assert any(key in request["prompt"] for request in s.server.requests)
        journals = [path.read_text() for path in (s.root.parent / "state/sessions").glob("*.jsonl")]
        assert len(journals) == 2
        assert not any(key in text for text in journals)


async def test_what_a_sub_agent_runs_is_told_in_one_line_without_control_of_the_terminal(session):
    odd = ("run_command", {"command": "echo \x1b]0;x\x07a\nevil \u202e"})
    script = [
        {"match": CHILD, "reply": reply("I run.", odd)},
        {"match": CHILD, **chosen("Ran.")},
        chosen("Somebody.", spawn(write=True)),
        chosen("Done."),
    ]
    async with session(*script) as s:
        s.answers = [[Decision.NO]]
        await s.say("go")
        assert [event.text for event in s.of(CallOutput)] == ["step 1: Run echo a⏎evil ⟨U+202E⟩\n"]


async def test_a_thought_may_hold_what_is_too_long_for_a_file_name(session):
    script = [chosen("I look.", READ_A, think=f"The token is {'eyJ' * 100}.eyJ and a.py uses it."), chosen("Done.")]
    async with session(*script) as s:
        assert (await s.say("go")).status is RunStatus.DONE
