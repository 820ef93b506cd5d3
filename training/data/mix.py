"""The mix that a model is trained on: KAT's proportions of regimes, and shares of families and sources.

KAT-V1 was trained with 65.2 % of its data without thinking and 34.8 % with (arXiv 2507.08297), and kept 10 % of hard
samples, so that the model does not grow lazy. Where too little is there, the proportion of the regimes is kept first,
then the shares of the families, then hard samples; what was not reached is said, and nothing is used twice unasked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import ClassVar

from assistant.errors import UserError
from model.format import Mode
from training.data.apportion import shared, shared_within
from training.data.flow.told import Note
from training.data.schema import Refused, Sample, content_id
from training.data.stage import Context
from training.seeds import derived

Cell = tuple[str, Mode]
_WHOLE = 2.0**64
_NEAR = 0.01
"""A share that is missed by less than this is reached; our choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many samples of each family and mode to take, how many of them hard ones, and what was not reached."""

    take: Mapping[Cell, int]
    hard: Mapping[Cell, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mix:
    """Takes samples of the training split in proportion; what is held out passes whole, behind them.

    `size` is how many (0: as many as the proportions allow). `off` is the share without thinking, `hard` the least
    share of hard ones. `weights` are shares of families (none: as they come), `sources` how much likelier a sample of
    a source is taken than others (1 where nothing is said, 0: never). A sample is used `repeat` times at most; each
    further use has an id of its own. What is left over is refused as `surplus`; what could not be reached is noted.
    """

    seed: int = 0
    size: int = 0
    off: float = 0.652
    hard: float = 0.10
    weights: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, float] = field(default_factory=dict)
    repeat: int = 1

    name: ClassVar[str] = "mix"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Sample
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[Sample], context: Context) -> Iterator[Sample | Refused]:
        """The mix in an order drawn by the seed, what is held out, and what was left over.

        Raises:
            UserError: an option makes no sense.
        """
        self._check()
        rows = list(records)
        cells = self._cells(row for row in rows if row.split == "train")
        plan = self.plan({cell: (len(all_of), sum(map(_is_hard, all_of))) for cell, all_of in cells.items()})
        taken = [sample for cell, samples in cells.items() for sample in self._pick(samples, plan, cell)]
        yield from sorted(taken, key=lambda sample: (derived(self.seed, "order", sample.id), sample.id))
        yield from (row for row in rows if row.split != "train")
        for note in plan.notes:
            context.watch(Note(note))
        used = {sample.id for sample in taken}
        yield from (Refused(r.id, "surplus") for r in rows if r.split == "train" and r.id not in used)

    def plan(self, counts: Mapping[Cell, tuple[int, int]]) -> Plan:
        """What to take where each cell has so many samples, and so many hard ones among them."""
        there = {cell: count * self.repeat for cell, (count, _) in sorted(counts.items())}
        families = sorted({family for family, _ in there})
        weights = self._weights(families, there)
        usable = {cell: count if weights[cell[0]] > 0 else 0 for cell, count in there.items()}
        size, notes = self._size(usable, weights)
        wanted = shared(size, weights)
        modes = shared(size, {Mode.OFF: self.off, Mode.ON: 1 - self.off})
        take = _filled(wanted, modes, usable)
        hard = {cell: counts[cell][1] * self.repeat for cell in take}
        hard = shared_within(ceil(self.hard * sum(take.values())), take, {c: min(take[c], hard[c]) for c in take})
        return Plan(take, hard, (*notes, *self._notes(take, hard, wanted)))

    def _weights(self, families: Sequence[str], there: Mapping[Cell, int]) -> dict[str, float]:
        if self.weights:
            return {family: float(self.weights.get(family, 0.0)) for family in families}
        return {
            family: float(there.get((family, Mode.OFF), 0) + there.get((family, Mode.ON), 0)) for family in families
        }

    def _size(self, usable: Mapping[Cell, int], weights: Mapping[str, float]) -> tuple[int, list[str]]:
        """How many samples the rarer mode, and where no size was asked for the rarest family, allow."""
        shares = {Mode.OFF: self.off, Mode.ON: 1 - self.off}
        limits = {mode: _sum(usable, mode=mode) / share for mode, share in shares.items() if share > 0}
        rare = min(limits, key=lambda mode: limits[mode])
        most = floor(limits[rare] + 1e-9)
        if not self.size:
            whole = sum(weights.values())
            of_family = [_sum(usable, family=f) * whole / w for f, w in weights.items() if w > 0 and self.weights]
            return min([most, *(floor(each + 1e-9) for each in of_family)]), []
        if self.size <= most:
            return self.size, []
        few = _sum(usable, mode=rare)
        return most, [f"mix: {most} of {self.size} samples, as there are only {few} with thinking {rare.value}."]

    def _notes(self, take: Mapping[Cell, int], hard: Mapping[Cell, int], wanted: Mapping[str, int]) -> Iterator[str]:
        whole = sum(take.values())
        for family in sorted({*self.weights} - {*wanted}):
            yield f"mix: no samples of {family}, as there are none."
        for family, count in wanted.items():
            got = _sum(take, family=family)
            if self.weights and abs(got - count) > _NEAR * max(whole, 1):
                yield f"mix: {got} samples of {family} rather than {count}, by what there was in each mode."
        if sum(hard.values()) < floor(self.hard * whole):
            yield f"mix: only {sum(hard.values())} hard samples of {whole}, as there are no more."

    def _cells(self, rows: Iterable[Sample]) -> dict[Cell, list[Sample]]:
        """The samples by family and mode, those that are taken first at the front."""
        cells: defaultdict[Cell, list[Sample]] = defaultdict(list)
        for row in rows:
            if self.sources.get(row.provenance.source, 1.0) > 0:
                cells[row.family, row.mode].append(row)
        return {cell: sorted(cells[cell], key=self._turn) for cell in sorted(cells)}

    def _turn(self, sample: Sample) -> tuple[float, str]:
        """When a sample is taken: drawn by seed and id, sooner for heavy sources (Efraimidis, Spirakis 2006)."""
        drawn = (derived(self.seed, "mix", sample.id) + 1) / _WHOLE
        return -math.log(min(drawn, 1.0)) / self.sources.get(sample.provenance.source, 1.0), sample.id

    def _pick(self, samples: Sequence[Sample], plan: Plan, cell: Cell) -> Iterator[Sample]:
        """The hard ones that must be among them, then whoever's turn it is."""
        again = [_again(sample, turn) for turn in range(self.repeat) for sample in samples]
        first = [sample for sample in again if _is_hard(sample)][: plan.hard[cell]]
        yield from first
        got = {sample.id for sample in first}
        yield from [sample for sample in again if sample.id not in got][: plan.take[cell] - len(first)]

    def _check(self) -> None:
        if not (0 <= self.off <= 1 and 0 <= self.hard <= 1):
            raise UserError("off and hard are shares; give numbers from 0 to 1")
        if self.size < 0 or self.repeat < 1:
            raise UserError("a mix has a size of 0 or more, and uses a sample once or more")
        if any(weight < 0 for weight in (*self.weights.values(), *self.sources.values())):
            raise UserError("weights are 0 or more")


