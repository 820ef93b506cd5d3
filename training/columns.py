"""What is known of each rollout as numbers, so that it can be gathered from all processes; and figures made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from training.advantages import OFF, ON, UNKNOWN, Groups
from training.examples import Place
from training.rewards import judged, number, right_modes, total
from training.rollout import Tried
from training.settings import Rewards

_WISHES = {"auto": UNKNOWN, "on": ON, "off": OFF}


@dataclass(frozen=True, slots=True)
class Columns:
    """What is known of each rollout, gathered over processes: a column each of a (N·G, C) tensor of float32."""

    values: torch.Tensor
    group: int

    NAMES: ClassVar[tuple[str, ...]] = (
        "accuracy", "format", "mode", "forced", "wish", "length", "judge_tokens", "think_tokens", "answer_tokens",
    )  # fmt: skip

    @classmethod
    def of(cls, tried: Tried) -> list[float]:
        """The row of a rollout."""
        known = None if tried.lost else tried.score.accuracy
        return [
            float("nan") if known is None else known,
            tried.score.format,
            float(number(tried.mode)),
            float(tried.forced),
            float(_WISHES[tried.wish.value]),
            float(tried.spent),
            *(float(tried.spent_in(place)) for place in (Place.JUDGE, Place.THINK, Place.ANSWER)),
        ]

    def __getitem__(self, name: str) -> torch.Tensor:
        """A column as groups, (N, G)."""
        return self.values[:, self.NAMES.index(name)].reshape(-1, self.group)

    def groups(self, weights: Rewards) -> Groups:
        """The groups, with what their rollouts and judges earned."""
        accuracy, modes = self["accuracy"], self["mode"].long()
        right = right_modes(accuracy, modes, self["wish"][:, 0].long(), weights)
        rewards = total(accuracy, self["format"], self["length"], weights)
        judges = judged(modes, right, weights)
        return Groups(rewards, accuracy, modes, self["length"], judges, self["forced"].bool())

    def figures(self, groups: Groups) -> dict[str, float]:
        """What to say of an update; think rate, right modes and the share of groups in which all chose one mode are of
        rollouts that chose for themselves."""
        free, knows = ~groups.forced, ~groups.judges.isnan()
        on, off = groups.modes == ON, groups.modes == OFF
        chose = replace(groups, modes=torch.where(free, groups.modes, UNKNOWN))
        lengths = self["length"]
        return {
            "accuracy": _mean(groups.accuracy),
            "accuracy_free": _mean(groups.accuracy[free]),
            "format": _mean(self["format"]),
            "think_rate": _mean(on[free & (on | off)].float()),
            "mode_accuracy": _mean((groups.judges[free & knows] == 1).float()),
            "single_mode": _mean(chose.single.float()),
            "no_spread": _mean((groups.rewards.amax(-1) == groups.rewards.amin(-1)).float()),
            "length": _mean(lengths),
            "length_on": _mean(lengths[on]),
            "length_off": _mean(lengths[off]),
            **{name: _mean(self[name]) for name in self.NAMES[-3:]},
        }


def _mean(values: torch.Tensor) -> float:
    return float(values.nanmean()) if values.numel() else float("nan")
