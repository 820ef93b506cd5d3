"""The last line of the screen: think mode, what goes on, engine, context, steps."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from time import monotonic

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from model.engine import EngineInfo
from model.format import ThinkRequest
from tui.theme import THINK_COLOURS, badge
from tui.words import count, duration, one_line, plural

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_SECONDS = 0.1
_BAR_CELLS = 6
_GAP = "   "
_NARROW = 30


class Activity(StrEnum):
    """What goes on."""

    LOADING = "loading the engine"
    READY = "ready"
    WORKING = "working"
    ASKING = "waiting for you"
    DRAINING = "stopping after this step"
    STOPPING = "stopping"
    OFFLINE = "offline"


_LIVELY = frozenset({Activity.LOADING, Activity.WORKING, Activity.DRAINING, Activity.STOPPING})


class StatusBar(Widget):
    """Drops what is least needed where there is no room for it."""

    think: reactive[ThinkRequest] = reactive(ThinkRequest.AUTO)
    activity: reactive[Activity] = reactive(Activity.LOADING)
    engine: reactive[EngineInfo | None] = reactive(None)
    context: reactive[float | None] = reactive(None)
    steps: reactive[int] = reactive(0)
    tokens: reactive[int] = reactive(0)
    hint: reactive[str] = reactive("")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(id="status")
        self._clock = clock
        self._since = clock()

    def watch_activity(self, activity: Activity) -> None:
        """Move only while something goes on."""
        self._since = self._clock()
        self.auto_refresh = _FRAME_SECONDS if activity in _LIVELY else None

    def render(self) -> Content:
        """The parts that fit, left and right."""
        mark = f" think {self.think} " if self.size.width > _NARROW else f" {self.think} "
        left = Content.styled(mark, badge(mark, THINK_COLOURS[self.think]))
        room = self.size.width - left.cell_length
        left_parts, right_parts = self._fit(room)
        right = Content(_GAP).join(right_parts)
        for part in left_parts:
            left = Content.assemble(left, "  ", part)
        gap = self.size.width - left.cell_length - right.cell_length
        return Content.assemble(left, " " * max(0, gap), right)

    def _fit(self, room: int) -> tuple[list[Content], list[Content]]:
        """Keep the most needed parts, in their order on the line."""
        activity, context, spent, engine = self._activity(), self._context_bar(), self._spent(), self._engine()
        hint = Content.styled(self.hint, "$foreground")
        kept: list[Content] = []
        for part in (activity, hint, context, *spent, *engine):
            if part and part.cell_length + len(_GAP) <= room:
                kept.append(part)
                room -= part.cell_length + len(_GAP)
        right = [part for part in (*reversed(engine), context, *spent) if any(part is one for one in kept)]
        return [part for part in kept if part is activity or part is hint], right

    def _activity(self) -> Content:
        colour = {Activity.ASKING: "$text-warning", Activity.OFFLINE: "$text-error"}.get(self.activity, "$muted")
        narrow = self.size.width <= _NARROW
        name = self.activity.value.split()[0] if narrow else self.activity.value
        if self.activity not in _LIVELY:
            return Content.styled(name, colour)
        since = self._clock() - self._since
        frame = _FRAMES[int(since / _FRAME_SECONDS) % len(_FRAMES)]
        return Content.assemble(
            (f"{frame} ", "$primary"), (duration(since) if narrow else f"{name} {duration(since)}", colour)
        )

    def _context_bar(self) -> Content:
        if self.context is None:
            return Content("")
        colour = "$text-warning" if self.context > 0.8 else "$muted"
        if self.size.width <= _NARROW:
            return Content.styled(f"{self.context:.0%}", colour)
        filled = round(min(1.0, max(0.0, self.context)) * _BAR_CELLS)
        return Content.assemble(
            ("━" * filled, colour),
            ("━" * (_BAR_CELLS - filled), "$panel"),
            (f" {self.context:.0%}", colour),
        )

    def _spent(self) -> list[Content]:
        if not self.steps:
            return []
        return [
            Content.styled(plural(self.steps, "step"), "$muted"),
            Content.styled(f"{count(self.tokens)} tok", "$muted"),
        ]

    def _engine(self) -> list[Content]:
        if self.engine is None:
            return []
        model, name = one_line(self.engine.model), one_line(self.engine.name)
        return [Content.styled(model, "$foreground"), Content.styled(name, "$muted")]
