"""Mutants of one function of a file: quick, for only the function is read, however long the file is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from assistant.evaluation.more_operators import ALL_OPERATORS
from assistant.evaluation.mutation import lines_of, mutants
from assistant.evaluation.operators import Operator
from training.data.repositories.modules import Definition


@dataclass(frozen=True, slots=True)
class Change:
    """Lines `first` to `last` of a file (1-based, `last` may be before `first`: none) and what stands there instead."""

    operator: str
    first: int
    last: int
    new: tuple[str, ...]

    def apart(self, other: Change) -> bool:
        """Whether at least one line that neither touches stands between them."""
        return self.last + 1 < other.first or other.last + 1 < self.first


def changes(
    definition: Definition,
    *,
    seed: int,
    lines: Collection[int] | None = None,
    operators: Sequence[Operator] = ALL_OPERATORS,
) -> Iterator[Change]:
    """Every mutation of a function, kinds in turn, as `assistant.evaluation.mutation.mutants` has them.

    With `lines` (of the file) only statements that have one of them are changed.
    """
    head = "" if definition.owner is None else f"class {definition.owner.name}:\n"
    shift = definition.first - 1 - head.count("\n")
    wanted = None if lines is None else {line - shift for line in lines}
    for mutant in mutants(f"{head}{definition.code}\n", seed=seed, lines=wanted, operators=operators):
        new = [line.rstrip("\n") for line in lines_of(mutant.text)]
        count = len(new) - len(lines_of(f"{head}{definition.code}\n")) + len(mutant.original)
        first, last = mutant.line + shift, mutant.line + shift + len(mutant.original) - 1
        yield Change(mutant.operator, first, last, tuple(new[mutant.line - 1 : mutant.line - 1 + count]))


def changed(definition: Definition, *made: Change) -> str:
    """The text of the whole file with some changes, which must be apart."""
    lines = [*definition.module.lines]
    for change in sorted(made, key=lambda change: change.first, reverse=True):
        lines[change.first - 1 : change.last] = change.new
    return "\n".join(lines)
