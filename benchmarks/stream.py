"""CPU milliseconds for showing one more piece of a reply that is 1, 20 and 100 kB long already, painting included.

The yardstick is Textual's own Markdown widget fed by its MarkdownStream, in an app that holds nothing else.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Markdown

from assistant.agent import Agent
from assistant.events import StepStarted
from model.format import Segment, ThinkRequest
from tui.app import KatApp
from tui.widgets.step import StepView

SIZES = (1_000, 20_000, 100_000)
ROUNDS = 15
LINE = "The loop runs while low < high, so `mid` never reaches the end.\n"
CODE = "    total = total + values[index] * weight(index)  # keep it exact\n"
PIECE = "more of it "
KINDS: dict[str, tuple[Segment, Callable[[int], str]]] = {
    "thought": (Segment.THINK, lambda size: LINE * (size // len(LINE))),
    "open code": (Segment.ANSWER, lambda size: "```python\n" + CODE * (size // len(CODE))),
    "paragraphs": (Segment.ANSWER, lambda size: f"{LINE}\n" * (size // len(LINE))),
    "one list": (Segment.ANSWER, lambda size: f"- {LINE}" * (size // len(LINE))),
    "one line": (Segment.ANSWER, lambda size: LINE.replace("\n", " ") * (size // len(LINE))),
}


class Yardstick(App[None]):
    """Textual's Markdown and nothing else."""

    def compose(self) -> ComposeResult:
        """A widget that scrolls, as in the transcript."""
        with VerticalScroll():
            yield Markdown()


async def median(pilot: Pilot[object], show: Callable[[], Awaitable[object]]) -> float:
    """CPU milliseconds of `show` and of the layout and paint that follow."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        await show()
        await pilot.pause()
        for strip in pilot.app.screen._compositor.render_strips():  # noqa: SLF001 - the paint, which a headless screen leaves out
            strip.render(pilot.app.console)
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


async def ours(segment: Segment, text: str) -> float:
    """A step in the whole interface."""

    async def never() -> Agent:
        return await asyncio.Future[Agent]()

    app = KatApp(never, Path.cwd(), version="0")
    async with app.run_test(size=(100, 30)) as pilot:
        step = StepView(StepStarted(1, ThinkRequest.AUTO, "judge", "measured"))
        await app.transcript.add(step)

        async def show(piece: str = PIECE) -> None:
            step.feed(segment, piece)
            step.flush()

        await show(text)
        await pilot.pause()
        return await median(pilot, show)


async def theirs(text: str) -> float:
    """Textual's Markdown and its stream."""
    app = Yardstick()
    async with app.run_test(size=(100, 30)) as pilot:
        markdown = app.query_one(Markdown)
        app.query_one(VerticalScroll).anchor()
        stream = Markdown.get_stream(markdown)

        async def show(piece: str = PIECE) -> None:
            await stream.write(piece)
            while markdown.source != wanted[0] + piece:  # noqa: ASYNC110 - the stream tells nobody
                await asyncio.sleep(0)
            wanted[0] += piece

        wanted = [""]
        await show(text)
        await pilot.pause()
        found = await median(pilot, show)
        await stream.stop()
        return found


def main() -> None:
    """Measure and print a table; `--without-yardstick` leaves Textual's widget out."""
    print(f"CPU ms for one flush and paint, median of {ROUNDS}, {machine()}")
    print(f"{'':22}" + "".join(f"{size // 1000:>7} kB" for size in SIZES))
    for kind, (segment, make) in KINDS.items():
        ways: dict[str, Callable[[str], Awaitable[float]]] = {"kat": lambda text, at=segment: ours(at, text)}
        if "--without-yardstick" not in sys.argv:
            ways["textual"] = theirs
        for name, way in ways.items():
            row = [asyncio.run(_timed(way, make(size))) for size in SIZES]
            print(f"{kind:14}{name:8}" + "".join(f"{value:10.1f}" for value in row), flush=True)


async def _timed(way: Callable[[str], Awaitable[float]], text: str) -> float:
    return await way(text)


if __name__ == "__main__":
    main()
