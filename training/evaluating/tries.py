"""One try at a held-out task, and what many of them say of a model: pure functions on records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Asked = Literal["auto", "on", "off"]
"""The mode that a try was asked for: the model's own choice, or one that was forced."""


@dataclass(frozen=True, slots=True)
class Try:
    """How a task went. `chose` is the mode of the reply, `wish` that of the user's words, both empty where there is
    none; `passed` is None where nothing told whether it was solved; `judge`, `think` and `answer` are the tokens that
    were drawn for them; `formed` says that the reply is one."""

    task: str
    family: str
    asked: Asked
    chose: str
    passed: bool | None
    formed: bool
    judge: int
    think: int
    answer: int
    wish: str = ""

    @property
    def tokens(self) -> int:
        """All that were drawn."""
        return self.judge + self.think + self.answer


@dataclass(frozen=True, slots=True)
class Summary:
    """The tries of one model in one mode. Shares are of tasks, lengths are means in tokens; of `unknown` tasks nothing
    told whether they were solved, so that they are in neither."""

    tried: int
    passed: int
    unknown: int
    formed: float
    thought: float
    judge: float
    think: float
    answer: float

    @property
    def share(self) -> float:
        """Of tasks that were solved, of those of which something told."""
        return self.passed / self.judged if self.judged else 0.0

    @property
    def judged(self) -> int:
        """The tries of which something told whether the task was solved."""
        return self.tried - self.unknown

    @property
    def tokens(self) -> float:
        """Of a whole reply."""
        return self.judge + self.think + self.answer


def summary(tries: Sequence[Try]) -> Summary:
    """What tries in one mode come to."""

    def mean(value: Callable[[Try], float]) -> float:
        return fmean(map(value, tries)) if tries else 0.0

    return Summary(
        len(tries),
        sum(one.passed is True for one in tries),
        sum(one.passed is None for one in tries),
        mean(lambda one: one.formed),
        mean(lambda one: one.chose == "on"),
        mean(lambda one: one.judge),
        mean(lambda one: one.think),
        mean(lambda one: one.answer),
    )


def right_modes(tries: Sequence[Try]) -> Mapping[str, str]:
    """The mode that each task calls for, where something tells: the user's wish; else not thinking where that solves
    it, and thinking where only that does (HiPO's vote, arXiv 2509.23967, of one try each)."""
    found: dict[str, str] = {}
    passed = {(one.task, one.asked): one.passed for one in tries}
    for one in tries:
        if one.wish:
            found[one.task] = one.wish
        elif passed.get((one.task, "off")):
            found[one.task] = "off"
        elif passed.get((one.task, "on")) and passed.get((one.task, "off")) is False:
            found[one.task] = "on"
    return found


def mode_accuracy(tries: Sequence[Try]) -> tuple[int, int]:
    """How many of the choices that can be judged were right, and how many there were."""
    right = right_modes(tries)
    choices = [one for one in tries if one.asked == "auto" and one.task in right]
    return sum(one.chose == right[one.task] for one in choices), len(choices)


def paired(before: Sequence[Try], after: Sequence[Try], asked: Asked) -> list[tuple[Try, Try]]:
    """The tries at the same tasks in one mode, side by side."""
    found = {one.task: one for one in before if one.asked == asked}
    return [(found[one.task], one) for one in after if one.asked == asked and one.task in found]
