"""Compaction: what survives, what goes, and that the journal gives back the same bytes."""

import tempfile
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.compaction import SUMMARY_TOKENS, Compactor
from assistant.context import Transcript, Turn
from assistant.events import Compacted, Notice
from assistant.facts import Facts, facts
from assistant.gauge import TARGET, TRIGGER, left, needs, room
from assistant.records import Tokens
from assistant.sessions import Journal, read
from assistant.sessions.replay import transcript, whole_output
from assistant.shortening import KEPT_STEPS, divided, listed, shortened
from model.dialects import dialect
from model.engine import Delta, EngineInfo, EngineRefused, EngineUnreachable, Finish, Sampling
from model.format import Mode, Reply, ToolCall
from model.prompt import Message
from tests.e2e.conftest import reply

KAT = dialect("kat")
INFO = EngineInfo("test", "test-model", "kat")
GOAL = "Make the parser faster, please."


class FakeEngine:
    """Counts four characters as a token, and answers with `answer`, or with an error."""

    def __init__(self, answer="We read a.py.", *, finish=Finish.STOP, error=None, counts=True):
        self.answer, self.finish, self.error, self.counts = answer, finish, error, counts
        self.prompts, self.asked_to_count = [], 0

    async def count(self, prompt):
        self.asked_to_count += 1
        return len(prompt.text) // 4 if self.counts else None

    async def stream(self, prompt, sampling) -> AsyncGenerator[Delta, None]:
        self.prompts.append((prompt, sampling))
        if self.error:
            raise self.error
        written = KAT.write(Reply(mode=Mode.OFF, answer=self.answer))
        yield Delta(written.partition("<answer>\n")[2])
        yield Delta(finish=self.finish)


class Conversation:
    """A transcript that grows, and its journal."""

    def __init__(self, folder: Path, engine=None, context=None, max_tokens=100, **options):
        self.engine = engine or FakeEngine()
        self.journal = Journal.create(folder, folder, INFO)
        self.transcript = Transcript("You are a test.")
        self.events = []
        self.compactor = Compactor(self.engine, KAT, (), Sampling(max_tokens=max_tokens), context, **options)
        self.step = 0

    def user(self, text, kind="user"):
        if kind == "user":
            self.transcript.unanswered()
        self.journal.append(kind, text=text)
        getattr(self.transcript, kind)(text)

    def calls(self, *outputs, tool="read_file", answer="", outcome="ok", paths=(), **arguments):
        self.step += 1
        calls = tuple(ToolCall(tool, {"path": f"f{n}.py", **arguments}) for n, _ in enumerate(outputs))
        reply = Reply(mode=Mode.OFF, answer=answer, calls=calls)
        written = [{"name": c.name, "arguments": c.arguments, "raw": "", "error": None} for c in calls]
        fields = {"judge": "", "mode": "off", "think": "", "answer": answer, "calls": written, "cut": None}
        self.journal.append("reply", step=self.step, **fields)
        self.transcript.reply(reply, self.step)
        for n, output in enumerate(outputs, 1):
            id_ = f"{self.step}.{n}"
            self.journal.append("intent", id=id_, tool=tool, arguments=calls[n - 1].arguments, paths=list(paths))
            self.journal.append("result", id=id_, outcome=outcome, ok=outcome == "ok", summary="", output=output)
            self.transcript.result(output, id_)

    async def compact(self, hint=""):
        await self.compactor.compact(self.transcript, self.journal, self.events.append, hint)

    async def make_room(self):
        await self.compactor.make_room(self.transcript, self.journal, self.events.append)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self):
        return "\n".join(turn.message.content for turn in self.transcript.turns)

    @property
    def replayed(self):
        return transcript(read(self.journal.path), self.transcript.system, self.transcript.first)


@pytest.fixture
def talk(tmp_path):
    return lambda *args, **options: Conversation(tmp_path / "sessions", *args, **options)


