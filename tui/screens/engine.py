"""The engine of the session: what it is, what its server does now, and whether it works."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from model.engine import EngineInfo
from tui.prose import EMPTY, Line
from tui.widgets.fold import ProseView
from tui.words import count, one_line

if TYPE_CHECKING:
    from assistant.doctor.finding import Finding
    from model.serving.metrics import ServerMetrics

Readings = Callable[[EngineInfo], AsyncGenerator["ServerMetrics", None]]
Findings = Callable[[EngineInfo], AsyncGenerator["Finding", None]]
_MARKS = {True: ("✓", "$text-success"), False: ("✗", "$text-error"), None: ("–", "$muted")}
_WIDTH = 18


class EngineScreen(ModalScreen[None]):
    """What the server counts is read only while this is open. D examines the engine, Escape closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "Close"),
        Binding("d", "examine", "Examine it"),
    ]

    def __init__(self, engine: EngineInfo, readings: Readings, findings: Findings) -> None:
        super().__init__()
        self._engine, self._readings, self._findings = engine, readings, findings
        self._about = ProseView(about(engine))
        self._server = ProseView(_rows("Server", [("metrics", "asking …")]))
        self._health = ProseView([_hint("D examines it: a minute or two on a slow machine")])

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with VerticalScroll(id="engine"):
            yield self._about
            yield self._server
            yield self._health

    def on_mount(self) -> None:
        """Begin to read."""
        self._read()

    def action_examine(self) -> None:
        """Let the engine prove what it can."""
        self._examine()

    @work(exclusive=True, group="readings")
    async def _read(self) -> None:
        end = "it shows none"
        async with aclosing(self._readings(self._engine)) as readings:
            async for found in readings:
                self._server.show(server_lines(found))
                end = "it does not answer any more"
        self._server.show(_rows("Server", [("metrics", end)]))

    @work(exclusive=True, group="findings")
    async def _examine(self) -> None:
        lines: list[Line] = [_title("Examination")]
        self._health.show([*lines, _hint("at work …")])
        async with aclosing(self._findings(self._engine)) as findings:
            async for finding in findings:
                lines += finding_lines(finding)
                self._health.show([*lines, _hint("at work …")])
        self._health.show(lines)


def about(engine: EngineInfo) -> list[Line]:
    """What the engine is."""
    context = f"{count(engine.context)} tokens" if engine.context else "unknown"
    rows = [("model", engine.model), ("address", engine.name), ("language", engine.dialect), ("context", context)]
    return _rows("Engine", [*rows, ("chosen because", engine.why or "it was given")])


def server_lines(found: ServerMetrics) -> list[Line]:
    """What the server counts."""
    first = found.first_token
    rows = [
        ("requests", None if found.running is None else f"{found.running} running, {found.waiting or 0} waiting"),
        ("KV cache", _share(found.kv, "full")),
        ("prefix cache", _share(found.hit_rate, "of prompt tokens from it")),
        ("writes", None if found.tokens_per_second is None else f"{found.tokens_per_second:.0f} tokens/s"),
        ("first token", first and f"{first[0]:.2f} s, for 95 % under {first[1]:.2f} s"),
        ("preempted", f"{found.preemptions} for want of memory" if found.preemptions else None),
        ("speculation", _share(found.acceptance, "of guessed tokens right")),
    ]
    return _rows(f"Server ({found.program or 'unknown'})", [(name, text) for name, text in rows if text])


def finding_lines(finding: Finding) -> list[Line]:
    """What an examination found, and what to change."""
    mark, colour = _MARKS[finding.ok]
    first = Content.styled(f"  {mark} ", colour)
    body = Content.assemble((f"{finding.name}: ", "$foreground"), (one_line(finding.detail), "$muted"))
    lines = [Line(body, first, Content("    "))]
    if finding.change:
        lines.append(Line(Content.styled(f"→ {finding.change}", "$text-warning"), Content("    "), Content("      ")))
    return lines


def _share(value: float | None, what: str) -> str | None:
    return None if value is None else f"{value:.0%} {what}"


def _rows(title: str, rows: list[tuple[str, str]]) -> list[Line]:
    lines = [_title(title)]
    for name, text in rows:
        first = Content.styled(f"  {name:<{_WIDTH - 2}}", "$muted")
        lines.append(Line(Content.styled(one_line(text), "$foreground"), first, Content("    ")))
    return [*lines, Line(EMPTY)]


def _title(text: str) -> Line:
    return Line(Content.styled(text, "bold $primary"))


def _hint(text: str) -> Line:
    return Line(Content.styled(text, "$muted"))
