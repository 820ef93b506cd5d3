"""The grammar, read in pieces of any size."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.calls import XmlCallReader
from model.dialects import DIALECTS
from model.escape import JOINER, escape, unescape
from model.format import (
    CallReady,
    Mode,
    ModeChosen,
    Reply,
    ReplyParser,
    Segment,
    TextDelta,
    ToolCall,
    think_tag_grammar,
)

KAT = DIALECTS["kat"]
TAGS = [
    "<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>",
    "<tool_call>", "</tool_call>", "<|im_end|>", "<|endoftext|>",
]  # fmt: skip
CALL = '{"name": "edit_file", "arguments": {"path": "a.py", "new": "x = \\"</tool_call>\\""}}'


def parse(chunks, parser=None):
    parser = parser or ReplyParser()
    deltas = [delta for chunk in chunks for delta in parser.feed(chunk)]
    deltas += parser.close()
    return parser.reply, deltas


def text_of(deltas, segment):
    return "".join(d.text for d in deltas if isinstance(d, TextDelta) and d.segment is segment)


def without_text(deltas):
    return [delta for delta in deltas if not isinstance(delta, TextDelta)]


def pieces(text, cuts):
    edges = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


THINKING = (
    f"Needs care.\n</judge>\n\n<think_on>\n<think>\nfirst\n\nsecond\n</think>\n\n<answer>\nDone.\n</answer>\n"
    f"<tool_call>\n{CALL}\n</tool_call><|im_end|>"
)


def test_a_reply_with_everything():
    reply, deltas = parse([THINKING])
    assert reply.judge == "Needs care."
    assert reply.mode is Mode.ON
    assert reply.think == "first\n\nsecond"
    assert reply.answer == "Done."
    assert reply.calls == (ToolCall("edit_file", {"path": "a.py", "new": 'x = "</tool_call>"'}, CALL),)
    assert reply.closed
    assert [d.mode for d in deltas if isinstance(d, ModeChosen)] == [Mode.ON]


def test_segments_come_out_as_they_grow():
    parser = ReplyParser()
    assert parser.feed("Needs ca") == [TextDelta(Segment.JUDGE, "Needs ca")]
    assert parser.feed("re.\n</jud") == [TextDelta(Segment.JUDGE, "re.")]
    assert parser.feed("ge>\n\n<think_off>\n<answer>\nIt") == [ModeChosen(Mode.OFF), TextDelta(Segment.ANSWER, "It")]
    assert parser.feed(" is.\n") == [TextDelta(Segment.ANSWER, " is.")]


def test_a_call_comes_only_when_whole():
    parser = ReplyParser()
    parser.feed('easy\n</judge>\n<think_off>\n<tool_call>\n{"name": "finish", "argu')
    assert parser.reply.calls == ()
    deltas = parser.feed('ments": {}}\n</tool_call>')
    assert isinstance(deltas[-1], CallReady)
    assert text_of(deltas, Segment.TOOL) == 'ments": {}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w</judge><think_off><answer>a</answer>", Reply("w", Mode.OFF, "", "a", closed=True)),
        ("w</judge><think_on><think>t</think><answer>a</answer>", Reply("w", Mode.ON, "t", "a", closed=True)),
        ("w\n</judge>\n<think_on>\nt\n</think>\na", Reply("w", Mode.ON, "t", "a")),
        ("w\n<think_off>\na", Reply("w", Mode.OFF, "", "a")),
        ("w\n</judge>\n\na", Reply("w", Mode.OFF, "", "a")),
        ("w\n</judge>\n\n<answer>\na", Reply("w", Mode.OFF, "", "a")),
        ("<judge>\nw\n</judge>\n<think_off>\n<answer>\na\n</answer>", Reply("w", Mode.OFF, "", "a", closed=True)),
        ("w\n</judge>\n\n<think_on>\n<think>\nt\n<answer>\na", Reply("w", Mode.ON, "t", "a")),
        ("w\n</judge>\n\n<think_on>\n<think>\nsay <answer> twice", Reply("w", Mode.ON, "say <answer> twice", "")),
        ("w\n</judge>\n\n<think_off>\n<think>\nt\n</think>\na", Reply("w", Mode.ON, "t", "a")),
        ("w\n<think_off>\na `</answer>` b\n</answer>", Reply("w", Mode.OFF, answer="a `</answer>` b", closed=True)),
        ("w\n</judge>\n<think_off>\n<answer>\na\n</answer>\nb", Reply("w", Mode.OFF, "", "a\n\nb", closed=True)),
        ("On <answer>, <think>\n</judge>\n<think_off>\na", Reply("On <answer>, <think>", Mode.OFF, answer="a")),
        ("w\n<think_off>\nuse `x`</answer>", Reply("w", Mode.OFF, answer="use `x`", closed=True)),
        ("w\n<think_off>\n```\nx\n```</answer>", Reply("w", Mode.OFF, answer="```\nx\n```", closed=True)),
        ("w\n<think_off>\n```py\nx\n</answer>", Reply("w", Mode.OFF, answer="```py\nx", closed=True)),
        ("w\n<think_off>\nf('</answer>')\n</answer>", Reply("w", Mode.OFF, answer="f('</answer>')", closed=True)),
        ("w\n<think_on>\na `</think>` then\n</think>\na", Reply("w", Mode.ON, "a `</think>` then", "a")),
        ("w\n<think_on>\n``</think>`` '</think>'\n</think>\na", Reply("w", Mode.ON, "``</think>`` '</think>'", "a")),
        ("w", Reply("w", None, "", "")),
        ("", Reply()),
    ],
)  # fmt: skip
def test_tolerates_what_models_leave_out(text, expected):
    assert parse([text])[0] == expected
    assert parse(list(text))[0] == expected


def test_a_call_inside_the_answer_and_several_calls():
    one, two = '{"name": "a", "arguments": {}}', '{"name": "b", "arguments": {"x": 1}}'
    text = f"w\n<think_off>\n<answer>\nLook.<tool_call>{one}</tool_call>\n<tool_call>\n{two}\n</tool_call>\n</answer>"
    reply, _ = parse([text])
    assert [call.name for call in reply.calls] == ["a", "b"]
    assert reply.answer == "Look."


FENCE = "w\n<think_off>\nSo:\n```xml\n<tool_call>\n{}\n</tool_call>\n```\nThat is all.\n</answer>"


@pytest.mark.parametrize(
    "text", [FENCE, "w\n<think_off>\nWrite `<tool_call>{}</tool_call>`.", "w\n<think_off>\n'<tool_call>'"]
)
def test_a_call_that_is_only_quoted_is_text(text):
    reply, _ = parse(list(text))
    assert reply.calls == ()
    assert "<tool_call>" in reply.answer


def test_a_call_right_behind_code_is_a_call():
    reply, _ = parse(['w\n<think_off>\nsee `x`<tool_call>{"name": "a", "arguments": {}}</tool_call>'])
    assert [call.name for call in reply.calls] == ["a"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"name": "a"', "not valid JSON"),
        ("[1, 2]", "a call is an object"),
        ('{"name": 3, "arguments": {}}', "is a string"),
        ('{"arguments": {}}', "a call is an object"),
        ('{"name": "a", "arguments": "{"}', "not valid JSON"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested"),
    ],
)
def test_a_broken_call_says_what_is_wrong(body, error):
    reply, _ = parse([f"w</judge><think_off><answer>a</answer><tool_call>{body}</tool_call>"])
    assert error in (reply.calls[0].error or "")
    assert reply.calls[0].raw == body


def test_arguments_as_a_json_string_are_read():
    reply, _ = parse(['w</judge><tool_call>{"name": "a", "arguments": "{\\"x\\": 1}"}</tool_call>'])
    assert reply.calls[0].arguments == {"x": 1}


def test_xml_calls_keep_their_values_as_text():
    parser = ReplyParser(think_tag_grammar(XmlCallReader))
    text = (
        "I look.\n<tool_call>\n<function=edit_file>\n<parameter=path>\na.py\n</parameter>\n"
        "<parameter=new>\n  </tool_call>\n  if a < b:\n</parameter>\n</function>\n</tool_call>"
    )
    reply, _ = parse(list(text), parser)
    assert reply.calls[0].name == "edit_file"
    assert reply.calls[0].arguments == {"path": "a.py", "new": "  </tool_call>\n  if a < b:"}
    assert (reply.answer, reply.mode) == ("I look.", Mode.OFF)


@pytest.mark.parametrize(
    ("text", "mode", "think", "answer"),
    [
        ("<think>\nt\n</think>\n\na", Mode.ON, "t", "a"),
        ("<think>\n\n</think>\n\na", Mode.OFF, "", "a"),
        ("a < b", Mode.OFF, "", "a < b"),
        ("<think>t", Mode.ON, "t", ""),
    ],
)
def test_think_tags(text, mode, think, answer):
    reply, _ = parse(list(text), DIALECTS["qwen3"].parser())
    assert (reply.mode, reply.think, reply.answer) == (mode, think, answer)


fragments = st.one_of(
    st.sampled_from([*TAGS, "\n", "\n\n", " ", "<", "</", "`", JOINER, f"<{JOINER}", CALL, '"', "\\", "a < b"]),
    st.text(max_size=12),
)
replies = st.one_of(st.lists(fragments, max_size=25).map("".join), st.just(THINKING))


CHUNKINGS = 10


@settings(max_examples=1_000, deadline=None)
@given(text=replies, seed=st.integers(0, 2**32))
@example(text="<judge", seed=0)
@example(text=THINKING, seed=1)
def test_any_chunking_reads_the_same(text, seed):
    """1,000 replies, each in 10 chunkings: whole, in single characters, and at 8 random sets of cuts."""
    whole, whole_deltas = parse([text])
    chosen = random.Random(seed)
    cuts = [[chosen.randint(0, len(text)) for _ in range(chosen.randint(1, 20))] for _ in range(CHUNKINGS - 2)]
    for chunking in ([text], list(text), *(pieces(text, some) for some in cuts)):
        reply, deltas = parse(chunking)
        assert reply == whole
        for segment in (Segment.JUDGE, Segment.THINK, Segment.ANSWER, Segment.TOOL):
            assert text_of(deltas, segment) == text_of(whole_deltas, segment)
        assert without_text(deltas) == without_text(whole_deltas)
        shown = [text_of(deltas, segment) for segment in (Segment.JUDGE, Segment.THINK, Segment.ANSWER)]
        assert shown == [reply.judge, reply.think, reply.answer]


plain = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60).map(str.strip)
calls = st.builds(
    lambda name, arguments: ToolCall(name, arguments),
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), plain | st.integers() | st.booleans(), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(judge=plain, think=plain, answer=plain.filter(bool), calls=st.lists(calls, max_size=3), on=st.booleans())
def test_what_is_written_reads_back(judge, think, answer, calls, on):
    mode = Mode.ON if on else Mode.OFF
    written = Reply(judge, mode, think if on else "", answer, tuple(calls), closed=True)
    reply, _ = parse([KAT.write(written)])
    assert (reply.judge, reply.mode, reply.think, reply.answer) == (judge, mode, written.think, answer)
    assert [(c.name, c.arguments) for c in reply.calls] == [(c.name, c.arguments) for c in calls]


@settings(max_examples=1_000, deadline=None)
@given(replies)
def test_escape_is_reversible_and_leaves_no_control_token(text):
    assert unescape(escape(text)) == text
    assert not any(
        tag in escape(text) for tag in [*TAGS, "<tools>", "</tools>", "<tool_response>", "<function=", "<|im_start|>"]
    )
