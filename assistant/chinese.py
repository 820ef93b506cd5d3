"""Which text is Chinese: what people wrote in it is answered in it."""

from __future__ import annotations

import re

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
"""The block of CJK unified ideographs; rarer ones do not come alone."""


def has_chinese(text: str) -> bool:
    """Whether a text has Chinese characters."""
    return _CHINESE.search(text) is not None


def count_chinese(text: str) -> int:
    """How many Chinese characters a text has."""
    return len(_CHINESE.findall(text))