def long_talk(talk, steps=6, size=4_000, **options):
    """A conversation that holds one of everything that must survive."""
    it = talk(**options)
    it.user(GOAL)
    for n in range(steps):
        it.calls(f"step {n}: " + "x" * size, answer="I look.")
    it.user("And keep it small.", "steer")
    it.calls("Edited f0.py: +1 -1.", tool="edit_file", paths=["src/parser.py"])
    it.journal.append("changed", changes={"src/made_by_a_command.py": [None, None]}, step=it.step)
    failed = (
        "2 failed, exit code 1, 0.1 s\nfailed: tests/test_a.py::test_one\nfailed: tests/test_a.py::test_two\n"
        + "y" * size
    )
    it.calls(failed, tool="run_tests", outcome="failed", target="")
    it.journal.append("plan", items=[{"text": "measure it", "state": "doing"}, {"text": "read it", "state": "done"}])
    for n in range(KEPT_STEPS):
        it.calls(f"tail {n}: " + "z" * 50)
    return it


KEPT = (
    GOAL,
    "And keep it small.",
    "src/parser.py",
    "src/made_by_a_command.py",
    "tests/test_a.py::test_one",
    "tests/test_a.py::test_two",
    "measure it (in hand)",
)


async def test_old_output_is_shortened_first_and_that_may_be_enough(talk):
    it = long_talk(talk, context=8_000)
    tail = list(divided(it.transcript.turns)[1])
    await it.make_room()
    (event,) = it.of(Compacted)
    assert event.summary == ""
    assert event.exact
    assert event.after < TARGET * room(8_000, 100) < TRIGGER * room(8_000, 100) < event.before
    assert it.engine.prompts == []
    assert "step 0: xxx" in it.text
    assert "characters left out; read_output shows the whole of call 1.1 …" in it.text
    assert whole_output(it.journal.path, "1.1") == "step 0: " + "x" * 4_000
    assert list(divided(it.transcript.turns)[1]) == tail
    for words in KEPT:
        assert words in it.text
    assert "read it" not in it.text


async def test_then_the_model_sums_up_behind_the_prompt_that_it_has_in_its_cache(talk):
    it = long_talk(talk, steps=57, size=190, context=7_000)
    before, turns = it.transcript.messages, list(it.transcript.turns)
    await it.make_room()
    (event,) = it.of(Compacted)
    assert event.summary == "We read a.py."
    prompt, sampling = it.engine.prompts[0]
    old = before[: 1 + len(divided(turns)[0])]
    assert list(prompt.messages[:-1]) == old
    assert prompt.think == "off"
    assert "<think_off>" in prompt.opening.text
    assert sampling.max_tokens == 7_000 // 8 < SUMMARY_TOKENS
    assert event.after <= TARGET * room(7_000, 100)
    assert event.before > TRIGGER * room(7_000, 100)
    kinds = [turn.kind for turn in it.transcript.turns]
    assert kinds == ["user", "steer", "summary", "facts", "reply", "result", "reply", "result"]
    for words in (*KEPT, "We read a.py."):
        assert words in it.text


async def test_the_journal_gives_back_the_same_bytes(talk):
    it = long_talk(talk, steps=60, size=190, context=7_000)
    await it.make_room()
    it.calls("after that")
    it.user("go on", "steer")
    it.transcript.note("loop")
    it.journal.append("note", text="loop")
    it.calls("and that", "and this")
    assert it.replayed.turns == it.transcript.turns
    assert any(turn.kind == "summary" for turn in it.transcript.turns)


async def test_compacting_again_changes_nothing_and_says_so(talk):
    it = long_talk(talk, context=None)
    await it.compact("the cache")
    turns = list(it.transcript.turns)
    assert "The developer says what matters most: the cache" in it.engine.prompts[0][0].messages[-1].content
    await it.compact()
    assert it.transcript.turns == turns
    assert len(it.of(Compacted)) == 1
    assert "nothing to make shorter" in it.of(Notice)[-1].text


