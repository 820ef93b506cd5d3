"""Text of others in Markdown, where nothing of it may become a link, a mention, HTML or the end of its own frame."""

from __future__ import annotations

import re

from assistant.safety.sanitize import sanitize

_TICKS = re.compile(r"`+")


def code(text: str) -> str:
    """A code span, in one line."""
    plain = " ".join(sanitize(text).split()) or " "
    ticks = "`" * (_longest(plain) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{pad}{plain}{pad}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any in the text."""
    plain = sanitize(text).rstrip("\n")
    fence = "`" * max(3, _longest(plain) + 1)
    return f"{fence}{language}\n{plain}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)
