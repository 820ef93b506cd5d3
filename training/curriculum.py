"""Which tasks an update takes: in turn at first, then by their history, with a share of those nobody solved.

SRPO (arXiv 2504.14286) drops, in its second stage, prompts whose rollouts were all right, and keeps mixed ones and
those that were all wrong; KAT keeps a share of hard ones, so that the model does not get lazy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.seeds import rng

FIRST = 0.5
"""The share of the run that is the first stage, in which all tasks are taken in turn; our choice."""


@dataclass(slots=True)
class Curriculum:
    """Tasks by name, each drawn about as often; deterministic by seed and step, and the same in all processes.

    `hard` is the share of an update that is kept for tasks of which no rollout was right, `resample` whether the
    second stage leaves out those of which all were.
    """

    tasks: Sequence[str]
    seed: int = 0
    hard: float = 0.0
    resample: bool = False
    _solved: dict[str, float] = field(default_factory=dict)
    _turn: int = 0
    _round: tuple[int, list[str]] = (-1, [])

    def take(self, step: int, steps: int, count: int) -> list[str]:
        """The tasks of update `step` (0-based) of `steps`; the same ones for the same history."""
        second = self.resample and step >= FIRST * steps
        random = rng(self.seed, "curriculum", step)
        unsolved = [name for name in self.tasks if self._solved.get(name) == 0.0]
        wanted = int(self.hard * count + random.random())  # so that the share holds on average, however few are taken
        kept = random.sample(unsolved, min(len(unsolved), wanted))
        names, looked = list(kept), 0
        while len(names) < count:
            name = self._next()
            looked += 1
            if looked > len(self.tasks) or not (name in kept or (second and self._solved.get(name, 0.0) >= 1.0)):
                names.append(name)
        return names

    def see(self, solved: Mapping[str, float]) -> None:
        """Take how many of a task's rollouts were right, as a share."""
        self._solved.update(solved)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"solved": dict(self._solved), "turn": self._turn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self._solved, self._turn = dict(state["solved"]), int(state["turn"])

    def _next(self) -> str:
        """The next task in turn; each round is in an order of its own."""
        around, place = divmod(self._turn, len(self.tasks))
        self._turn += 1
        if self._round[0] != around:
            order = list(self.tasks)
            rng(self.seed, "round", around).shuffle(order)
            self._round = around, order
        return self._round[1][place]
