"""Tool calls in both notations: what is broken says so, and what is written reads back."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.calls import XmlCallReader, read_json_call
from model.dialects import DIALECTS
from model.escape import JOINER
from model.format import Reply, Segment, ThinkRequest, ToolCall
from model.prompt import Message, Opening, ToolSpec

CODER = DIALECTS["qwen3_coder"]
BAD_NAMES = ["", "a b", "a>", "x" * 65, "</tool_call>", "<|im_end|>", "a\n"]


def parsed(name: str, text: str, *, piecewise: bool = False) -> Reply:
    parser = DIALECTS[name].parser()
    for chunk in text if piecewise else [text]:
        parser.feed(chunk)
    parser.close()
    return parser.reply


def call_in(body: str) -> ToolCall:
    reply = parsed("qwen3_coder", f"<tool_call>\n{body}\n</tool_call>")
    assert [reply] == [parsed("qwen3_coder", f"<tool_call>\n{body}\n</tool_call>", piecewise=True)]
    assert (len(reply.calls), reply.answer) == (1, "")
    return reply.calls[0]


@pytest.mark.parametrize("number", ["9" * 5000, "NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_number_that_json_does_not_have_is_an_error(number: str, quoted: bool) -> None:
    arguments = f'"{{\\"start\\": {number}}}"' if quoted else f'{{"start": {number}}}'
    body = f'{{"name": "a", "arguments": {arguments}}}'
    reply = parsed("kat", f"w</judge><think_off><tool_call>{body}</tool_call>")
    assert "not valid JSON" in (reply.calls[0].error or "")
    assert reply.calls[0].raw == body


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (r'{"x": "a\ud83d"}', {"x": "a\ufffd"}),
        (r'{"\udead": [{"y": "\udc00b"}]}', {"\ufffd": [{"y": "\ufffdb"}]}),
        (r'{"x": "\ud83d\ude00"}', {"x": "😀"}),
        ('{"x": "\ud83d"}', {"x": "\ufffd"}),
        ('{"x": 1.5e3}', {"x": 1500.0}),
    ],
)
def test_values_can_always_be_encoded(raw: str, arguments: dict[str, object]) -> None:
    call = read_json_call(f'{{"name": "a", "arguments": {raw}}}')
    assert (call.error, call.arguments) == (None, arguments)
    repr(call.arguments).encode()
    call.raw.encode()


@pytest.mark.parametrize("name", DIALECTS)
def test_surrogates_anywhere_in_a_prompt_are_replaced(name: str) -> None:
    bad = "a\ud83db"
    history = [
        Message("system", bad),
        Message("user", bad),
        Message("assistant", bad, (ToolCall("f", {"x": bad}), ToolCall("", {}, bad, "broken"))),
        Message("tool", bad),
    ]
    speaker = DIALECTS[name]
    prompt = speaker.render(history, [ToolSpec("f", bad)], ThinkRequest.ON, bad)
    again = speaker.reopen(
        speaker.reopen(prompt, Opening(f"one {bad}", Segment.ANSWER)), Opening("two", Segment.ANSWER)
    )
    for made in (prompt, again):
        made.text.encode()
        assert "a\ufffdb" in made.text
    assert again.text.endswith("assistant\n" + ("<judge>\n" if name == "kat" else "") + "two")


def test_an_xml_call_of_the_past_is_byte_for_byte_the_templates() -> None:
    call = ToolCall("edit_file", {"path": "a.py", "new": "if a < b:\n    pass\n", "count": 2, "all": True})
    text = CODER.render([Message("assistant", "I edit.", (call,))], [], ThinkRequest.AUTO, "").text
    assert text == (
        "<|im_start|>assistant\nI edit.\n\n<tool_call>\n<function=edit_file>\n<parameter=path>\na.py\n</parameter>\n"
        "<parameter=new>\nif a < b:\n    pass\n\n</parameter>\n<parameter=count>\n2\n</parameter>\n"
        "<parameter=all>\ntrue\n</parameter>\n</function>\n</tool_call><|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("bad", BAD_NAMES)
def test_names_that_are_none_are_unknown(name: str, bad: str) -> None:
    def written(function: str, parameter: str) -> str:
        return DIALECTS[name].write(Reply(answer="a", calls=(ToolCall(function, {parameter: "v"}),)))

    assert written(bad, "x") == written("unknown", "x")
    if name == "qwen3_coder":
        assert written("f", bad) == written("f", "unknown")


hostile = st.lists(
    st.sampled_from([
        "</parameter>", "<parameter=x>", "<parameter=", "</function>", "<function=f>", "</tool_call>", "<tool_call>",
        "\n", "\r\n", "\r", " ", "<", ">", "/", JOINER, f"<{JOINER}", "<|im_end|>", "</think>", "```", "x",
    ])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    max_size=10,
).map("".join)  # fmt: skip
answers = hostile.map(lambda text: text.replace("`", "").replace("~", "").strip()).filter(bool)
names = st.from_regex(r"[\w.-]{1,12}", fullmatch=True)
calls = st.builds(ToolCall, names, st.dictionaries(names, hostile, max_size=3))


@settings(max_examples=500, deadline=None)
@given(answer=answers, calls=st.lists(calls, max_size=3), size=st.integers(1, 9))
@example(answer="a", calls=[ToolCall("f", {"x": "a\n</parameter>\n</function>\n</tool_call>\nb"})], size=1)
@example(answer="a", calls=[ToolCall("f", {"x": "\n</parameter>\n<parameter=y>\nz\n"})], size=1)
@example(answer="a", calls=[ToolCall("f", {"x": "<", "y": "", "z": "\n", "end": "x\r"})], size=2)
def test_what_the_coder_dialect_writes_reads_back(answer: str, calls: list[ToolCall], size: int) -> None:
    text = CODER.write(Reply(answer=answer, calls=tuple(calls)))
    parser = CODER.parser()
    for start in range(0, len(text), size):
        parser.feed(text[start : start + size])
    parser.close()
    assert parser.reply.answer == answer
    assert [(c.name, c.arguments, c.error) for c in parser.reply.calls] == [(c.name, c.arguments, None) for c in calls]


@pytest.mark.parametrize(
    "value",
    [
        "a </parameter> b",
        "re.compile(r'<parameter=(.*?)</parameter>')",
        "<parameter=x>\n1 </parameter> and\n</function> then",
        "see </parameter>\n  or not",
        "  </tool_call>\n  x",
        "",
    ],
)
def test_a_value_may_hold_what_looks_like_tags(value: str) -> None:
    body = f"<function=f>\n<parameter=new>\n{value}\n</parameter>\n<parameter=y>\n1\n</parameter>\n</function>"
    call = call_in(body)
    assert (call.name, call.arguments, call.error) == ("f", {"new": value, "y": "1"}, None)
    assert call.raw == body


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("<function=f><parameter=x>1</parameter><parameter=y>2</parameter></function>", {"x": "1", "y": "2"}),
        ("<function=f>\n<parameter=x>1</parameter> \n", {"x": "1"}),
        ("<function=f>\n<parameter=x></parameter>\n</function>", {"x": ""}),
        ("<function=f>\r\n<parameter=x>\r\na\r\nb\r\n</parameter>\r\n</function>", {"x": "a\r\nb"}),
        ("<function=f>\n<parameter=x>\na </parameter>\n</parameter>\n</function>", {"x": "a </parameter>"}),
        ("<function=f>\n</function>", {}),
    ],
)
def test_line_breaks_around_tags_are_as_the_model_likes(body: str, arguments: dict[str, str]) -> None:
    call = call_in(body)
    assert (call.arguments, call.error) == (arguments, None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("<function=f>\n<parameter=x>\n1\n</function>", "a parameter is not closed"),
        ("<function=f>\n</function>\n<function=g>\n</function>", "one function"),
        ("<function=f>\n<parameter=a b>\n1\n</parameter>\n</function>", "parameter's name"),
        ("<function=f>\n<parameter=" + "n" * 300 + ">\n1\n</parameter>\n</function>", "outside of the parameters"),
        ("<function=f g>\n</function>", "function's name"),
        ("<function=f>\n1\n</parameter>\n</function>", "outside of the parameters"),
        ("<function=f>\n</parameter>\n</function>", "not open"),
        ("<parameter=x>\n1\n</parameter>", "begins with <function=NAME>"),
        ('{"name": "f"}', "begins with <function=NAME>"),
        ("", "begins with <function=NAME>"),
    ],
)
def test_a_broken_xml_call_says_what_is_wrong(body: str, error: str) -> None:
    call = call_in(body)
    assert error in (call.error or "")
    assert call.arguments == {}


@pytest.mark.parametrize(
    ("value", "error"), [("1\n</parameter>", None), ("1</parameter>", None), ("1", "a parameter is not closed")]
)
def test_a_parameter_swallows_nothing_behind_its_call(value: str, error: str | None) -> None:
    text = f"<tool_call>\n<function=f>\n<parameter=x>\n{value}\n</function>\n</tool_call>\nAnd more."
    for piecewise in (False, True):
        reply = parsed("qwen3_coder", f"First.\n{text}", piecewise=piecewise)
        assert [call.error for call in reply.calls] == [error]
        assert reply.answer == "First.\n\nAnd more."


def test_reading_an_xml_call_is_linear() -> None:
    def seconds(count: int) -> float:
        reader = XmlCallReader()
        began = time.process_time()
        reader.feed("<function=f>\n<parameter=x>\n")
        for _ in range(count):
            reader.feed("a</parameter>")
            reader.feed(" ")
        reader.feed("\n</parameter>")
        assert len(reader.finish().arguments["x"]) == count * 14
        return time.process_time() - began

    assert seconds(80_000) < 12 * seconds(20_000) + 0.05


@settings(max_examples=300, deadline=None)
@given(hostile, hostile)
def test_a_schema_never_becomes_markup(key: str, required: str) -> None:
    def prompt(key: str, required: str) -> str:
        schema = {"type": "object", "properties": {"p": {"type": "string", key: "v"}}, "required": [required]}
        return CODER.render([Message("user", "q")], [ToolSpec("f", "d", schema)], ThinkRequest.AUTO, "").text

    tags = ("<tool_call>", "</tool_call>", "</tools>", "<|im_end|>", "<function=", "<parameter=", "</parameter>")
    plain, made = prompt("k", "r"), prompt(key, required)
    assert [made.count(tag) for tag in tags] == [plain.count(tag) for tag in tags]


def test_a_tool_is_described_as_the_template_does() -> None:
    schema = {"type": "object", "properties": {"p": {"type": "string", "description": " d "}}, "required": ["p"]}
    text = CODER.render([Message("user", "q")], [ToolSpec("f", "d", schema)], ThinkRequest.AUTO, "").text
    assert (
        "<function>\n<name>f</name>\n<description>d</description>\n<parameters>\n<parameter>\n<name>p</name>\n"
        '<type>string</type>\n<description>d</description>\n</parameter>\n<required>["p"]</required>\n</parameters>'
    ) in text
