"""Prompts: byte for byte as the chat template has them, and safe whatever the text."""

import gc
import json
import re
import weakref
from importlib import resources

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from model.dialects import DIALECTS, dialect, dialect_of_model
from model.escape import JOINER
from model.format import Mode, Segment, ThinkRequest, ToolCall
from model.prompt import Message, Prompt, ToolSpec
from model.tokens import FileTokenizer

KAT = DIALECTS["kat"]
TOOL = ToolSpec("read_file", "Read a file.", {"type": "object", "properties": {"path": {"type": "string"}}})


def template():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(resources.files("model").joinpath("dialects", "kat.jinja").read_text("utf-8"))


def as_openai(message):
    calls = [{"name": c.name, "arguments": c.arguments} for c in message.calls]
    return {"role": message.role, "content": message.content, "tool_calls": calls}


def test_kat_without_tools_or_system():
    prompt = KAT.render([Message("user", "hello")], [], ThinkRequest.AUTO, "")
    assert prompt.text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n<judge>\n"
    )


def test_kat_tools_without_a_system_message_keep_it_empty():
    prompt = KAT.render([Message("user", "hi")], [TOOL], ThinkRequest.AUTO, "")
    assert prompt.text.startswith("<|im_start|>system\n\n\n# Tools\n\nYou may call one or more functions")
    line = '{"type": "function", "function": {"name": "read_file", "description": "Read a file.", "parameters": '
    assert f"<tools>\n{line}" in prompt.text


def test_kat_merges_tool_results_into_one_user_turn():
    call = ToolCall("read_file", {"path": "ä.py"})
    messages = [
        Message("user", "q"),
        Message("assistant", "", (call, call)),
        Message("tool", "1"),
        Message("tool", "2"),
    ]
    text = KAT.render(messages, [], ThinkRequest.AUTO, "").text
    assert (
        '<|im_start|>assistant\n<tool_call>\n{"name": "read_file", "arguments": {"path": "ä.py"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "read_file", "arguments": {"path": "ä.py"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<judge>\n"
    ) in text


harmless = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=30)
arguments = st.dictionaries(harmless, harmless | st.integers() | st.none(), max_size=3)
calls = st.lists(st.builds(ToolCall, st.from_regex(r"[a-z_]{1,9}", fullmatch=True), arguments), max_size=2).map(tuple)
messages = st.lists(
    st.one_of(
        st.builds(Message, st.sampled_from(["user", "tool"]), harmless),
        st.builds(Message, st.just("assistant"), harmless, calls),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(system=st.none() | harmless, turns=messages, with_tools=st.booleans())
def test_kat_equals_the_template_byte_for_byte(system, turns, with_tools):
    everything = ([Message("system", system)] if system is not None else []) + turns
    tools = [TOOL] if with_tools else []
    expected = template().render(
        messages=[as_openai(m) for m in everything],
        tools=[t.as_openai() for t in tools],
        add_generation_prompt=True,
    )
    assert KAT.render(everything, tools, ThinkRequest.AUTO, "").text == expected


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(start=messages, ways=st.lists(st.tuples(st.integers(0, 9), messages, st.booleans()), max_size=4))
def test_a_conversation_that_grew_or_changed_is_written_as_if_it_were_new(name, start, ways):
    """Each way keeps some messages of the conversation before and goes on from there, with the same tools or others."""
    speaker, conversation = type(DIALECTS[name])(), start
    for kept, more, with_tools in [(0, start, True), *ways]:
        conversation = [*conversation[:kept], *more]
        tools = (TOOL,) if with_tools else ()
        prompt = speaker.render(conversation, tools, ThinkRequest.ON, "Why.")
        assert prompt == type(speaker)().render(conversation, tools, ThinkRequest.ON, "Why.")


def test_arguments_that_are_equal_but_look_apart_are_written_as_they_are():
    speaker = type(KAT)()
    for value in (1, True, 1.0):
        said = [Message("assistant", "", (ToolCall("read_file", {"line": value}),)), Message("tool", "x")]
        assert f'"line": {json.dumps(value)}' in speaker.render(said, (), ThinkRequest.AUTO, "").text


def test_the_template_strips_history_to_answers():
    old = "why\n</judge>\n\n<think_on>\n<think>\nlong\n</think>\n\n<answer>\nshort\n</answer>"
    rendered = template().render(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": old},
            {"role": "user", "content": "b"},
        ],
        add_generation_prompt=True,
    )
    ours = KAT.render(
        [Message("user", "a"), Message("assistant", "short"), Message("user", "b")], [], ThinkRequest.AUTO, ""
    )
    assert rendered == ours.text


CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|</?(?:judge|think|answer|tool_call|tool_response|tools)>|<think_o(?:n|ff)>|</?(?:function|parameter)[=>]"
)
hostile = st.lists(
    st.sampled_from([
        "<|im_end|>", "<|im_start|>", "<|endoftext|>", "</answer>", "<tool_call>", "</tool_call>", "</tool_response>",
        "<tools>", "<judge>", "<think_off>", "</think>", "<function=", "<parameter=x>", "</parameter>", "<", JOINER,
        f"<{JOINER}", "system\n", "/", ">", "<|fim_prefix|>",
    ])
    | st.text(max_size=5),
    max_size=12,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=300, deadline=None)
@given(system=hostile, user=hostile, tool=hostile, argument=hostile)
def test_hostile_text_never_becomes_a_control_token(name, system, user, tool, argument):
    def prompt(system, user, tool, argument):
        call = ToolCall("edit_file", {"new": argument})
        history = [
            Message("system", system),
            Message("user", user),
            Message("assistant", user, (call,)),
            Message("tool", tool),
        ]
        return DIALECTS[name].render(history, [TOOL], ThinkRequest.AUTO, "").text

    assert CONTROL.findall(prompt(system, user, tool, argument)) == CONTROL.findall(prompt("s", "u", "t", "a"))


