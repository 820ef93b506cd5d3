"""How often mistakes in a function go unnoticed by its tests, from the mutants that were tried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import fsspec

from assistant.errors import UserError
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
        from training.data.flow import shards

        known = {task.id: _place(task.provenance) for task in shards.read(Task, mutants)}
        unseen = Counter(known[one] for one in _unnoticed(verified) if one in known)
        return cls({place: unseen[place] / count for place, count in Counter(known.values()).items()})

    def share(self, provenance: Provenance) -> float | None:
        """That of the function which a record is about; None where it was not mutated."""
        return self.shares.get(_place(provenance))


def _place(provenance: Provenance) -> Place:
    return provenance.source, provenance.path, provenance.function


def _unnoticed(verified: str) -> list[str]:
    """The ids of those that were refused because all tests passed."""
    from training.data.flow.reporting import REFUSALS

    try:
        with fsspec.open(f"{verified}/{REFUSALS}", "r", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise UserError(f"{verified} does not say what was refused; make it with `kat train data verify`") from error
    return [row["id"] for row in rows if row["reason"] == "not_noticed"]
