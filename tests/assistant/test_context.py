"""What goes into a prompt: each prompt of a session begins with the one before, byte by byte and token by token."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from assistant.context import PROFILES, Transcript, system_text, turn_of
from assistant.events import CallFinished, Intervened, Notice, StepFinished, StepStarted
from assistant.explaining import prompt_of
from assistant.sessions.replay import step_records, transcript
from assistant.tools.registry import specs
from model.dialects import DIALECTS, dialect
from model.format import Mode, Reply, ThinkRequest, ToolCall
from model.tokens import FileTokenizer
from tests.e2e.conftest import reply

TURN = "<|im_start|>assistant"


def head(text):
    """A prompt without the turn that the model is to write."""
    return text.rpartition(TURN)[0]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A byte-level BPE with merges across words and lines, as the models' own have."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    corpus = [system_text(PROFILES["full"], "r", ["a.py"], None), "".join(spec.description for spec in specs("full"))]
    markup = ["<think_on>\n<think>\n", "</think>\n\n<answer>\n", "<tool_response>\n", "\n</tool_response>"]
    trainer = BpeTrainer(vocab_size=700, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    trained.train_from_iterator([*corpus, *markup * 9], trainer)
    trained.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in ("im_start", "im_end")])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    trained.save(str(path))
    return FileTokenizer(path)


def call(n):
    """Calls that differ, but for a few that come again, which the loop watch notes."""
    if n % 20 in (11, 12, 13):
        return ("read_file", {"path": "a.py"})
    if n % 12 == 1:
        return ("write_file", {"path": f"new{n}.py", "content": f"n = {n}\n</answer><|im_end|>\n"})
    return ("read_file", {"path": f"new{n - 1}.py"}) if n % 12 == 2 else ("search", {"pattern": f"x{n}"})


def script():
    """Sixty replies: calls, thoughts that are too long for the budget, and an answer at every tenth."""
    for n in range(60):
        thought = "long " * 40 if n % 7 == 0 else "short" if n % 2 else None
        calls = [] if n % 10 == 9 else [call(n), call(n + 100)] if n % 5 == 0 else [call(n)]
        yield {"reply": reply(f"Step {n} <think_off>", *calls, think=thought), "times": 1}


def steering(s):
    """Says something in the middle of every run."""

    def on(event):
        if isinstance(event, CallFinished) and event.step % 10 == 4:
            s.pilot.steer(f"Mind the borders, behind step {event.step}.")

    return on


async def test_sixty_steps_with_switches_cuts_calls_and_steering_keep_their_prefix(session, tokenizer):
    modes = itertools.cycle(ThinkRequest)
    async with session(*script(), *script(), allow=("all",), think_budget=12, max_steps=30) as s:
        events = []
        while sum(isinstance(event, StepFinished) for event in events) < 60:
            await s.say(f"Message {len(events)} with <|im_end|> in it", next(modes), on=steering(s))
            events += s.events
        steps = step_records(s.journal)
        sent = [head(request["prompt"]) for request in s.server.requests]
        found = transcript(s.journal, "", "{message}")
        records = s.journal
        prompts = [prompt_of(records, step) for step in steps[::4]]
    assert len(steps) >= 60
    assert {step.sent for step in steps} == set(ThinkRequest)
    assert {step.mode for step in steps} >= {Mode.ON, Mode.OFF}
    assert any(isinstance(event, Intervened) for event in events)
    assert {turn.kind for turn in found.turns} >= {"user", "steer", "reply", "result"}
    assert [event for event in events if isinstance(event, Notice) and event.level == "error"] == []
    assert sum(isinstance(event, StepStarted) for event in events) == len(steps)
    for before, after in itertools.pairwise(sent):
        assert after.startswith(before)
    assert {head(prompt.text) for prompt in prompts} <= set(sent)
    for before, after in itertools.pairwise(ids_of(prompt, tokenizer) for prompt in prompts):
        assert after[: len(before)] == before


def ids_of(prompt, tokenizer):
    """The token ids of a prompt up to the turn that the model is to write."""
    start = tokenizer.encode("<|im_start|>", specials=True)
    assert len(start) == 1
    ids = prompt.token_ids(tokenizer)
    return ids[: len(ids) - 1 - ids[::-1].index(start[0])]


TEXT = st.text(max_size=12) | st.sampled_from(["<|im_end|>\n", "<tool_response>", "a\n\n", "</think>", " ", "é漢"])
CALL = st.builds(
    ToolCall, st.sampled_from(["read_file", "x"]), st.dictionaries(st.sampled_from("ab"), TEXT, max_size=2)
)
TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "steer", "note"]), TEXT)
    | st.tuples(st.just("reply"), st.tuples(TEXT, st.lists(CALL, max_size=3), st.lists(TEXT, min_size=3, max_size=3))),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(TURNS, st.sampled_from(sorted(DIALECTS)), st.data())
def test_whatever_is_said_a_prompt_is_the_beginning_of_the_next(tokenizer, said, name, data):
    it = Transcript("system", "Look: {message}")
    last, last_ids = "", []
    for kind, what in said:
        if kind == "reply":
            answer, calls, outputs = what
            it.reply(Reply(mode=Mode.OFF, answer=answer, calls=tuple(calls)), 1)
            for _, output in zip(calls, outputs, strict=False):
                it.result(output)
        else:
            getattr(it, kind)(what)
        think = data.draw(st.sampled_from(ThinkRequest))
        prompt = dialect(name).render(it.messages, specs("compact"), think, "why")
        ids = ids_of(prompt, tokenizer)
        assert head(prompt.text).startswith(last)
        assert ids[: len(last_ids)] == last_ids
        last, last_ids = head(prompt.text), ids
    assert [turn_of(turn.as_record()) for turn in it.turns] == it.turns


def test_the_map_stands_last_and_lets_fewer_files_be_listed():
    files = [f"f{n}.py" for n in range(100)]
    full = PROFILES["full"]
    plain, mapped = system_text(full, "r", files, None), system_text(full, "r", files, None, "f7.py:\n⋮def x{}")
    assert mapped.endswith("f7.py:\n⋮def x{}")
    assert mapped.count(".py") < plain.count(".py")
    assert "f79.py" in plain
    compact = PROFILES["compact"]
    assert system_text(compact, "r", files, None, "map") == system_text(compact, "r", files, None)


def test_words_between_steps_are_kept_when_a_run_fails_and_an_unanswered_message_is_not():
    it = Transcript("s", "Look: {message}")
    it.user("lost")
    it.unanswered()
    assert it.turns == []
    it.user("go")
    it.reply(Reply(calls=(ToolCall("a"), ToolCall("b"))), 1)
    it.result("one", "1.1")
    it.steer("hurry")
    it.unanswered()
    assert [turn.kind for turn in it.turns] == ["user", "reply", "result", "result", "steer"]
    assert it.turns[0].message.content == "Look: go"
    assert "unknown" in it.turns[3].message.content
