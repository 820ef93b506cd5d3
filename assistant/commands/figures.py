"""Tables and figures as text: as wide as the terminal, without colours where it is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHORT = 10_000
"""Numbers from here on are shown in thousands."""


def console() -> Console:
    """Standard output. What is printed stays as it is: nothing in it is markup, and no numbers are coloured."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table whose first column is words and whose others are figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        made.add_column(name, justify="right" if number else "left", no_wrap=bool(number), overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def count(number: int) -> str:
    """A count: `1,234`, `12.3k`, `4.5M`."""
    if number < _SHORT:
        return f"{number:,}"
    return f"{number / 1e3:.1f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def duration(seconds: float) -> str:
    """A time: `40 ms`, `0.4 s`, `12 s`, `3:05 min`, `2:00 h`."""
    if 0 < seconds < 0.1:
        return f"{1e3 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3_600}:{whole % 3_600 // 60:02} h"


def share(part: float | None) -> str:
    """A share from 0 to 1 as per cent; a dash where there is none."""
    return "–" if part is None else f"{part:.0%}"
