"""The loop against the scripted server: steps, approvals, stops, errors."""

import asyncio
import itertools
import time

import pytest

from assistant.events import ApprovalAsked, CallFinished, CallStarted, ModeKnown, RunStatus, SegmentText
from model.format import Mode, Segment, ThinkRequest
from tests.assistant.conftest import NO, SESSION, YES
from tests.e2e.conftest import reply

READ = ("read_file", {"path": "a.py"})


def edit(old, new, path="a.py"):
    return ("edit_file", {"path": path, "old": old, "new": new})


async def test_a_turn_with_a_call_and_an_answer(session):
    async with session({"reply": reply("I look.", READ)}, {"reply": reply("x is 1.")}) as s:
        end = await s.say("what is x?")
        assert (end.status, end.steps) == (RunStatus.DONE, 2)
        assert "1\tx = 1" in s.of(CallFinished)[0].output
        prompt = s.server.requests[1]["prompt"]
        assert "<tool_response>\n1\tx = 1" in prompt
        assert [record.mode for record in s.steps] == [Mode.OFF, Mode.OFF]
        assert end.tokens.prompt == sum(record.tokens.prompt for record in s.steps)


async def test_judge_and_thought_stay_out_of_the_next_prompt(session):
    async with session(
        {"reply": reply("I look.", READ, think="SECRET THOUGHT", judge="SECRET JUDGE")}, {"reply": reply("Done.")}
    ) as s:
        await s.say("go")
        assert "SECRET" not in s.server.requests[1]["prompt"]
        assert "I look." in s.server.requests[1]["prompt"]


async def test_each_prompt_begins_with_the_one_before(session):
    lines = [{"reply": reply(f"Step {n}.", READ, think="t" if n % 2 else None)} for n in range(12)]
    async with session(*lines, {"reply": reply("Done.")}, {"reply": reply("Again.")}) as s:
        await s.say("go")
        await s.say("answer directly: again?")
        prompts = [request["prompt"].rpartition("<|im_start|>assistant\n")[0] for request in s.server.requests]
        assert len(prompts) == 14
        for before, after in itertools.pairwise(prompts):
            assert after.startswith(before)


async def test_the_users_words_force_the_mode_for_their_message_only(session):
    async with session({"reply": reply("A.")}, {"reply": reply("B.", think="t")}) as s:
        await s.say("不要思考,直接回答")
        assert (s.steps[0].request, s.steps[0].rule, s.steps[0].mode) == ("off", "user_words", Mode.OFF)
        await s.say("and now?")
        assert (s.steps[0].request, s.steps[0].rule, s.steps[0].mode) == ("auto", "model", Mode.ON)


async def test_a_forced_judge_is_not_shown_as_the_models_words(session):
    async with session({"reply": reply("A.")}) as s:
        await s.say("hi", ThinkRequest.OFF)
        assert [e for e in s.of(SegmentText) if e.segment is Segment.JUDGE] == []
        assert s.of(ModeKnown) == [ModeKnown(1, Mode.OFF, forced=True)]


async def test_an_edit_asks_with_a_diff_and_is_made_once_allowed(session):
    async with session({"reply": reply("", edit("x = 1", "x = 5"))}, {"reply": reply("Done.")}) as s:
        s.answers = [(YES,)]
        await s.say("set x")
        (asked,) = s.of(ApprovalAsked)
        assert asked.preview_kind == "diff"
        assert "-x = 1\n+x = 5" in asked.preview
        assert (s.root / "a.py").read_text() == "x = 5\ny = 2\n"
        assert [r["kind"] for r in s.journal if r["kind"] in ("approval", "intent", "result")] == [
            "approval", "intent", "result",
        ]  # fmt: skip