async def test_an_earlier_summary_goes_into_the_next(talk):
    it = long_talk(talk)
    await it.compact()
    for _ in range(3):
        it.calls("w" * 3_000)
    it.engine.answer = "Now all is different."
    await it.compact()
    asked = it.engine.prompts[-1][0].text
    assert "We read a.py." in asked
    assert [turn.kind for turn in it.transcript.turns].count("summary") == 1
    assert [turn.kind for turn in it.transcript.turns].count("facts") == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"error": EngineUnreachable("nothing answers")}, "nothing answers"),
        ({"answer": "  "}, "its summary was empty"),
        ({"finish": Finish.LENGTH}, "its summary was too long"),
        ({"finish": Finish.CUT}, "the stream broke off"),
    ],
)
async def test_where_the_model_cannot_sum_up_a_list_of_calls_does(talk, options, why):
    it = long_talk(talk, engine=FakeEngine(**options))
    await it.compact()
    (event,) = it.of(Compacted)
    assert "- read_file(path=f0.py): step 0: xxx" in event.summary
    assert "- run_tests(path=f0.py, target=): 2 failed" in event.summary
    assert why in it.of(Notice)[0].text
    for words in KEPT:
        assert words in it.text


async def test_a_small_model_is_not_asked(talk):
    it = long_talk(talk, by_model=False, readable=False)
    await it.compact()
    assert it.engine.prompts == []
    assert "- edit_file(path=f0.py): Edited f0.py: +1 -1." in it.of(Compacted)[0].summary
    assert it.of(Notice) == []


async def test_lengths_that_nobody_counted_are_called_estimates(talk):
    it = long_talk(talk, engine=FakeEngine(counts=False))
    await it.compact()
    assert not it.of(Compacted)[0].exact
    assert "estimates" in it.of(Notice)[0].text


async def test_estimates_follow_what_the_server_counted_last(talk):
    it = long_talk(talk, engine=FakeEngine(counts=False), context=100_000)
    prompt = KAT.render(it.transcript.messages, (), "auto", "")
    it.compactor.saw(prompt, Tokens(prompt=12_345))
    length = await it.compactor.gauge.length(it.transcript.messages)
    assert (length.tokens, length.exact) == (12_345, False)


