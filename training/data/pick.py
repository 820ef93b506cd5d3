"""A few of many: so that what is dear, such as rollouts, is done for some tasks of each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from training.data.schema import Refused, Sample, Task
from training.data.stage import Context
from training.seeds import derived


@dataclass(frozen=True, slots=True)
class Pick:
    """Up to `each` records of every stratum (kind or family, and difficulty); which, the seed decides by their ids."""

    seed: int = 0
    each: int = 4

    name: ClassVar[str] = "pick"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Task | Sample
    writes: ClassVar[Any] = Task | Sample
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[Task | Sample], context: Context) -> Iterator[Task | Sample | Refused]:
        """The chosen ones in their order; the others are refused as `surplus`."""
        found = list(records)
        strata: dict[tuple[str, str], list[Task | Sample]] = defaultdict(list)
        for record in found:
            strata[_kind(record), record.tags.difficulty].append(record)
        chosen = {
            record.id
            for some in strata.values()
            for record in sorted(some, key=lambda one: derived(self.seed, "pick", one.id))[: self.each]
        }
        for record in found:
            if record.id in chosen:
                yield record
            else:
                yield Refused(record.id, "surplus", f"{self.each} others of its kind and difficulty were picked")


def _kind(record: Task | Sample) -> str:
    return record.kind if isinstance(record, Task) else record.family