async def test_several_approvals_in_one_reply_are_asked_one_after_the_other(session):
    calls = [edit("x = 1", "x = 5"), READ, edit("z = 3", "z = 6", "b.py"), edit("y = 2", "y = 7")]
    async with session({"reply": reply("", *calls)}, {"reply": reply("Done.")}) as s:
        s.answers = [(YES,), (NO, "leave z alone"), (YES,)]
        await s.say("go")
        assert [event.id for event in s.of(ApprovalAsked)] == ["1.1", "1.3", "1.4"]
        assert [call.outcome for call in s.steps[0].calls] == ["ok", "ok", "denied", "ok"]
        assert (s.root / "a.py").read_text() == "x = 5\ny = 7\n"
        assert (s.root / "b.py").read_text() == "z = 3\n"
        assert "the user said no: leave z alone" in s.server.requests[1]["prompt"]


async def test_for_the_session_means_the_next_edit_does_not_ask(session):
    lines = [{"reply": reply("", edit("x = 1", "x = 5"))}, {"reply": reply("", edit("y = 2", "y = 5"))}]
    async with session(*lines, {"reply": reply("Done.")}) as s:
        s.answers = [(SESSION,)]
        await s.say("go")
        assert len(s.of(ApprovalAsked)) == 1
        assert (s.root / "a.py").read_text() == "x = 5\ny = 5\n"


async def test_an_approval_is_void_when_the_file_changes_meanwhile(session):
    async with session({"reply": reply("", edit("x = 1", "x = 5"))}, {"reply": reply("Done.")}) as s:

        def meanwhile(event):
            if isinstance(event, ApprovalAsked):
                (s.root / "a.py").write_text("x = 1\ny = 99\n")
                s.pilot.decide(event.id, YES)

        await s.say("go", on=meanwhile)
        assert s.steps[0].calls[0].outcome == "failed"
        assert (s.root / "a.py").read_text() == "x = 1\ny = 99\n"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("read_fil", {"path": "a.py"}), "did you mean read_file"),
        (("read_file", {"file": "a.py"}), "path"),
        (("read_file", {"path": "nope.py"}), "nope.py"),
        (("read_file", {"path": "../../etc/passwd"}), "outside"),
        (("edit_file", {"path": "a.py", "old": "q = 9", "new": ""}), "nearest lines"),
        (("edit_file", {"path": ".git/config", "old": "a", "new": "b"}), ".git"),
    ],
)
async def test_a_call_that_cannot_be_done_is_told_to_the_model(session, call, words):
    async with session({"reply": reply("", call)}, {"reply": reply("I see.")}, allow=("all",)) as s:
        end = await s.say("go")
        assert end.status is RunStatus.DONE
        assert s.steps[0].calls[0].outcome in ("invalid", "failed")
        assert words in s.of(CallFinished)[0].output
        assert "<tool_response>\nError: " in s.server.requests[1]["prompt"]


async def test_a_broken_call_is_told_to_the_model(session):
    broken = "w\n</judge>\n\n<think_off>\n<answer>\nI try.\n</answer>\n<tool_call>\n{'name': oops}\n</tool_call>"
    async with session({"reply": broken}, {"reply": reply("Sorry.")}) as s:
        end = await s.say("go")
        assert end.status is RunStatus.DONE
        assert s.steps[0].calls[0].outcome == "invalid"
        assert "{'name': oops}" in s.server.requests[1]["prompt"]


async def test_a_call_written_before_the_fresh_text_was_shown_does_not_count_as_knowing_it(session):
    change = ("run_command", {"command": "echo 'w = 0' >> a.py"})
    script = ({"reply": reply("", READ)}, {"reply": reply("", change, edit("1", "5"), edit("2", "6"))})
    async with session(*script, {"reply": reply("", edit("2", "7"))}, {"reply": reply("Done.")}, allow=("all",)) as s:
        await s.say("go")
        assert [call.outcome for record in s.steps for call in record.calls] == ["ok", "ok", "invalid", "invalid", "ok"]
        assert "3\tw = 0" in s.server.requests[2]["prompt"]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 7\nw = 0\n"


async def test_a_run_ends_at_its_limit_of_steps(session):
    async with session({"reply": reply("", READ), "times": 0}, max_steps=3) as s:
        end = await s.say("go")
        assert (end.status, end.steps) == (RunStatus.LIMIT, 3)


