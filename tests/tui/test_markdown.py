"""Markdown as prose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.markdown import MarkdownText
from tui.prose import Prose

PAGE = """# Title

A *paragraph* with `code`, a [link](http://a.b) and <T> as text,
on two lines.

1. first
   - inner **bold**
2. second

> quoted
> twice

```python
def f(x: int) -> int:

    return x
```

| name | value |
|------|-------|
| a    | 1     |
| long | 22    |

---
end"""


def shown(text: MarkdownText) -> list[str]:
    return [(line.first + line.body).plain for line in text.lines()]


def test_a_page() -> None:
    assert shown(MarkdownText(PAGE)) == [
        "Title",
        "",
        "A paragraph with code, a link and <T> as text, on two lines.",
        "",
        "1. first",
        "   ◦ inner bold",
        "2. second",
        "",
        "▎ quoted twice",
        "",
        " def f(x: int) -> int:",
        " ",
        "     return x",
        "",
        "name │ value",
        "─────┼──────",
        "a    │ 1    ",
        "long │ 22   ",
        "",
        "────────────────────────",
        "",
        "end",
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), max_size=30))
def test_streamed_text_ends_as_if_it_came_at_once(sizes: list[int]) -> None:
    text, at = MarkdownText(), 0
    for size in sizes:
        text.feed(PAGE[at : at + size])
        text.lines()
        at += size
    text.feed(PAGE[at:])
    assert shown(text) == shown(MarkdownText(PAGE))


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab `*_#>-|[]()<\n\t1.!~界", max_size=80))
def test_no_text_breaks_it(source: str) -> None:
    text = MarkdownText(source)
    Prose(text.lines()).get_height({}, 7)


def test_settled_blocks_are_not_parsed_again() -> None:
    text = MarkdownText("one\n\ntwo\n\nthr")
    before = text.lines()
    text.feed("ee")
    after = text.lines()
    assert after[:3] == before[:3]
    assert after[-1].body.plain == "three"


@pytest.mark.parametrize("source", ["", "\n\n", "```", "| a |", "- ", "> ", "|a|b|\n|-|-|"])
def test_unfinished_blocks(source: str) -> None:
    MarkdownText(source).lines()
