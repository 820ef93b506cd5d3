"""Personalised PageRank (Page, Brin, Motwani and Winograd 1998) by pushing along links what has not settled yet.

The push is that of Andersen, Chung and Lang (2006). A change of links leaves a difference, perhaps a negative one, that
is pushed in the same way (Zhang, Lofgren and Goel 2016): it costs what it moves, not what there is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

DAMPING = 0.75
"""How much of a walk goes on at each node; our choice, as the precisions of those who walk."""

Links = list[Mapping[int, float]]
"""By node: which share of its mass goes to each of its targets. The shares sum to 1, or there are none."""


class Walk:
    """The ranks of nodes over links that others hold. Mass enters by `add`; ranks are up to a factor, see `total`.

    What waits at a node is pushed on when it passes `precision`, in the unit of the mass that enters.
    """

    def __init__(self, links: Links, precision: float) -> None:
        self.rank: defaultdict[int, float] = defaultdict(float)
        self._links = links
        self._precision = precision
        self._waiting: defaultdict[int, float] = defaultdict(float)

    @property
    def total(self) -> float:
        """The mass that settled, by which a rank is divided to be a share of all."""
        return sum(self.rank.values()) or 1.0

    def add(self, node: int, mass: float) -> None:
        """Let walks begin at a node, or, with a negative mass, no longer."""
        self._waiting[node] += mass

    def relinked(self, node: int, before: Mapping[int, float], after: Mapping[int, float]) -> None:
        """Send after what the node has passed on by its old links what is missing by its new ones."""
        passed = DAMPING * self.rank.get(node, 0.0)
        if passed:
            for target in before.keys() | after.keys():
                self._waiting[target] += passed * (after.get(target, 0.0) - before.get(target, 0.0))

    def settle(self) -> dict[int, float]:
        """Push until all that waits is small; by how much which ranks moved."""
        links, waiting, precision = self._links, self._waiting, self._precision
        moved: defaultdict[int, float] = defaultdict(float)
        turns = deque(node for node, mass in waiting.items() if abs(mass) > precision)
        while turns:
            node = turns.popleft()
            mass = waiting.pop(node, 0.0)
            moved[node] += mass
            mass *= DAMPING
            for target, share in links[node].items():
                before = waiting[target]
                waiting[target] = after = before + mass * share
                if abs(before) <= precision < abs(after):
                    turns.append(target)
        for node, mass in moved.items():
            self.rank[node] += mass
        return moved
