"""Text that merely looks like a control token, made inert and back again.

A WORD JOINER behind the ``<`` does it: models read over it, and no tag or special token matches any more.
"""

from __future__ import annotations

import re

JOINER = "\u2060"
ESCAPE = f"<{JOINER}"
_WORDS = (
    r"/?(?:judge|think_on|think_off|think|answer|tool_call|tool_response|tools)>",
    r"/?(?:function|parameter)[=>]",
    r"\|[^|<>\s]{1,64}\|>",
)
_ESCAPABLE = re.compile(f"<(?={'|'.join((JOINER, *_WORDS))})")


def escape(text: str) -> str:
    """Make every control token in `text` inert; `unescape` undoes it exactly."""
    return _ESCAPABLE.sub(ESCAPE, text)


def unescape(text: str) -> str:
    """Undo `escape`."""
    return text.replace(ESCAPE, "<")
