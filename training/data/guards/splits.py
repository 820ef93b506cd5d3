"""What is held out: by time and by module, never record by record, so that nothing like it is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar, TypeVar

from assistant.errors import UserError
from training.data.schema import UNVERIFIED, Refused, Sample, Split, Task
from training.data.stage import Context
from training.seeds import derived

TaskOrSample = TypeVar("TaskOrSample", Task, Sample)
_RANK: dict[Split, int] = {"train": 0, "valid": 1, "test": 2}
_MOST = 1.5
"""How many times the share that is wanted may be held out, as modules are not cut; our choice."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Gives each record its split.

    What was released on `newer` (an ISO date) or later is for the test. Of the rest, whole modules (a file of a source)
    are held out, in an order drawn by `seed`, until they make up shares of `test` and `valid`; modules that would take
    far more are passed over. Records that were made from one another, or from one function, stay together, on the side
    of the one that is held out furthest. A split that a record has already only ever gets further, and is that of its
    module: what is made of a file that was held out before is held out, too. What nothing verifies may be trained on at
    most: where it would be held out it is refused (`unverified`).
    """

    newer: str = ""
    valid: float = 0.05
    test: float = 0.0
    seed: int = 0

    name: ClassVar[str] = "splits"
    version: ClassVar[int] = 2
    reads: ClassVar[Any] = Task | Sample
    writes: ClassVar[Any] = Task | Sample
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[TaskOrSample], context: Context) -> Iterator[TaskOrSample | Refused]:
        """The records, in order.

        Raises:
            UserError: an option makes no sense.
        """
        self._check()
        rows = list(records)
        families = Families()
        for row in rows:
            families.join(_ties(row))
        names = [families.of(f"id\0{row.id}") for row in rows]
        held = _fixed((_module(row), row.split) for row in rows)
        own = (max(self.own(row), held[_module(row)], key=_RANK.__getitem__) for row in rows)
        fixed, modules = _fixed(zip(names, own, strict=True)), _least(zip(names, map(_module, rows), strict=True))
        drawn = self.drawn(Counter(modules[name] for name in names if fixed[name] == "train"))
        for row, name in zip(rows, names, strict=True):
            split = drawn.get(modules[name], "train") if fixed[name] == "train" else fixed[name]
            if split != "train" and row.tags.type == UNVERIFIED:
                yield Refused(
                    row.id, UNVERIFIED, f"it belongs to what is held out for the {split}, and nothing checks it"
                )
            else:
                yield row if row.split == split else replace(row, split=split)

    def own(self, record: Task | Sample) -> Split:
        """The split that a record has whatever is drawn: the one it came with, or the test by its date."""
        released = record.provenance.released[:10]
        return "test" if self.newer and released >= self.newer and released else record.split

    def drawn(self, modules: Mapping[str, int]) -> dict[str, Split]:
        """The modules that are held out, where each has so many records."""
        found: dict[str, Split] = {}
        order = sorted(modules, key=lambda module: (derived(self.seed, "split", module), module))
        shares: tuple[tuple[Split, float], ...] = (("test", self.test), ("valid", self.valid))
        for split, share in shares:
            wanted, got = share * sum(modules.values()), 0
            for module in order:
                if module not in found and got < wanted and got + modules[module] <= _MOST * wanted:
                    found[module] = split
                    got += modules[module]
        return found

    def _check(self) -> None:
        if not (self.valid >= 0 and self.test >= 0 and self.valid + self.test < 1):
            raise UserError("the shares that are held out must leave something; give valid and test below 1 together")
        try:
            date.fromisoformat(self.newer or "2000-01-01")
        except ValueError:
            raise UserError(f"{self.newer!r} is no date; write it as 2026-01-31") from None


class Families:
    """Which names belong together (union and find); a family is called by the smallest of its names."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The family of a name."""
        path = []
        while (above := self._above.get(name, name)) != name:
            path.append(name)
            name = above
        for each in path:
            self._above[each] = name
        return name

    def join(self, names: Sequence[str]) -> None:
        """Make the families of these names one."""
        roots = sorted({self.of(name) for name in names})
        for root in roots[1:]:
            self._above[root] = roots[0]


def _fixed(splits: Iterable[tuple[str, Split]]) -> dict[str, Split]:
    """The split of each family that is held out furthest."""
    found: dict[str, Split] = {}
    for name, split in splits:
        found[name] = max(found.get(name, split), split, key=_RANK.__getitem__)
    return found


def _least(modules: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The module that speaks for each family."""
    found: dict[str, str] = {}
    for name, module in modules:
        found[name] = min(found.get(name, module), module)
    return found


def _ties(record: Task | Sample) -> list[str]:
    """What a record belongs to: itself, what it was made from, and its function."""
    made = record.provenance
    ties = [f"id\0{record.id}"]
    ties += [f"id\0{made.parent}"] if made.parent not in ("", made.source) else []
    ties += [f"id\0{record.task}"] if isinstance(record, Sample) and record.task else []
    ties += [f"in\0{made.source}\0{made.path}\0{made.function}"] if made.function else []
    return ties


def _module(record: Task | Sample) -> str:
    """The file that a record comes from; where none is named, what it was made from."""
    made = record.provenance
    task = record.task if isinstance(record, Sample) else ""
    return f"{made.source}\0{made.path or made.function or made.parent or task or record.id}"
