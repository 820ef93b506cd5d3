"""The grammars, read as regular expressions, which they are: no rule refers to itself."""

from __future__ import annotations

import json
import re

import pytest

from model.format import Segment
from model.grammar import ANSWER_CHARACTERS, ARRAY_ITEMS, JUDGE_CHARACTERS, gbnf, whole
from model.prompt import ToolSpec

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[a-z][a-z0-9-]*|\{[\d,]+\}|[()|?*+]|\s+')


def as_regex(grammar: str, rule: str = "root") -> str:
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def expand(name: str) -> str:
        body, at, out = rules[name], 0, ""
        while at < len(body):
            token = _TOKEN.match(body, at)
            assert token, f"not GBNF at {body[at:]!r}"
            out += part(token[0])
            at = token.end()
        return f"(?:{out})"

    def part(token: str) -> str:
        if token.startswith('"'):
            return f"(?:{re.escape(json.loads(token))})"
        if token[0].isalpha():
            return expand(token)
        return "(?:" if token == "(" else token.strip()

    return expand(rule)


def takes(grammar: str, text: str) -> bool:
    return re.fullmatch(as_regex(grammar), text) is not None


def call(name: str, arguments: str) -> str:
    return f'\n<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("segment", "good", "bad"),
    [
        (Segment.JUDGE, ["Simple.", "Simple.\n", "x" * JUDGE_CHARACTERS], ["", "a\nb", "<", "x" * 161, "a\x1b"]),
        (Segment.MODE, ["<think_on>", "<think_off>"], ["", "<think>"]),
        (Segment.THINK, ["Hm.", "a\nb\n</think>", "a < b and c <= d"], ["", "a</think>b", "<answer>", "a\n</answer>"]),
        (
            Segment.ANSWER,
            ["4", "4\n</answer>", "思考 `x`"],
            ["", "</think>", "List<int>", "x" * (ANSWER_CHARACTERS + 1)],
        ),
        (Segment.TOOL, [""], [" ", call("a", "{}")]),
    ],
)
def test_what_a_segment_may_hold(segment: Segment, good: list[str], bad: list[str]) -> None:
    grammar = gbnf(segment)
    assert [text for text in good if not takes(grammar, text)] == []
    assert [text for text in bad if takes(grammar, text)] == []


def spec(properties: dict, required: tuple[str, ...] = ()) -> ToolSpec:
    return ToolSpec("t", "T.", {"type": "object", "properties": properties, "required": list(required)})


def arguments_taken(tool: ToolSpec, arguments: str) -> bool:
    return takes(gbnf(Segment.TOOL, (tool,)), call("t", arguments))


def test_required_members_come_first_and_optional_ones_may_be_left_out() -> None:
    number = {"type": "integer", "minimum": 0}
    tool = spec({"a": number, "b": number, "c": number}, ("b",))
    good = ['{"b": 1}', '{"b": 1, "a": 0}', '{"b": 1, "a": 2, "c": 3}', '{"b": 1, "c": 3}']
    bad = ["{}", '{"a": 1}', '{"b": 1, "c": 3, "a": 2}', '{"b": 1,}', '{"b": -1}', '{"b": 1, "d": 1}']
    assert [text for text in good if not arguments_taken(tool, text)] == []
    assert [text for text in bad if arguments_taken(tool, text)] == []


def test_with_optional_members_only_there_is_never_a_comma_too_many() -> None:
    tool = spec({name: {"type": "boolean"} for name in "abc"})
    for present in range(8):
        members = {name: True for bit, name in enumerate("abc") if present >> bit & 1}
        assert arguments_taken(tool, json.dumps(members)), members
    assert not arguments_taken(tool, '{, "b": true}')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "string", "maxLength": 3},
            ['""', '"a\\"b"', '"\\n\\\\"'],
            ['"abcd"', '"a\nb"', '"a"b"', '"\\u0000"'],
        ),
        ({"type": "integer", "minimum": 1}, ["1", "40"], ["0", "-1", "1.5", '"1"']),
        ({"type": "integer"}, ["0", "-7"], ["", "+1"]),
        ({"type": "number"}, ["0.5", "-7"], [".5", "1."]),
        ({"enum": ["a", 'q"', 3]}, ['"a"', '"q\\""', "3"], ['"b"', "a"]),
        ({"const": "x"}, ['"x"'], ['"y"']),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, ["true", "null"], ['"true"', ""]),
        ({"type": ["integer", "null"]}, ["3", "null"], ["true"]),
        ({"type": "array", "items": {"type": "integer"}}, ["[]", "[1]", "[1, 2]"], ["[1,]", '["a"]']),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2},
            ["[null, null]"],
            ["[]", "[null]"],
        ),
        ({"type": "object", "properties": {"k": {"type": "null"}}, "required": ["k"]}, ['{"k": null}'], ["{}"]),
    ],
)
def test_a_schema_takes_what_it_allows_and_nothing_else(schema: dict, good: list[str], bad: list[str]) -> None:
    tool = spec({"v": schema}, ("v",))
    assert [text for text in good if not arguments_taken(tool, f'{{"v": {text}}}')] == []
    assert [text for text in bad if arguments_taken(tool, f'{{"v": {text}}}')] == []


