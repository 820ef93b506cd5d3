"""What a stage says while it works that is more than a word for the screen; it is text, so that anybody can show it.

Whoever runs a stage may look for these among what its context's `watch` is told, and keep them in the report.
"""

from __future__ import annotations

from collections.abc import Mapping


class Cost(str):
    """What something cost, in words; `figures` are the same as numbers by name, to be added up."""

    __slots__ = ("figures",)
    figures: Mapping[str, float]

    @classmethod
    def of(cls, words: str, figures: Mapping[str, float]) -> Cost:
        """The words with their numbers."""
        cost = cls(words)
        cost.figures = dict(figures)
        return cost


class Note(str):
    """A line that belongs into the report, such as a row of a table."""

    __slots__ = ()
