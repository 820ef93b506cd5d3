"""Samples for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from model.format import Mode, ToolCall
from model.prompt import Message
from training.data.schema import Provenance, Sample


def samples(words: Sequence[str], judges: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Sample]:
    """Samples whose texts are put together of words that may look like marks of a format."""
    text = st.lists(st.sampled_from(words), max_size=4).map("".join)
    call = st.builds(ToolCall, st.just("read"), st.fixed_dictionaries({"path": text}))
    message = st.builds(Message, st.sampled_from(["system", "user", "tool"]), text)
    return st.builds(
        Sample,
        id=st.just("s"),
        family=st.just("f"),
        mode=st.sampled_from(Mode),
        messages=st.lists(message, max_size=3).map(tuple),
        answer=text,
        judge=text if judges is None else judges,
        think=text,
        calls=st.lists(call, max_size=2).map(tuple),
        provenance=st.just(Provenance("s")),
    )