def test_arrays_end_and_references_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"v": {"type": "array", "items": {"$ref": "#/$defs/K"}}},
        "required": ["v"],
        "$defs": {"K": {"const": 1}},
    }
    tool = ToolSpec("t", "T.", schema)
    assert arguments_taken(tool, json.dumps({"v": [1] * ARRAY_ITEMS}))
    assert not arguments_taken(tool, json.dumps({"v": [1] * (ARRAY_ITEMS + 1)}))
    assert not arguments_taken(tool, json.dumps({"v": [2]}))


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        (True, '"anything"'),
        ({"enum": ["😀 é"]}, '"😀 é"'),
        ({"type": "string", "maxLength": None}, '"a"'),
        ({"enum": [], "type": "null"}, "null"),
        ({"type": "array", "items": True, "minItems": 99}, json.dumps(["a"] * ARRAY_ITEMS)),
        ({"type": "object", "properties": None, "required": True}, "{}"),
        ({"$ref": "#/$defs/Node"}, '{"next": "no further"}'),
    ],
)
def test_no_schema_of_anothers_tool_is_too_odd(schema: object, good: str) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    parameters = {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": {"Node": node}}
    assert arguments_taken(ToolSpec("t", "T.", parameters), f'{{"v": {good}}}')
    assert "\\ud" not in gbnf(Segment.TOOL, (ToolSpec("t", "T.", parameters),)), "half a character is no character"


def test_only_offered_tools_can_be_called() -> None:
    tools = (ToolSpec("one", "1", {"type": "object"}), ToolSpec("two", "2", {"type": "object"}))
    grammar = gbnf(Segment.TOOL, tools)
    assert takes(grammar, call("one", "{}"))
    assert takes(grammar, call("two", "{}"))
    assert takes(grammar, "")
    assert not takes(grammar, call("three", "{}"))
    assert not takes(grammar, call("one", "{}") + call("two", "{}"))


TOOL = ToolSpec("read_file", "Read.", {"type": "object", "properties": {"path": {"type": "string"}}})
TAIL = "Here.\n</answer>"
REPLIES = [
    (Segment.JUDGE, f"Hard.\n</judge>\n\n<think_on>\n<think>\nFirst\nthen.\n</think>\n\n<answer>\n{TAIL}"),
    (Segment.JUDGE, f"Easy.\n</judge>\n\n<think_off>\n<answer>\n{TAIL}"),
    (Segment.MODE, f"<think_off>\n<answer>\n{TAIL}"),
    (Segment.THINK, f"So.\n</think>\n\n<answer>\n{TAIL}"),
    (Segment.ANSWER, TAIL),
]


@pytest.mark.parametrize(("segment", "text"), REPLIES)
def test_a_whole_reply_is_taken_from_any_segment_on(segment: Segment, text: str) -> None:
    called = text + call("read_file", '{"path": "a b.py"}')
    assert takes(whole(segment), text)
    assert not takes(whole(segment), called)
    assert takes(whole(segment, (TOOL,)), text)
    assert takes(whole(segment, (TOOL,)), called)
    assert not takes(whole(segment, (TOOL,)), called + "more")
    assert takes(whole(segment), text.removesuffix("\n</answer>")), "a small model ends its turn instead"
    assert not takes(whole(segment), f"{text}\n{text}")


def test_a_whole_reply_has_no_counts_but_in_what_is_quoted() -> None:
    tool = spec({"v": {"enum": ["x{1,2}"]}, "w": {"type": "array", "items": {"type": "integer"}}}, ("v",))
    grammar = whole(Segment.ANSWER, (tool,))
    assert re.findall(r"\{\d+,\d+\}", grammar) == ["{1,2}"]
    assert takes(grammar, TAIL + call(tool.name, json.dumps({"v": "x{1,2}", "w": list(range(99))})))
