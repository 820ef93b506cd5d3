"""How far a server's start is, read off its log, and how long the last start of the same model took."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_REMEMBERED = 64
"""Starts that are remembered, one for each model and way to run it; our choice."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a start; `detail` is what the log says of it, such as a percentage."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A line that shows a stage; `detail` is a template of the pattern's groups."""

    stage: str
    pattern: re.Pattern[str]
    detail: str = ""


STARTING = Stage("starting")
_MARKS = (
    _Mark("reading the configuration", re.compile(r"Using max model len")),
    _Mark("starting the engine", re.compile(r"Initializing a V1 LLM engine")),
    _Mark("downloading weights", re.compile(r"(?:Fetching \d+ files|Downloading[^:]*): +(\d+%)"), "{0}"),
    _Mark("downloading weights", re.compile(r"Time spent downloading weights")),
    _Mark("loading weights", re.compile(r"Loading \w+ checkpoint shards: +(\d+%)"), "{0}"),
    _Mark("loading weights", re.compile(r"Starting to load model|kat: loading ")),
    _Mark("loading weights", re.compile(r"Model loading took ([\d.]+ GiB)"), "{0} loaded"),
    _Mark("compiling", re.compile(r"Start compiling|Dynamo bytecode transform|Warming up model for the compilation")),
    _Mark("compiling", re.compile(r"torch\.compile took ([\d.]+ s)"), "{0}"),
    _Mark("sizing the KV cache", re.compile(r"Available KV cache memory: ([\d.]+ GiB)"), "{0}"),
    _Mark("sizing the KV cache", re.compile(r"KV cache size: ([\d,]+ tokens)"), "{0}"),
    _Mark("capturing graphs", re.compile(r"Capturing CUDA graphs[^:]*: +(\d+%)"), "{0}"),
    _Mark("capturing graphs", re.compile(r"Graph capturing finished in (\d+ secs)"), "{0}"),
    _Mark("opening the server", re.compile(r"Starting vLLM (?:API )?server|kat: listening on")),
)
_ORDER = {name: number for number, name in enumerate(dict.fromkeys(mark.stage for mark in _MARKS))}
NAMES = (STARTING.name, *_ORDER)
"""The stages in their order; not every start has all of them."""


@dataclass(slots=True)
class StageReader:
    """Reads lines of a log. A stage never goes back: the workers of many GPUs write at different times."""

    stage: Stage = STARTING

    def read(self, line: str) -> Stage | None:
        """The stage that begins with this line, or gets another detail; None if nothing is new."""
        for mark in _MARKS:
            if (found := mark.pattern.search(line)) is None:
                continue
            new = Stage(mark.stage, mark.detail.format(*found.groups()))
            if new == self.stage or _ORDER[new.name] < _ORDER.get(self.stage.name, -1):
                return None
            self.stage = new
            return new
        return None


@dataclass(slots=True)
class Timings:
    """Seconds that starts took, by what was started, kept in a file; one that cannot be read or written is no loss."""

    path: Path
    _known: dict[str, float] = field(default_factory=dict)

    def last(self, key: str) -> float | None:
        """Seconds from start to ready, the last time."""
        self._load()
        return self._known.get(key)

    def remember(self, key: str, seconds: float) -> None:
        """Keep how long it took now."""
        self._load()
        self._known.pop(key, None)
        self._known[key] = round(seconds, 1)
        latest = dict([*self._known.items()][-_REMEMBERED:])
        with suppress(OSError):
            self.path.write_text(json.dumps(latest), "utf-8")

    def _load(self) -> None:
        try:
            data = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            data = {}
        items = data.items() if isinstance(data, dict) else ()
        self._known = {str(key): float(value) for key, value in items if isinstance(value, int | float)}