def _filled(wanted: Mapping[str, int], modes: Mapping[Mode, int], there: Mapping[Cell, int]) -> dict[Cell, int]:
    """How much of each cell to take: rows as wanted as far as may be, columns as `modes` says as far as there is."""
    take = dict.fromkeys(there, 0)
    for family, count in wanted.items():
        mine = {cell: float(modes[cell[1]]) for cell in there if cell[0] == family}
        take |= shared_within(count, mine, there)
    for mode, count in modes.items():
        over = _sum(take, mode=mode) - count
        cells = [cell for cell in there if cell[1] is mode]
        if over > 0:
            less = shared_within(over, {c: float(take[c]) for c in cells}, take)
            take |= {cell: take[cell] - less[cell] for cell in cells}
        elif over < 0:
            spare = {cell: there[cell] - take[cell] for cell in cells}
            more = shared_within(-over, {c: float(spare[c]) for c in cells}, spare)
            take |= {cell: take[cell] + more[cell] for cell in cells}
    return take


def _sum(counts: Mapping[Cell, int], *, mode: Mode | None = None, family: str | None = None) -> int:
    return sum(n for (f, m), n in counts.items() if mode in (None, m) and family in (None, f))


def _again(sample: Sample, turn: int) -> Sample:
    """The sample when it is used once more."""
    if not turn:
        return sample
    name = content_id("sample", sample.id, "again", str(turn))
    return replace(sample, id=name, provenance=replace(sample.provenance, parent=sample.id))


def _is_hard(sample: Sample) -> bool:
    return sample.tags.difficulty == "hard"