async def test_nothing_is_counted_while_the_limit_is_far(talk):
    it = long_talk(talk, context=131_072)
    prompt = KAT.render(it.transcript.messages, (), "auto", "")
    it.compactor.saw(prompt, Tokens(prompt=len(prompt.text) // 4))
    it.calls("x" * 12_000)
    assert not it.compactor.due(it.transcript)
    await it.make_room()
    assert it.engine.asked_to_count == 0
    for _ in range(10):
        it.calls("x" * 12_000)
    assert it.compactor.due(it.transcript)


async def test_a_conversation_that_cannot_get_short_does_not_try_at_every_step(talk):
    it = talk(context=4_000)
    it.user(GOAL + "w" * 12_000)
    for _ in range(4):
        it.calls("x" * 300)
    await it.make_room()
    tried = len(it.engine.prompts)
    it.calls("small")
    await it.make_room()
    assert len(it.engine.prompts) == tried


async def test_a_message_that_is_too_long_alone_is_said_plainly(talk):
    it = talk(context=4_000)
    it.user("w" * 20_000)
    with pytest.raises(
        EngineRefused, match=r"has 5,\d{3} tokens in your own words .* takes 4,000 with its reply; start a new session"
    ):
        await it.make_room()
    assert it.transcript.turns[0].message.content == "w" * 20_000


async def test_the_last_steps_are_cut_only_where_nothing_else_helps(talk):
    it = talk(context=4_000)
    it.user(GOAL)
    it.calls("x" * 9_000)
    it.calls("y" * 9_000)
    await it.make_room()
    assert "read_output shows the whole of call 1.1" in it.text
    assert it.text.endswith("y" * 9_000)
    it.calls("z" * 15_000)
    await it.make_room()
    assert it.of(Compacted)[1].after < 300
    assert "read_output shows the whole of call 3.1" in it.text


def test_a_list_of_calls_keeps_an_early_summary_and_the_last_calls():
    text = "It began so."
    for n in range(40):
        turns = [Turn("summary", Message("user", text)), Turn("reply", Message("assistant", f"Step {n} {'w' * 90}"), n)]
        text = listed(turns, 1_500)
    assert text.startswith("It began so.\n- answered: Step 0 ")
    assert "- answered: Step 39 " in text.splitlines()[-1]
    assert len(text) <= 1_510


async def test_a_journal_that_cannot_be_written_leaves_the_conversation_as_it_is(talk):
    it = long_talk(talk)
    turns = list(it.transcript.turns)
    it.journal.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await it.compact()
    assert it.transcript.turns == turns
    assert it.of(Compacted) == []


async def test_a_session_goes_on_behind_its_summary(session):
    lines = [reply("I look.", ("search", {"pattern": f"x{n}"}), think="hm") for n in range(9)]
    script = [*lines, reply("Nine times nothing."), reply("There is no x."), reply("As I said.")]
    async with session(*({"reply": line} for line in script)) as s:
        await s.say("Where is x <think_on>?")
        said = [event async for event in s.pilot.compact("x")]
        assert [type(event) for event in said] == [Compacted]
        assert "matters most: x<" in s.server.requests[-1]["prompt"]
        assert "<think_off>" in s.server.requests[-1]["prompt"].rpartition("<|im_start|>")[2]
        await s.say("And now?")
        sent = s.server.requests[-1]["prompt"]
        kept = [r for r in s.journal if r["kind"] == "prompt"][-1]
        replayed = transcript(s.journal, kept["system"], kept["first"])
    order = ["Where is x", "There is no x.", '"x8"', "Nine times nothing.", "And now?"]
    assert [sent.index(words) for words in order] == sorted(sent.index(words) for words in order)
    assert '"x7"' not in sent
    shown = KAT.render(replayed.messages[:-1], (), "auto", "").text.split("<|im_start|>user", 1)[1]
    assert sent.split("<|im_start|>user", 1)[1] == shown


@pytest.mark.parametrize("context", [4_000, 20_000])
async def test_a_long_run_on_a_small_context_goes_on_with_its_goal(session, context):
    script = [{"reply": reply(f"{n}.", ("read_file", {"path": "n.txt", "start_line": n}))} for n in range(1, 21)]
    summary = {"reply": reply("Counted."), "match": "go on with the task[.]<.im_end.>", "times": 0}
    last = {"reply": reply("All counted.", think="so " * 9_000), "times": 2}
    async with session(summary, *script, last, allow=("all",), context=context) as s:
        (s.root / "n.txt").write_text("\n".join(map(str, range(3_000))))
        end = await s.say(GOAL)
        assert (end.status, end.message, end.steps) == ("done", "", 21)
        sent = [request for request in s.server.requests if "becomes too long" not in request["prompt"]]
        assert all(GOAL in request["prompt"] for request in sent)
        assert 2 <= len(s.of(Compacted)) <= 12
        assert s.steps[-1].interventions[0].reason == "think_budget"
        prefix = next(r for r in s.journal if r["kind"] == "prompt")
        assert transcript(s.journal, prefix["system"], prefix["first"]).turns == s.pilot.turns


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=60)
STEPS = st.one_of(
    st.tuples(st.just("calls"), st.lists(st.text(max_size=3) | st.sampled_from(["x" * 700, "é" * 3_000]), max_size=3)),
    st.tuples(st.sampled_from(["user", "steer"]), WORDS),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=14), st.sampled_from([None, 700, 3_000]), st.booleans())
async def test_the_users_words_always_survive_and_it_never_grows(happened, context, by_model):
    with tempfile.TemporaryDirectory() as folder:
        it = Conversation(Path(folder), context=context, by_model=by_model)
        it.user(GOAL)
        for kind, what in happened:
            if kind == "calls":
                it.calls(*what, answer="" if what else "So.", paths=[f"f{it.step}.py"])
            else:
                it.user(what, kind)
        it.transcript.unanswered()
        before = (await it.compactor.gauge.length(it.transcript.messages)).tokens
        words = [turn.message.content for turn in it.transcript.turns if turn.kind in ("user", "steer")]
        changed = facts(read(it.journal.path)).changed
        was_old = {turn.step for turn in divided(it.transcript.turns)[0] if turn.kind == "reply"}
        await it.compact()
        after = (await it.compactor.gauge.length(it.transcript.messages)).tokens
        assert [t.message.content for t in it.transcript.turns if t.kind in ("user", "steer")] == words
        assert after < before or (after == before and it.of(Compacted) == [])
        assert not it.of(Compacted) or not was_old or all(name in it.text for name in changed)
        assert it.replayed.turns == it.transcript.turns
        turns = list(it.transcript.turns)
        await it.compact()
        assert not it.of(Compacted)[1:] or len(it.transcript.turns) < len(turns)
        it.journal.close()


