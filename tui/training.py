"""`kat train watch`: the curves of a run, read while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Footer

from tui.curves import bounds, plot, said, spark
from tui.prose import EMPTY, Line
from tui.theme import DARK, LIGHT
from tui.widgets.fold import ProseView
from tui.words import one_line

SECONDS = 1.0
"""How often the run is looked at; our choice."""
_HEIGHT = 8
_NAME = 22
_VALUE = 11
_FIRST = ("loss", "reward", "accuracy", "think_rate", "entropy", "length")
"""Figures that come first, where a run has them; the others follow by name."""


@dataclass(frozen=True, slots=True)
class StageCurves:
    """A stage: the number of its last update, of `steps` if that is known, and its figures, update by update."""

    name: str
    step: int
    steps: int | None
    figures: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Reading:
    """A run at a moment: its stages in their order, how it stands, and the last lines of its log."""

    name: str
    stages: tuple[StageCurves, ...] = ()
    state: str = ""
    log: tuple[str, ...] = ()


@dataclass(slots=True)
class _Looked:
    """What is looked at: a stage (the newest where it is None), and a figure."""

    stage: str | None = None
    figure: int = 0
    read: Reading = field(default_factory=lambda: Reading(""))

    @property
    def curves(self) -> StageCurves | None:
        """The stage, if there is one."""
        stages = self.read.stages
        return next((each for each in stages if each.name == self.stage), stages[-1] if stages else None)


class CurvesApp(App[None]):
    """One figure is large, the others are rows beneath; up and down choose it, left and right the stage."""

    CSS_PATH = Path(__file__).parent / "styles" / "training.tcss"
    TITLE = "KAT Pilot"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "quit", "Leave; the run goes on"),
        Binding("up", "choose(-1)", "The figure above", priority=True),
        Binding("down", "choose(1)", "The figure below", priority=True),
        Binding("left", "turn(-1)", "The stage before", priority=True),
        Binding("right", "turn(1)", "The stage after", priority=True),
    ]

    def __init__(self, read: Callable[[], Reading], *, every: float = SECONDS) -> None:
        super().__init__()
        self._read, self._every = read, every
        self._looked = _Looked()
        self._view = ProseView()

    def compose(self) -> ComposeResult:
        """One scrolling page above the keys."""
        with VerticalScroll():
            yield self._view
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name
        self.refresh_run()
        self.set_interval(self._every, self.refresh_run)

    def on_resize(self) -> None:
        """Curves are as wide as the screen."""
        self._show()

    def refresh_run(self) -> None:
        """Read what is new."""
        self._looked.read = self._read()
        self._show()

    def action_choose(self, by: int) -> None:
        """Make another figure large."""
        self._looked.figure += by
        self._show()

    def action_turn(self, by: int) -> None:
        """Look at another stage."""
        names = [each.name for each in self._looked.read.stages]
        if (curves := self._looked.curves) is not None:
            self._looked.stage = names[max(0, min(names.index(curves.name) + by, len(names) - 1))]
            self._show()

    @property
    def plain(self) -> str:
        """What is shown, as text."""
        return self._view.plain

    def _show(self) -> None:
        width = max(20, self.size.width - 4)
        self._view.show(page(self._looked.read, self._looked.curves, self._looked.figure, width))


def page(read: Reading, curves: StageCurves | None, chosen: int, width: int) -> list[Line]:
    """The whole page at `width` cells; `chosen` counts figures, around the list."""
    lines = [_head(read, curves), Line(EMPTY)]
    if curves is None or not curves.figures:
        lines.append(_muted("no figures yet"))
    else:
        names = ordered(curves.figures)
        name = names[chosen % len(names)]
        lines += [*_large(name, curves.figures[name], width), Line(EMPTY)]
        lines += [_row(each, curves.figures[each], width, large=each == name) for each in names]
    lines += [Line(EMPTY), *(_muted(each) for each in read.log)]
    return lines


def ordered(names: Mapping[str, object]) -> list[str]:
    """Names of figures, those first that are looked at most."""
    first = [name for name in _FIRST if name in names]
    return [*first, *sorted(name for name in names if name not in first)]


def _head(read: Reading, curves: StageCurves | None) -> Line:
    parts = [(read.name, "bold $primary")]
    for stage in read.stages:
        here = curves is not None and stage.name == curves.name
        of = f"/{stage.steps:,}" if stage.steps else ""
        parts.append((f"   {stage.name} {stage.step:,}{of}", "bold $foreground" if here else "$muted"))
    return Line(Content.assemble(*parts, (f"   {one_line(read.state)}", "$warning" if read.state else "$muted")))


def _large(name: str, values: Sequence[float], width: int) -> list[Line]:
    low, high = bounds(values)
    margins = [Content.styled(f"{text:>{_VALUE}} ", "$muted") for text in _marks(low, high)]
    rows = plot(values, max(10, width - _VALUE - 1), _HEIGHT)
    title = Content.assemble((name.replace("_", " "), "bold $foreground"), (f"  {_last(values)}", "$primary"))
    return [
        Line(title),
        *(Line(Content.styled(row, "$primary"), edge) for row, edge in zip(rows, margins, strict=True)),
    ]


def _marks(low: float, high: float) -> list[str]:
    return [said(high), *[""] * (_HEIGHT - 2), said(low)]


def _row(name: str, values: Sequence[float], width: int, *, large: bool) -> Line:
    first = Content.styled(f"{'›' if large else ' '} {name.replace('_', ' '):<{_NAME - 2}.{_NAME - 2}}", "$muted")
    value = Content.styled(f"{_last(values):>{_VALUE}}  ", "$foreground")
    curve = Content.styled(spark(values, max(5, width - _NAME - _VALUE - 3)), "$secondary")
    return Line(curve, first + value)


def _last(values: Sequence[float]) -> str:
    return said(values[-1]) if values else "–"


def _muted(text: str) -> Line:
    return Line(Content.styled(one_line(text), "$muted"), crop=True)


def run(read: Callable[[], Reading]) -> int:
    """Show a run until the user leaves; the exit code."""
    app = CurvesApp(read)
    app.run()
    return app.return_code or 0
