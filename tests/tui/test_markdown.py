"""Markdown as prose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions

from tui.markdown import MarkdownText
from tui.prose import LONGEST_LINE, GrowingText, Line, Prose
from tui.widgets.fold import ProseView

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


CODE = """Some words.

~~~~python info

def f():
    ``` ~~~ no end

  ~~~
    ~~~~~ too far in
 ~~~~~\x20
after

```
indented fence [x]

```
- a list
  ```python
  x = 1
  ```
- its end

```js
never closed

"""


def _plain(lines: list[Line]) -> list[str]:
    return [(line.first + line.body).plain for line in lines]


def _filled(rows: list[str]) -> list[str]:
    """Without the blank rows at the end: the parser drops spaces that nothing follows."""
    while rows and not rows[-1].strip():
        rows = rows[:-1]
    return rows


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 9), max_size=60))
def test_code_looks_the_same_at_every_moment_as_if_it_came_at_once(sizes: list[int]) -> None:
    text, at = MarkdownText(), 0
    for size in [*sizes, len(CODE)]:
        text.feed(CODE[at : at + size])
        at += size
        assert _filled(shown(text)) == _filled(_plain(MarkdownText(CODE[:at]).close()))
    assert _plain(text.close()) == shown(text)


@pytest.mark.parametrize("head", ["```python\n", "words\n\n```python\n", "[a]: http://b\n\n```python\n"])
def test_open_code_keeps_its_rows(head: str) -> None:
    text = MarkdownText(head + "x = 1\n" * 3000)
    before = text.lines()
    text.feed("x = 1\ny")
    after = text.lines()
    assert sum(line not in before for line in after[-10:]) == 2
    assert all(old is new for old, new in zip(before, after, strict=False))
    assert not any(line.body.spans[1:] for line in after)


def test_code_is_coloured_when_it_is_closed_and_when_nothing_more_comes() -> None:
    text = MarkdownText("```python\nx = 1  # one\n")
    assert len(text.lines()[0].body.spans) == 1
    assert len(text.close()[0].body.spans) > 1
    text.feed("```\n")
    coloured = text.lines()[0]
    assert len(coloured.body.spans) > 1
    text.feed("more")
    assert text.lines()[0] is coloured


def test_a_row_of_code_that_is_very_long_is_not_taken_for_its_end() -> None:
    text = MarkdownText("```\n" + "x" * 1500)
    text.lines()
    text.feed("```")
    text.lines()
    text.feed("\nmore\n```\nend")
    assert shown(text)[-1] == "end"
    assert any("more" in row for row in shown(text))


def test_a_thought_keeps_its_rows_and_cuts_what_never_ends() -> None:
    thought = GrowingText()
    thought.feed("a row\n" * 2000 + "word " * 1000)
    before = thought.lines()
    thought.feed("and more\n\n")
    after = thought.lines()
    assert all(old is new for old, new in zip(before[:-1], after, strict=False))
    assert max(len(line.body) for line in after) <= LONGEST_LINE
    assert " ".join(line.body.plain for line in after[2000:]).split() == [*["word"] * 1000, "and", "more"]
    assert after[-1].body


class Counted(Line):
    """Counts the lines whose rows were asked for."""

    asked = 0

    def strips(self, width: int, y: int, style: Style, options: RenderOptions) -> list[Strip]:
        Counted.asked += 1
        return super().strips(width, y, style, options)


class Long(App[None]):
    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield ProseView([Counted(Content(f"line {number:04} " * 9)) for number in range(3000)])


async def test_only_rows_on_the_screen_are_rendered() -> None:
    app = Long()
    async with app.run_test(size=(40, 20)) as pilot:
        await pilot.pause()
        view = app.query_one(ProseView)
        for grown in range(3):
            Counted.asked = 0
            view.show([*view.lines, Counted(Content(f"more {grown}"))])
            app.query_one(VerticalScroll).scroll_end(animate=False)
            await pilot.pause()
            app.screen._compositor.render_strips()
            assert 0 < Counted.asked <= 60
        assert view.size.height == 3000 * 3 + 3
