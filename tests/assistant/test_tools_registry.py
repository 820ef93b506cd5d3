import json

import pytest

from assistant.tools.base import ToolError
from assistant.tools.read_file import ReadFile
from assistant.tools.registry import TOOLS, read_call, specs
from model.format import ToolCall

NAMES = [
    "read_file",
    "list_files",
    "search",
    "repo_map",
    "symbols",
    "edit_file",
    "replace_symbol",
    "write_file",
    "delete_file",
    "move_file",
    "apply_patch",
    "run_command",
    "run_tests",
    "git_diff",
    "read_output",
    "stop_command",
    "todo",
    "ask_user",
    "spawn",
    "web_fetch",
    "finish",
]


def test_the_tools_and_their_order() -> None:
    assert [tool.name for tool in TOOLS] == NAMES
    assert [spec.name for spec in specs("full", network=True)] == NAMES
    assert [spec.name for spec in specs("compact")] == [
        "read_file",
        "list_files",
        "search",
        "edit_file",
        "write_file",
        "run_command",
        "run_tests",
        "git_diff",
        "finish",
    ]


def test_schemas_are_minimal() -> None:
    written = json.dumps([spec.as_openai() for spec in specs("full", network=True)])
    assert not any(word in written for word in ("anyOf", "title", "default", "additionalProperties"))
    assert specs("full")[0].parameters == {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "start_line": {"type": "integer", "description": "From 1."},
            "end_line": {"type": "integer"},
        },
        "required": ["path"],
    }
    arguments = [field for spec in specs("full", network=True) for field in spec.parameters["properties"].items()]
    plain = {name for name, schema in arguments if "description" not in schema}
    assert plain == {"path", "end_line", "to_line", "old", "new", "content", "command", "items", "question", "task"}
    assert all(schema.get("description", "-") for _, schema in arguments)


def test_the_compact_profile_is_small_and_offers_what_is_required() -> None:
    compact = "\n".join(json.dumps(spec.as_openai()) for spec in specs("compact"))
    assert len(compact) < 1_650
    for tool, spec in zip([tool for tool in TOOLS if tool.compact], specs("compact"), strict=True):
        needed = {name for name, field in tool.model_fields.items() if field.is_required()} | {*tool.compact_required}
        assert needed == set(spec.parameters.get("required", ()))
        assert needed <= set(spec.parameters["properties"])


def test_arguments_are_read_as_models_write_them() -> None:
    asked = {"path": 7, "start_line": "3", "end_line": None}
    assert read_call(ToolCall("read_file", asked)) == ReadFile(path="7", start_line=3)
    assert read_call(ToolCall("read_file", {"path": "a", "start_line": ""})) == ReadFile(path="a")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (ToolCall("", {}, "{", "not valid JSON"), r"cannot be read \(not valid JSON\)"),
        (ToolCall("readfile"), r"no tool 'readfile'; did you mean read_file\?"),
        (ToolCall("zzz"), "the tools are read_file, .* and finish"),
        (ToolCall("read_file"), r"needs path; its arguments are path, start_line \(optional\)"),
        (ToolCall("read_file", {"file": "a", "path": "b"}), "no argument 'file'; its arguments are path"),
        (ToolCall("read_file", {"path": "a", "start_line": "x"}), "cannot use start_line = 'x'"),
        (ToolCall("edit_file", {"path": ["a"], "old": "", "new": ""}), "cannot use path"),
        (ToolCall("run_command", {"command": ""}), "cannot use command = ''"),
        (ToolCall("finish", {"\x1b[31mx": 1}), "no argument 'x'; its argument is message"),
    ],
)
def test_a_wrong_call_says_what_is_right(call: ToolCall, said: str) -> None:
    with pytest.raises(ToolError, match=said) as error:
        read_call(call)
    assert "\n" not in str(error.value)
