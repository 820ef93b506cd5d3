"""Personalised PageRank (Page, Brin, Motwani and Winograd 1998) by power iteration; links change a few at a time.

The mass of nodes without links goes where the personalisation says, so that all of it stays: ranks sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul, sub

DAMPING = 0.75
_TOLERANCE = 1e-3
_ROUNDS = 60
"""All our choice: a quarter of the walk begins again, and an order of definitions needs no more precision."""


class Links:
    """Weighted links between the nodes 0 to n - 1."""

    def __init__(self) -> None:
        self._out: list[dict[int, float]] = []
        self._in: list[dict[int, float]] = []
        self._flat: tuple[list[int], list[float], list[int]] | None = None

    def __len__(self) -> int:
        return len(self._out)

    def set(self, source: int, weights: Mapping[int, float]) -> None:
        """Make these the links of a node, whatever they were; weights are positive, their size does not matter."""
        self._grow(max(source, *weights) if weights else source)
        total = sum(weights.values())
        shares = {target: weight / total for target, weight in weights.items()}
        if shares == self._out[source]:
            return
        for target in self._out[source].keys() - shares.keys():
            del self._in[target][source]
        for target, share in shares.items():
            self._in[target][source] = share
        self._out[source] = shares
        self._flat = None

    def rank(
        self, personal: Sequence[float], start: Sequence[float] | None = None, tolerance: float = _TOLERANCE
    ) -> list[float]:
        """The rank of each node. `personal` sums to 1; `start`, a rank from before, saves rounds.

        It ends when a round moves less than `tolerance` of the mass, or after 60 rounds.
        """
        rank = list(start) if start is not None and len(start) == len(personal) else list(personal)
        dangling = [node for node, out in enumerate(self._out) if not out]
        for _ in range(_ROUNDS):
            lost = sum(rank[node] for node in dangling)
            back = 1 - DAMPING + DAMPING * lost
            after = [DAMPING * flow + back * own for flow, own in zip(self._flows(rank), personal, strict=True)]
            moved = sum(map(abs, map(sub, after, rank)))
            rank = after
            if moved < tolerance:
                break
        return rank

    def _flows(self, rank: Sequence[float]) -> list[float]:
        """What each node is given: the sums of stretches of one list, which C computes."""
        sources, shares, ends = self._flattened()
        sums = list(accumulate(map(mul, map(rank.__getitem__, sources), shares), initial=0.0))
        at = list(map(sums.__getitem__, ends))
        return list(map(sub, at[1:], at))

    def _flattened(self) -> tuple[list[int], list[float], list[int]]:
        if self._flat is None:
            sources, shares, ends = list[int](), list[float](), [0]
            for links in self._in:
                sources += links
                shares += links.values()
                ends.append(len(sources))
            self._flat = sources, shares, ends
        return self._flat

    def _grow(self, node: int) -> None:
        for _ in range(node + 1 - len(self._out)):
            self._out.append({})
            self._in.append({})
            self._flat = None
