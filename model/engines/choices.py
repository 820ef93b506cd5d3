"""The choices of one completion, put together from events in which they come mixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.batch import Sample
from model.engine import Finish
from model.surrogates import replace_surrogates

FINISH = {"stop": Finish.STOP, "tool_calls": Finish.STOP, "function_call": Finish.STOP, "length": Finish.LENGTH}
"""Why a choice ended, by OpenAI's words for it; any other reason is an early end."""


@dataclass(slots=True)
class _Choice:
    parts: list[str] = field(default_factory=list)
    finish: Finish | None = None
    tokens: int = 0


@dataclass(slots=True)
class Choices:
    """Takes events of /v1/completions, from a server or from llama.cpp itself."""

    _choices: dict[int, _Choice] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note what an event adds to its choices; what has not the form of one is left out."""
        found = event.get("choices")
        for entry in found if isinstance(found, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("index", 0), int):
                self._add(self._choices.setdefault(entry.get("index", 0), _Choice()), entry, event.get("timings"))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The replies so far, by index; one without an end was cut."""
        ordered = (self._choices[index] for index in sorted(self._choices))
        return tuple(Sample("".join(choice.parts), choice.finish or Finish.CUT) for choice in ordered)

    @property
    def tokens(self) -> int:
        """Tokens of all replies: as llama.cpp counts them, else one for each event with text, which is the least."""
        return sum(choice.tokens for choice in self._choices.values())

    def _add(self, choice: _Choice, entry: Mapping[str, Any], timings: object) -> None:
        text = entry.get("text")
        if isinstance(text, str) and text:
            choice.parts.append(replace_surrogates(text))
            choice.tokens += 1
        if isinstance(timings, dict) and isinstance(timings.get("predicted_n"), int):
            choice.tokens = timings["predicted_n"]
        if entry.get("finish_reason") is not None:
            choice.finish = FINISH.get(str(entry["finish_reason"]), Finish.CUT)