class WordTokenizer:
    """Ids for `<|im_end|>` and its kind are negative, all else is a code point."""

    def encode(self, text, *, specials):
        pattern = r"<\|[^|<>\s]+\|>|." if specials else "."
        return [-1 if len(m) > 1 else ord(m) for m in re.findall(pattern, text, re.DOTALL)]


@settings(max_examples=500, deadline=None)
@given(hostile)
def test_token_ids_hold_only_our_own_specials(text):
    def specials(prompt: Prompt):
        return sum(token == -1 for token in prompt.token_ids(WordTokenizer()))

    assert specials(KAT.render([Message("user", text)], [], ThinkRequest.AUTO, "")) == specials(
        KAT.render([Message("user", "x")], [], ThinkRequest.AUTO, "")
    )


def plain_added_tokens(path):
    """A tokenizer.json whose `<|fim_prefix|>` and `<tool_call>` are added tokens that are not marked as special."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "x": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_tokens([AddedToken(word, special=False) for word in ("<|fim_prefix|>", "<tool_call>")])
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    tokenizer.save(str(path))
    return FileTokenizer(path), {tokenizer.token_to_id(word) for word in ("<|fim_prefix|>", "<tool_call>")}


def test_added_tokens_that_are_not_special_do_not_come_out_of_text(tmp_path):
    tokenizer, control = plain_added_tokens(tmp_path / "tokenizer.json")
    assert control & set(tokenizer.encode("<|fim_prefix|><tool_call>", specials=False)) == control
    prompt = KAT.render([Message("user", "x <|fim_prefix|> <tool_call> x")], [], ThinkRequest.AUTO, "")
    assert not control & set(prompt.token_ids(tokenizer))


def test_a_tokenizer_is_freed_when_it_is_dropped(tmp_path):
    tokenizer, _ = plain_added_tokens(tmp_path / "tokenizer.json")
    tokenizer.encode("x", specials=False)
    gone = weakref.ref(tokenizer)
    gc.disable()
    try:
        del tokenizer
        assert gone() is None
    finally:
        gc.enable()


def test_surrogates_can_be_tokenized(tmp_path):
    tokenizer, _ = plain_added_tokens(tmp_path / "tokenizer.json")
    assert KAT.render([Message("user", "a\ud83d")], [], ThinkRequest.AUTO, "").token_ids(tokenizer)


@pytest.mark.parametrize("name", ["kat", "qwen3"])
@pytest.mark.parametrize("think", [ThinkRequest.ON, ThinkRequest.OFF])
def test_a_forced_opening_puts_the_parser_where_the_model_goes_on(name, think):
    prompt = DIALECTS[name].render([Message("user", "q")], [], think, "The user said so.")
    assert prompt.text.endswith(prompt.opening.text)
    parser = DIALECTS[name].parser()
    parser.feed(prompt.opening.text)
    assert parser.segment is prompt.opening.segment
    parser.feed("text")
    parser.close()
    assert parser.reply.mode is Mode(think)


def test_a_cut_thought_goes_on_or_ends_in_an_answer():
    prompt = KAT.render([Message("user", "q")], [TOOL], ThinkRequest.ON, "Hard.")
    written = prompt.opening.text + "half a thou"
    resumed = KAT.reopen(prompt, KAT.resume(written, Segment.THINK))
    assert resumed.text.endswith("<judge>\nHard.\n</judge>\n\n<think_on>\n<think>\nhalf a thou")
    ended = KAT.reopen(resumed, KAT.cut(written, Segment.THINK))
    assert ended.text.endswith("<think>\nhalf a thou\n</think>\n\n<answer>\n")
    assert ended.opening.segment is Segment.ANSWER
    judged = KAT.reopen(prompt, KAT.cut("long judge", Segment.JUDGE))
    assert judged.text.endswith("<|im_start|>assistant\n<judge>\nlong judge\n</judge>\n\n")


def test_dialects_by_name():
    assert dialect_of_model("Kwaipilot/KAT-V1-40B") == "kat"
    assert dialect_of_model("Kwaipilot/KAT-Dev") == "qwen3_coder"
    assert dialect_of_model("Qwen/Qwen3-8B") == "qwen3"
    with pytest.raises(ValueError, match="there are kat, qwen3_coder, qwen3"):
        dialect("klingon")


@pytest.mark.parametrize("think", ThinkRequest)
def test_a_prompt_says_what_it_really_asks(think):
    asked = {name: DIALECTS[name].render([Message("user", "q")], [], think, "Why.").think for name in DIALECTS}
    assert asked == {"kat": think, "qwen3": think, "qwen3_coder": ThinkRequest.AUTO}


@pytest.mark.parametrize("name", DIALECTS)
def test_an_open_thought_is_ended_and_an_answer_goes_on(name):
    speaker = DIALECTS[name]
    assert speaker.cut("written ", Segment.THINK) == speaker.answer("written ", Segment.THINK)
    assert speaker.cut("written ", Segment.THINK).segment is Segment.ANSWER
    for ended in (speaker.cut, speaker.answer):
        assert ended("written ", Segment.ANSWER).text == "written "


@pytest.mark.parametrize("segment", [Segment.JUDGE, Segment.MODE])
def test_a_judge_that_is_ended_for_an_answer_does_not_think(segment):
    written = "Why" if segment is Segment.JUDGE else "Why\n</judge>\n\n"
    assert KAT.answer(written, segment).text == "Why\n</judge>\n\n<think_off>\n<answer>\n"
