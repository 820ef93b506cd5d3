"""GBNF grammars that hold a model which never learned KAT's format to it, one for each segment of a reply.

A segment's grammar may end before its closing tag: a small model ends its turn rather than write ``</answer>``. The
engine then writes the tag itself. All lengths are this project's choice, so that a tiny model always comes to an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from model.format import Segment
from model.prompt import ToolSpec
from model.surrogates import replace_surrogates

JUDGE_CHARACTERS = 160
THOUGHT_CHARACTERS = 1200
ANSWER_CHARACTERS = 1500
STRING_CHARACTERS = 1500
ARRAY_ITEMS = 16

_PLAIN = r'plain ::= [^<\x00-\x08\x0b-\x1f\x7f] | "<" [ =]'
_LINE = r"line ::= [^<\x00-\x1f\x7f]"
_COUNTED = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{(?P<least>\d+)(?:,\d*)?\}')
_JSON = r"""character ::= [^"\\\x00-\x1f\x7f] | "\\" ["\\/nt]
number ::= "-"? [0-9]{1,9} ("." [0-9]{1,6})?
integer ::= "-"? [0-9]{1,9}
natural ::= [0-9]{1,9}
positive ::= [1-9] [0-9]{0,8}
boolean ::= "true" | "false"
null ::= "null" """.rstrip()


def gbnf(segment: Segment, tools: Sequence[ToolSpec] = ()) -> str:
    """The grammar of one segment: its text and, if the model writes it, its end.

    `Segment.TOOL` is one call of one of `tools`, or nothing. In free text a ``<`` stands only before a space or an
    equals sign: a small model that is kept from writing a tag otherwise writes near-tags without end.
    """
    match segment:
        case Segment.JUDGE:
            return f'root ::= line{{1,{JUDGE_CHARACTERS}}} "\\n"?\n{_LINE}\n'
        case Segment.MODE:
            return 'root ::= "<think_on>" | "<think_off>"\n'
        case Segment.THINK:
            return f'root ::= plain{{1,{THOUGHT_CHARACTERS}}} "\\n</think>"?\n{_PLAIN}\n'
        case Segment.ANSWER:
            return f'root ::= plain{{1,{ANSWER_CHARACTERS}}} "\\n</answer>"?\n{_PLAIN}\n'
        case Segment.TOOL:
            return f"root ::= call?\n{_calls(tools)}" if tools else 'root ::= ""\n'


def whole(segment: Segment, tools: Sequence[ToolSpec] = ()) -> str:
    """The grammar of a reply from inside `segment` to its end, for a server that is asked once for all of it.

    Nothing is counted in it: vLLM's xgrammar 0.2 takes minutes over `{1,1200}`. What a model does not end is ended by
    its tokens and budgets; the answer's closing tag may be missing, since small models end their turn instead.
    """
    if segment is Segment.TOOL:
        return gbnf(segment, tools)
    rules = (
        f"root ::= {segment}",
        'judge ::= line+ "\\n</judge>\\n\\n" mode',
        'mode ::= "<think_on>\\n<think>\\n" think | "<think_off>\\n<answer>\\n" answer',
        'think ::= plain+ "\\n</think>\\n\\n<answer>\\n" answer',
        f'answer ::= plain+ ("\\n</answer>"{" call?" if tools else ""})?',
        _PLAIN,
        _LINE,
    )
    return "".join(f"{rule}\n" for rule in rules) + _COUNTED.sub(_uncounted, _calls(tools))


def _uncounted(match: re.Match[str]) -> str:
    """A count as `*` or `+`; what only looks like one, in a literal or a class of characters, stays."""
    if match["least"] is None:
        return match[0]
    return "*" if match["least"] == "0" else "+"


def _calls(tools: Sequence[ToolSpec]) -> str:
    if not tools:
        return ""
    rules = Rules()
    bodies = [_body(rules, tool) for tool in tools]
    names = " | ".join(rules.add("tool", body) for body in bodies)
    return f'call ::= "\\n<tool_call>\\n" ({names}) "\\n</tool_call>"\n{rules.text()}{_JSON}\n'


def _body(rules: Rules, tool: ToolSpec) -> str:
    head = literal(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
    return f'{head} {schema_rule(rules, tool.parameters, tool.parameters.get("$defs") or {})} "}}"'


class Rules:
    """Grammar rules under construction; each distinct body has one name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def add(self, kind: str, body: str) -> str:
        """The name of the rule with this body."""
        return self._names.setdefault(body, f"{kind}-{len(self._names)}")

    def text(self) -> str:
        """All rules, one a line."""
        return "".join(f"{name} ::= {body}\n" for body, name in self._names.items())


