"""KAT's marks in a model's vocabulary, and the chat template that is saved with it.

The marks are text, and are parsed as text: adapters cannot teach vLLM's copy of a model new embeddings, and whether
KAT-V1 has single tokens for them is not known. What must be single tokens are the ends of turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from assistant.errors import UserError
from model.prompt import Tokenizer

MARKERS = (
    "<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>", "<tool_call>",
    "</tool_call>",
)  # fmt: skip
TURNS = ("<|im_start|>", "<|im_end|>")


def lengths(tokens: Tokenizer) -> Mapping[str, int]:
    """How many tokens each mark is; 1 where the vocabulary has it."""
    return {mark: len(tokens.encode(mark, specials=True)) for mark in MARKERS}


def expect_turns(tokens: Tokenizer, source: object) -> None:
    """Raises UserError if the vocabulary has no single tokens for the begin and end of a turn: it is not ChatML's."""
    for mark in TURNS:
        if len(tokens.encode(mark, specials=True)) != 1:
            raise UserError(
                f"{source} has no token {mark}, which all our dialects need; take a model that speaks ChatML"
            )


def templated(tokenizer: Any, dialect: str) -> Any:
    """The tokenizer with the chat template of the dialect, for whoever serves the model; changed in place.

    Only KAT's is ours; models of the other dialects come with the right one.
    """
    if dialect == "kat":
        tokenizer.chat_template = template()
    return tokenizer


def template() -> str:
    """KAT's chat template, as Jinja."""
    return resources.files("model").joinpath("dialects", "kat.jinja").read_text("utf-8")
