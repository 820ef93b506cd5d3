"""How often mistakes in a function go unnoticed by its tests, from the mutants that were tried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from assistant.errors import UserError
from training.data.flow import shards
from training.data.flow.places import content
from training.data.flow.reporting import REFUSALS
from training.data.flow.shards import text_in
from training.data.schema import Provenance, Task

Place = tuple[str, str, str]
"""A source, a path in it and a function."""


@dataclass(frozen=True, slots=True)
class Survivors:
    """Shares of mutants that no test noticed, by function; of functions with one mutant or more."""

    shares: Mapping[Place, float] = field(default_factory=dict)

    @classmethod
    def of(cls, mutants: str, verified: str) -> Survivors:
        """From the folder of the mutants and the one of those that were verified; none where a place is empty.

        Raises:
            UserError: a folder cannot be read.
        """
        if not (mutants and verified):
            return cls()
        return _read(mutants, content(mutants), verified, text_in(verified, REFUSALS))

    def share(self, provenance: Provenance) -> float | None:
        """That of the function which a record is about; None where it was not mutated."""
        return self.shares.get(_place(provenance))


def _place(provenance: Provenance) -> Place:
    return provenance.source, provenance.path, provenance.function


@lru_cache(1)
def _read(mutants: str, digest: str | None, verified: str, refusals: str | None) -> Survivors:
    """Those of places as long as the same is there: a stage is called again for each chunk."""
    known = {task.id: _place(task.provenance) for task in shards.read(Task, mutants)}
    unseen = Counter(known[one] for one in _unnoticed(verified, refusals) if one in known)
    return Survivors({place: unseen[place] / count for place, count in Counter(known.values()).items()})


def _unnoticed(verified: str, refusals: str | None) -> list[str]:
    """The ids of those that were refused because all tests passed."""
    try:
        rows = [json.loads(line) for line in refusals.split("\n") if line] if refusals is not None else None
    except ValueError:
        rows = None
    if rows is None:
        raise UserError(f"{verified} does not say what was refused; make it with `kat train data verify`")
    return [row["id"] for row in rows if row["reason"] == "not_noticed"]