async def test_a_reply_without_an_answer_is_said(session):
    async with session({"reply": "I never close my judge", "times": 2}) as s:
        end = await s.say("go")
        assert end.steps == 2
        assert end.status is RunStatus.FAILED
        assert "--dialect" in end.message


async def test_a_failed_message_does_not_spoil_the_next(session):
    async with session({"status": 400, "body": "no"}, {"reply": reply("Now.")}) as s:
        assert (await s.say("one")).status is RunStatus.FAILED
        assert (await s.say("two")).status is RunStatus.DONE
        assert "Now." in "".join(e.text for e in s.of(SegmentText))


async def test_a_cut_stream_keeps_its_text_and_the_talk_goes_on(session):
    lines = [{"reply": reply("word " * 100), "cut_after": 200}, {"status": 400}, {"reply": reply("Whole.")}]
    async with session(*lines) as s:
        end = await s.say("one")
        assert end.status is RunStatus.FAILED
        assert s.steps[0].cut
        assert (await s.say("go on")).status is RunStatus.DONE
        assert "word word" in s.server.requests[-1]["prompt"]


async def test_stop_while_the_model_writes(session):
    async with session({"reply": reply("word " * 500), "chunk": 5, "pause": 0.01}, {"reply": reply("Next.")}) as s:
        seen = []

        def stop(event):
            if isinstance(event, SegmentText) and event.segment is Segment.ANSWER:
                seen.append(time.monotonic())
                if len(seen) == 3:
                    s.pilot.stop()

        end = await s.say("go", on=stop)
        assert time.monotonic() - seen[2] < 0.5
        assert end.status is RunStatus.STOPPED
        assert s.steps[0].cut == "stopped"
        assert any(r["kind"] == "reply" and r["answer"].startswith("wor") for r in s.journal)
        assert (await s.say("again")).status is RunStatus.DONE


async def test_stop_while_a_question_is_open(session):
    async with session({"reply": reply("", edit("x = 1", "x = 5"))}) as s:
        end = await s.say("go", on=lambda event: s.pilot.stop() if isinstance(event, ApprovalAsked) else None)
        assert end.status is RunStatus.STOPPED
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"


async def test_stop_while_a_command_runs(session):
    command = ("run_command", {"command": "sleep 60"})
    async with session({"reply": reply("", command, edit("x = 1", "x = 5"))}, allow=("all",)) as s:
        started = time.monotonic()

        def stop(event):
            if isinstance(event, CallStarted) and event.tool == "run_command":
                asyncio.get_running_loop().call_later(0.5, s.pilot.stop)

        end = await s.say("go", on=stop)
        assert time.monotonic() - started < 10
        assert end.status is RunStatus.STOPPED
        assert [call.outcome for call in s.steps[0].calls] == ["stopped", "stopped"]
        assert (s.root / "a.py").read_text() == "x = 1\ny = 2\n"


async def test_leaving_the_iterator_stops_the_run(session):
    async with session({"reply": reply("word " * 500), "chunk": 5, "pause": 0.01}, {"reply": reply("Next.")}) as s:
        events = s.pilot.run("go", ThinkRequest.AUTO)
        async for event in events:
            if isinstance(event, SegmentText):
                break
        await events.aclose()
        assert (await s.say("again")).status is RunStatus.DONE


async def test_headless_refusals_end_in_the_status_refused(session):
    async with session({"reply": reply("", edit("x = 1", "x = 5"))}, {"reply": reply("No.")}, interactive=False) as s:
        end = await s.say("go")
        assert end.status is RunStatus.REFUSED
        assert "--allow edit" in end.message


async def test_tokens_are_the_engines_own(session):
    async with session({"reply": reply("four words of answer", think="one two three")}) as s:
        await s.say("go")
        tokens = s.steps[0].tokens
        assert tokens.prompt > 100
        assert tokens.judge > 0
        assert tokens.think > 0
        assert tokens.answer > 0
