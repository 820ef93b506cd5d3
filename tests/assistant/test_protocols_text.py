"""A run as plain text."""

import io

from assistant.events import CallFinished, CallOutput, CallStarted, RunFinished, RunStatus, SegmentText
from assistant.protocols.text import TextOutput
from assistant.records import Tokens
from model.format import Segment


def shown(*events):
    out, err = io.StringIO(), io.StringIO()
    output = TextOutput(out, err)
    for event in events:
        output.show(event)
    return out.getvalue(), err.getvalue()


def test_what_a_command_puts_out_stands_between_its_lines():
    _, err = shown(
        CallStarted(1, "1.1", "run_command", "Run make", {}),
        CallOutput(1, "1.1", "one\n"),
        CallOutput(1, "1.1", "two\n"),
        CallFinished(1, "1.1", "run_command", "ok", "exit code 0", ""),
        CallOutput(1, "1.2", "no end"),
        CallFinished(1, "1.2", "run_command", "ok", "exit code 0", ""),
    )
    assert err == "→ Run make\none\ntwo\n  ok: exit code 0\nno end\n  ok: exit code 0\n"


def test_the_answer_alone_is_on_standard_output():
    out, err = shown(
        SegmentText(1, Segment.JUDGE, "It is clear."),
        SegmentText(1, Segment.ANSWER, "Four."),
        RunFinished(RunStatus.DONE, "", 1, Tokens(9, 0, 3, 0, 1), 0.5),
    )
    assert out == "Four.\n"
    assert err.splitlines() == [
        "It is clear.",
        "1 step · 9 tokens read (0 cached) · 3 judge, 0 thought, 1 answer · 0.5 s",
    ]
