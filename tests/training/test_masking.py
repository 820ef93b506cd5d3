"""The loss mask: whole, in order, on what the model writes and on nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.dialects import DIALECTS, dialect
from model.format import Mode, Segment, ThinkRequest, ToolCall
from model.prompt import Message
from tests.training.strategies import samples
from training.data.flow.exporting import exported
from training.data.masking import END_OF_TURN, masked
from training.data.preview import COLOURS, Chosen, coloured
from training.data.schema import Provenance, Sample

_SAMPLES = samples(["<think>\n", "</think>\n\n", "<answer>\n", "<tool_call>\n", "<|im_end|>", "\n", "a < b", "é"])


@settings(max_examples=150, deadline=None)
@given(_SAMPLES, st.sampled_from(sorted(DIALECTS)))
def test_joined_it_is_prompt_reply_and_end(sample, name):
    speaks = dialect(name)
    stretches = masked(sample, speaks)
    prompt = speaks.render(sample.messages, sample.tools, ThinkRequest.AUTO, "")
    assert "".join(stretch.text for stretch in stretches) == prompt.text + speaks.write(sample.reply) + END_OF_TURN
    learnt = "".join(stretch.text for stretch in stretches if stretch.carries_loss)
    assert learnt == speaks.write(sample.reply) + END_OF_TURN
    assert all(stretch.carries_loss is (stretch.segment is not None) for stretch in stretches)


@settings(max_examples=100, deadline=None)
@given(_SAMPLES, st.sampled_from(["kat", "qwen3"]))
def test_what_was_forced_carries_no_loss(sample, name):
    speaks = dialect(name)
    request = ThinkRequest(sample.mode.value)
    forced = Sample(**{field: getattr(sample, field) for field in sample.__slots__} | {"request": request})
    stretches = masked(forced, speaks)
    reply = speaks.write(sample.reply) + END_OF_TURN
    assert "".join(stretch.text for stretch in stretches if stretch.segment).endswith(reply)
    learnt = "".join(stretch.text for stretch in stretches if stretch.carries_loss)
    opening = speaks.render((), (), request, "").opening.text
    assert opening not in learnt
    assert reply.endswith(learnt)
    assert Segment.JUDGE not in {stretch.segment for stretch in stretches if stretch.carries_loss}


def test_segments_are_those_of_the_reply_and_failed_turns_teach_nothing():
    call = ToolCall("read", {"path": "a.py"})
    sample = Sample("s", "f", Mode.ON, (Message("user", "hi"),), "so", Provenance("s"), "why", "hm", (call,))
    found = {stretch.segment: stretch.text for stretch in masked(sample, dialect("kat"))}
    assert found[Segment.JUDGE] == "why\n</judge>\n\n<think_on>\n"
    assert found[Segment.THINK] == "<think>\nhm\n</think>\n\n"
    assert found[Segment.ANSWER] == "<answer>\nso\n</answer>"
    assert found[Segment.TOOL].startswith("\n<tool_call>\n")
    failed = Sample("s", "f", Mode.OFF, (), "so", Provenance("s"), calls=(call,), trainable=False)
    assert not any(stretch.carries_loss for stretch in masked(failed, dialect("kat")))
    assert "strike" in {str(span.style).split()[-1] for span in coloured(failed, dialect("kat")).spans}


def test_preview_colours_what_carries_loss():
    sample = Sample("s", "f", Mode.OFF, (Message("user", "x" * 9_000),), "so", Provenance("s"), "why")
    text = coloured(sample, dialect("kat"))
    assert "characters before" in text.plain
    assert len(text.plain) < 2_000
    green = [text.plain[span.start : span.end] for span in text.spans if span.style == COLOURS[Segment.ANSWER]]
    assert green == ["<answer>\nso\n</answer><|im_end|>"]
    others = [Sample(str(n), "f" if n % 2 else "g", Mode.OFF, (), "", Provenance("s")) for n in range(9)]
    chosen = Chosen(2, family="g", seed=1).of(others)
    assert len(chosen) == 2
    assert {one.family for one in chosen} == {"g"}
    assert Chosen(2, family="g", seed=1).of(reversed(others)) == chosen


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_exported_text_is_the_masked_text(name):
    import json

    sample = Sample("s", "f", Mode.ON, (Message("user", "hi"),), "so", Provenance("s"), "why", "hm")
    row = json.loads(next(exported([sample], dialect(name))))
    assert row["text"] == "".join(text for text, _ in row["segments"])
    assert (row["split"], row["trainable"]) == ("train", True)
    assert row["messages"][-1] == {"role": "assistant", "content": dialect(name).write(sample.reply)}