@given(st.text(max_size=400), st.integers(120, 300), st.integers(120, 300), st.booleans())
def test_shortening_keeps_both_ends_fits_and_is_done_once(text, limit, later, readable):
    turn = Turn("result", Message("tool", text), 3, "3.1")
    once = shortened(turn, limit, readable=readable)
    content = once.message.content
    assert len(content) <= max(limit, len(text) if len(text) <= limit else 0)
    assert shortened(once, limit, readable=readable) == once
    if len(text) <= limit:
        assert once == turn
        return
    kept = content.split("\n… ")[0], content.rsplit(" …\n")[-1]
    assert text.startswith(content[:10])
    assert text.endswith(content[-10:])
    assert all(part in text for part in kept)
    direct, twice = shortened(turn, min(limit, later), readable=readable), shortened(once, later, readable=readable)
    assert twice.message.content == direct.message.content or later >= limit


def test_a_long_list_of_calls_counts_those_that_it_leaves_out():
    it = Transcript("s")
    it.user(GOAL)
    for n in range(50):
        it.reply(Reply(calls=(ToolCall("search", {"pattern": "p" * 100}),)), n + 1)
        it.result("found\nmuch")
    text = listed(it.turns, 4_096)
    assert text.startswith("Before these: search 10 times\n")
    assert text.count("- search(pattern=pppp") == 40
    assert "much" not in text
    assert max(map(len, text.splitlines())) <= 162


def test_failing_tests_are_those_that_failed_last():
    def ran(n, output, outcome="failed", tool="run_tests", **arguments):
        intent = {"kind": "intent", "id": f"{n}.1", "tool": tool, "arguments": arguments}
        return [intent, {"kind": "result", "id": f"{n}.1", "outcome": outcome, "output": output}]

    three = "failed: t/a.py::one\nfailed: t/a.py::two\nfailed: t/b.py::three"
    summary = "== short test summary info ==\nPASSED t/a.py::one\nFAILED t/c.py::four - assert 0\n"
    records = ran(1, three)
    assert facts(records).failing == ("t/a.py::one", "t/a.py::two", "t/b.py::three")
    records += ran(2, "1 passed", "ok", target="t/b.py")
    assert facts(records).failing == ("t/a.py::one", "t/a.py::two")
    records += ran(3, summary, tool="run_command", command="pytest")
    assert facts(records).failing == ("t/a.py::two", "t/c.py::four")
    records += ran(4, "all good", "ok", tool="run_command", command="ls")
    assert facts(records).failing == ("t/a.py::two", "t/c.py::four")
    records += ran(5, "9 passed", "ok")
    assert facts(records) == Facts()


def test_when_it_is_needed():
    assert not needs(None, 10**9, 100)
    assert not needs(10_000, 6_000, 2_000)
    assert needs(10_000, 7_000, 2_000)
    assert not needs(10_000, 7_000, 2_000, since=6_900)
    assert needs(10_000, 7_800, 2_000, since=6_900)
    assert not needs(10_000, 8_100, 2_000, since=8_100)
    assert needs(10_000, 9_600, 2_000, since=9_600)
    assert room(8_000, 8_000) == 5_333


@given(st.integers(600, 200_000), st.integers(0, 200_000), st.integers(1, 20_000), st.none() | st.integers(0, 200_000))
def test_what_need_not_be_shorter_leaves_tokens_for_a_reply(context, prompt, reply, since):
    assert needs(context, prompt, reply, since) or 0 < left(context, prompt) < context - prompt


def test_results_stand_in_the_order_of_the_calls():
    it = Transcript("s")
    it.user("go")
    it.reply(Reply(calls=(ToolCall("a"), ToolCall("b"), ToolCall("c"))), 4)
    it.result("third", "4.3")
    it.result("first", "4.1")
    it.steer("hurry")
    it.result("second", "4.2")
    assert [turn.message.content for turn in it.turns] == ["go", "", "first", "second", "third", "hurry"]
    assert [replace(turn, message=it.turns[1].message).call for turn in it.turns[2:5]] == ["4.1", "4.2", "4.3"]
