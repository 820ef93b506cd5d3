"""Samples counted: by family, mode, what decided the mode, language, difficulty and split, with their length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from training.data.lengths import PER_TOKEN
from training.data.schema import Sample

COLUMNS = ("", "samples", "share", "off", "hard", "prompt", "reply")
_BY: dict[str, Callable[[Sample], str]] = {
    "family": lambda sample: sample.family,
    "mode": lambda sample: sample.mode.value,
    "mode by": lambda sample: sample.by,
    "language": lambda sample: sample.tags.language,
    "difficulty": lambda sample: sample.tags.difficulty,
    "split": lambda sample: sample.split,
    "source": lambda sample: sample.provenance.source,
}


@dataclass(slots=True)
class Tally:
    """What samples of one kind add up to; lengths are in characters."""

    count: int = 0
    off: int = 0
    hard: int = 0
    prompt: int = 0
    reply: int = 0

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        self.count += 1
        self.off += sample.mode.value == "off"
        self.hard += sample.tags.difficulty == "hard"
        self.prompt += sum(len(message.content) for message in sample.messages)
        calls = sum(len(call.raw) or len(str(call.arguments)) for call in sample.calls)
        self.reply += len(sample.judge) + len(sample.think) + len(sample.answer) + calls

    def row(self, name: str, of: int) -> tuple[str, ...]:
        """A line of the table that `COLUMNS` heads."""
        some = max(1, self.count)
        lengths = (f"{length / some / PER_TOKEN:.0f}" for length in (self.prompt, self.reply))
        return (name, f"{self.count:,}", f"{self.count / max(1, of):.1%}", *self._parts(some), *lengths)

    def _parts(self, some: int) -> tuple[str, str]:
        return f"{self.off / some:.1%}", f"{self.hard / some:.1%}"


@dataclass(slots=True)
class Stats:
    """All tallies, by what is counted and its value."""

    all: Tally = field(default_factory=Tally)
    by: dict[str, dict[str, Tally]] = field(default_factory=lambda: {name: {} for name in _BY})

    def rows(self) -> list[tuple[str, ...]]:
        """The table's lines, all of them first."""
        lines = [self.all.row("all", self.all.count)]
        for name, tallies in self.by.items():
            lines += [one.row(f"{name}: {value or '–'}", self.all.count) for value, one in sorted(tallies.items())]
        return lines


def counted(samples: Iterable[Sample]) -> Stats:
    """The tallies of samples."""
    stats = Stats()
    for sample in samples:
        stats.all.add(sample)
        for name, value in _BY.items():
            stats.by[name].setdefault(value(sample), Tally()).add(sample)
    return stats
