"""How often tasks were solved in each mode, from a folder of rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from model.format import Mode
from training.data.flow.places import content
from training.data.schema import Rollout, Votes


@dataclass(frozen=True, slots=True)
class PassRates:
    """Rollouts by the id of their task, each in the order in which they came."""

    by_task: Mapping[str, tuple[Rollout, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, place: str) -> PassRates:
        """Those of a folder or file of rollouts; none where the place is empty. Raises UserError."""
        return _read(place, content(place)) if place else cls()

    @classmethod
    def among(cls, rollouts: Iterable[Rollout]) -> PassRates:
        """Those given; one that comes twice counts once."""
        found: dict[str, dict[str, Rollout]] = {}
        for rollout in rollouts:
            found.setdefault(rollout.task, {})[rollout.id] = rollout
        return cls({task: tuple(each.values()) for task, each in found.items()})

    def votes(self, task: str) -> Votes:
        """How often a task was solved in each mode; zeros where nobody tried."""
        return counted(self.by_task.get(task, ()))

    def without_thought(self, task: str) -> float | None:
        """The share of tries without thinking that were right; None where there were none."""
        votes = self.votes(task)
        return votes.off_passed / votes.off_tried if votes.off_tried else None


def counted(rollouts: Iterable[Rollout]) -> Votes:
    """The votes of rollouts, in any order."""
    tries = [(rollout.mode, rollout.passed) for rollout in rollouts]
    on = [passed for mode, passed in tries if mode is Mode.ON]
    off = [passed for mode, passed in tries if mode is Mode.OFF]
    return Votes(sum(on), len(on), sum(off), len(off))


@lru_cache(1)
def _read(place: str, digest: str | None) -> PassRates:
    """Those of a place as long as the same is there: a stage is called again for each chunk."""
    return PassRates.among(read_rollouts(place))


def read_rollouts(place: str) -> Iterable[Rollout]:
    """The rollouts that stand in a folder or file. Raises UserError."""
    from training.data.flow import shards

    return shards.read(Rollout, place)
