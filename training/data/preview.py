"""Samples in the terminal, as a model is trained on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from rich.text import Text

from assistant.safety.sanitize import sanitize
from model.format import Segment
from model.prompt import Dialect
from training.data.masking import Stretch, masked
from training.data.schema import Sample
from training.seeds import derived

COLOURS = {
    Segment.JUDGE: "magenta",
    Segment.MODE: "magenta",
    Segment.THINK: "cyan",
    Segment.ANSWER: "green",
    Segment.TOOL: "yellow",
}
"""The colour of what carries loss, by its part."""
_PROMPT, _FORCED, _FAILED = "dim", "dim italic", "dim strike"
_END_OF_PROMPT = 1_200
"""Characters of a prompt's end that are shown; our choice."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which samples are looked at; the seed decides which of those that fit."""

    count: int = 3
    family: str | None = None
    mode: str | None = None
    seed: int = 0

    def of(self, samples: Iterable[Sample]) -> list[Sample]:
        """The samples that are shown."""
        fit = (one for one in samples if self.family in (None, one.family) and self.mode in (None, one.mode.value))
        return list(islice(sorted(fit, key=lambda one: derived(self.seed, "preview", one.id)), self.count))


def coloured(sample: Sample, dialect: Dialect, *, whole: bool = False) -> Text:
    """A sample's text: prompt and prefill dim, what carries loss in the colour of its part, failed turns struck."""
    text = Text()
    for stretch in masked(sample, dialect):
        shown = sanitize(stretch.text)
        if stretch.segment is None and not whole and len(shown) > _END_OF_PROMPT:
            shown = f"… {len(shown) - _END_OF_PROMPT:,} characters before …\n{shown[-_END_OF_PROMPT:]}"
        text.append(shown, _style(stretch, sample))
    return text


def headline(sample: Sample) -> str:
    """What a sample is, in one line."""
    by = f"{sample.mode.value} by {sample.by}"
    parts = [sample.id, sample.family, by, sample.tags.difficulty, sample.split, sample.provenance.made_by]
    return " · ".join(part for part in parts if part)


def legend() -> Text:
    """What the colours mean."""
    parts = [(name, COLOURS[name]) for name in (Segment.JUDGE, Segment.THINK, Segment.ANSWER, Segment.TOOL)]
    words = [*parts, ("prompt", _PROMPT), ("prefilled", _FORCED), ("failed call", _FAILED)]
    return Text("  ").join(Text(str(word), style) for word, style in words)


def _style(stretch: Stretch, sample: Sample) -> str:
    if stretch.segment is None:
        return _PROMPT
    if stretch.carries_loss:
        return COLOURS[stretch.segment]
    return _FORCED if sample.trainable else _FAILED