def literal(text: str) -> str:
    """`text` as a GBNF string, with its characters as they are: an escape has four digits, too few for some."""
    return json.dumps(replace_surrogates(text), ensure_ascii=False)


def schema_rule(rules: Rules, schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """The name of a rule for JSON that a schema allows; `shared` is its ``$defs``.

    What is unknown is a string, and so is a schema that stands inside itself, as the text would have no end.
    """
    match schema:
        case bool() | None:
            return _scalar(rules, {})
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            others = {other: shared[other] for other in shared if other != name}
            return schema_rule(rules, shared.get(name, {}), others)
        case {"const": value}:
            return rules.add("const", literal(json.dumps(value, ensure_ascii=False)))
        case {"enum": [_, *_] as values}:
            return rules.add("enum", " | ".join(literal(json.dumps(v, ensure_ascii=False)) for v in values))
        case {"anyOf": [_, *_] as options} | {"oneOf": [_, *_] as options}:
            return rules.add("any", " | ".join(schema_rule(rules, option, shared) for option in options))
        case {"type": [_, *_] as kinds}:
            options = [schema_rule(rules, {**schema, "type": kind}, shared) for kind in kinds]
            return rules.add("any", " | ".join(options))
        case {"type": "object"} | {"properties": _}:
            return _object(rules, schema, shared)
        case {"type": "array"}:
            return _array(rules, schema, shared)
        case _:
            return _scalar(rules, schema)


def _scalar(rules: Rules, schema: Mapping[str, Any]) -> str:
    match schema.get("type"):
        case "integer" if _limit(schema, "minimum", _limit(schema, "exclusiveMinimum", -1) + 1) >= 1:
            return "positive"
        case "integer" if _limit(schema, "minimum", -1) >= 0:
            return "natural"
        case "integer" | "number" | "boolean" | "null" as name:
            return str(name)
        case _:
            longest = min(_limit(schema, "maxLength", STRING_CHARACTERS), STRING_CHARACTERS)
            shortest = min(_limit(schema, "minLength", 0), longest)
            return rules.add("string", f'"\\"" character{{{shortest},{longest}}} "\\""')


def _limit(schema: Mapping[str, Any], name: str, default: int) -> int:
    """A number that a schema gives; schemas come from others' servers, so what is no number does not count."""
    value = schema.get(name)
    return value if isinstance(value, int) else default


def _array(rules: Rules, schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    item = schema_rule(rules, schema.get("items", {}), shared)
    most = min(_limit(schema, "maxItems", ARRAY_ITEMS), ARRAY_ITEMS)
    fewest = min(_limit(schema, "minItems", 0), most)
    if most < 1:
        return rules.add("array", '"[]"')
    some = f'{item} (", " {item}){{{max(fewest - 1, 0)},{most - 1}}}'
    return rules.add("array", f'"[" {some} "]"' if fewest else f'"[" ({some})? "]"')


def _object(rules: Rules, schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """Required members first, in the schema's order; then optional ones, each there or not."""
    members: Mapping[str, Any] = schema.get("properties") or {}
    named = schema.get("required")
    required = [name for name in members if isinstance(named, Sequence) and name in named]
    optional = [name for name in members if name not in required]
    pairs = {n: f"{literal(json.dumps(n) + ': ')} {schema_rule(rules, members[n], shared)}" for n in members}
    fixed = ' ", " '.join(pairs[name] for name in required)
    rest = _optional(rules, [pairs[name] for name in optional], first=not required)
    return rules.add("object", " ".join(part for part in ('"{"', fixed, rest, '"}"') if part))


def _optional(rules: Rules, pairs: list[str], *, first: bool) -> str:
    """Any of `pairs`, in order, with commas between them, and one before them unless they come `first`."""
    if not pairs:
        return ""
    pair, *more = pairs
    if not first:
        return f'(", " {pair})? {_optional(rules, more, first=False)}'.strip()
    chosen = f"{pair} {_optional(rules, more, first=False)}".strip()
    otherwise = _optional(rules, more, first=True)
    return f"({rules.add('some', chosen)} | {otherwise})" if otherwise else f"({rules.add('some', chosen)})?"
