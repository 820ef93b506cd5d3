"""The plugin where there is no vLLM, and what it costs one that serves something else."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import model
from model.serving.plugin_turn import Fields, Turn
from tests.model.test_format import CALL

PACKAGE = Path(model.__file__).parent


def bare(program: str) -> str:
    """What a program says in a Python that has no libraries at all."""
    begin = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); "
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + program], capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


def test_vllm_finds_the_plugin_by_its_entry_point():
    (found,) = entry_points(group="vllm.general_plugins", name="kat")
    assert found.value == "model.serving.plugin:register"


def test_a_vllm_that_cannot_take_the_parsers_goes_on_without_them():
    said = bare("from model.serving.plugin import register; register()")
    assert said == "this vLLM cannot take KAT's parsers: No module named 'vllm'\n"


def test_in_anothers_environment_the_plugin_needs_no_library():
    assert bare("import model.serving.plugin_turn, model.calls") == ""


def test_what_the_tool_parser_takes_over_is_not_written_twice():
    turn = Turn()
    turn.shared = True
    turn.restart()
    deltas = turn.feed(f"x\n</judge>\n<think_off>\nA\n<tool_call>{CALL}</tool_call>")
    assert turn.answering
    assert turn.writer.write(turn.leave(deltas)) == Fields(reasoning="x")
    fields = turn.writer.write([*(turn.take() or ()), *turn.close()])
    assert (fields.reasoning, fields.content, [call.name for call in fields.calls]) == ("", "A", ["edit_file"])
    assert turn.take() is None
    assert turn.close() == []
