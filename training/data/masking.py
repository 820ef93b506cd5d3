"""Which text of a sample a model learns from: one function, for looking at data and for training alike.

A sample is its prompt, the reply, and the end of the turn. Loss lies on the reply and the end, for these are what the
model writes; not on the prompt, not on what was prefilled to force a mode, and not on a turn whose call failed
(KAT-Coder's agentic stages mask failed calls). The mode's mark belongs to the judge, as in HiPO (arXiv 2509.23967).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from model.escape import escape
from model.format import Segment, ThinkRequest
from model.prompt import Dialect
from training.data.schema import Sample

END_OF_TURN = "<|im_end|>"
_BORDERS = re.compile(r"<think>\n|</think>\n\n|<answer>\n|\n?<tool_call>\n")
"""Where a segment begins; text that others wrote cannot match, as it is escaped."""


class Stretch(NamedTuple):
    """A stretch of a sample's text. `segment` is None in the prompt."""

    text: str
    carries_loss: bool
    segment: Segment | None


def masked(sample: Sample, dialect: Dialect) -> list[Stretch]:
    """The whole text of a sample in stretches; joined they are prompt, reply and the end of the turn."""
    prompt = dialect.render(sample.messages, sample.tools, sample.request, sample.judge)
    written = dialect.write(sample.reply)
    forced = _forced(written, dialect, sample)
    stretches = [Stretch(prompt.text.removesuffix(prompt.opening.text), False, None)]
    at = 0
    for text, segment in segments(written + END_OF_TURN, dialect.parser().segment):
        before = max(0, min(len(text), forced - at))
        stretches += [Stretch(text[:before], False, segment), Stretch(text[before:], sample.trainable, segment)]
        at += len(text)
    return [stretch for stretch in stretches if stretch.text]


def _forced(written: str, dialect: Dialect, sample: Sample) -> int:
    """How many characters of the reply were prefilled."""
    if sample.request is ThinkRequest.AUTO:
        return 0
    opening = dialect.render((), (), sample.request, escape(sample.judge)).opening.text
    return len(opening) if written.startswith(opening) else 0


def segments(written: str, first: Segment) -> Iterator[tuple[str, Segment]]:
    """The text of a reply that begins in `first`, by segments; tags belong to what they open or close."""
    segment, start = first, 0
    for found in _BORDERS.finditer(written):
        closes = found[0].startswith("</")
        border = found.end() if closes else found.start()
        if border > start:
            yield written[start:border], segment
        segment, start = _opened(found[0]), border
    yield written[start:], segment


def _opened(tag: str) -> Segment:
    match tag.strip():
        case "<think>":
            return Segment.THINK
        case "<tool_call>":
            return Segment.TOOL
    return Segment.ANSWER
