"""Spectrum-based fault localisation: what failing tests run and passing ones do not is suspect."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

LOADING = ""
"""The name under which lines run that are no single test's: modules while they are loaded, and what tests share."""


class Counts(NamedTuple):
    """How many failing and how many passing tests run a line; `loading`: it is run for all of them at once."""

    failed: int
    passed: int
    loading: bool = False


def ochiai(failed: int, passed: int, total_failed: int) -> float:
    """How suspect a line is, in [0, 1], that so many failing and passing tests run.

    failed / sqrt(total_failed * (failed + passed)): Abreu, Zoeteweij, van Gemund, On the Accuracy of Spectrum-based
    Fault Localization, 2007.
    """
    if failed <= 0 or total_failed <= 0:
        return 0.0
    return min(1.0, failed / math.sqrt(total_failed * (failed + passed)))


@dataclass(frozen=True, slots=True)
class Runs:
    """Which tests run which lines: bit i of `files[path][line]` stands for test i; lines count from 1."""

    tests: tuple[str, ...]
    files: Mapping[str, Mapping[int, int]]
    failed: frozenset[str] = frozenset()
    """Tests that were seen to fail."""

    @classmethod
    def joined(cls, parts: Iterable[Runs]) -> Runs:
        """What several processes saw, in one."""
        numbers: dict[str, int] = {}
        files: dict[str, dict[int, int]] = {}
        failed = frozenset[str]()
        for part in parts:
            order = [numbers.setdefault(test, len(numbers)) for test in part.tests]
            for path, lines in part.files.items():
                known = files.setdefault(path, {})
                for line, bits in lines.items():
                    known[line] = known.get(line, 0) | _renumbered(bits, order)
            failed |= part.failed
        return cls(tuple(numbers), files, failed)

    def lines_of(self, passing: Collection[str]) -> dict[str, frozenset[int]]:
        """The lines that a passing test runs, by file; where no such test has a name here, those that any test runs."""
        tests = {test for test in self.tests if test != LOADING}
        mask = self._mask((tests & set(passing)) or tests)
        return {
            path: frozenset(line for line, bits in lines.items() if bits & mask) for path, lines in self.files.items()
        }

    def spectrum(self, failing: Collection[str], passing: Collection[str]) -> Spectrum:
        """The counts of each line that a failing test runs; tests that are in neither set do not count."""
        masks = self._mask(failing), self._mask(passing)
        totals = len(failing), len(passing)
        loading = self._mask({LOADING})
        counted = {
            path: {line: _counts(bits, masks, totals, loading) for line, bits in lines.items()}
            for path, lines in self.files.items()
        }
        kept = {path: {line: one for line, one in lines.items() if one.failed} for path, lines in counted.items()}
        return Spectrum(*totals, {path: lines for path, lines in kept.items() if lines})

    def _mask(self, names: Collection[str]) -> int:
        return sum(1 << number for number, name in enumerate(self.tests) if name in names)


@dataclass(frozen=True, slots=True)
class Spectrum:
    """How many tests failed and passed in all, and by path and line how many of them run it."""

    failing: int
    passing: int
    lines: Mapping[str, Mapping[int, Counts]]

    def score(self, counts: Counts) -> float:
        """Ochiai of a line with these counts."""
        return ochiai(counts.failed, counts.passed, self.failing)


def _renumbered(bits: int, order: list[int]) -> int:
    if order == [*range(len(order))]:
        return bits
    return sum(1 << order[number] for number in range(bits.bit_length()) if bits >> number & 1)


def _counts(bits: int, masks: tuple[int, int], totals: tuple[int, int], loading: int) -> Counts:
    failed, passed = ((bits & mask).bit_count() for mask in masks)
    if bits & loading and not failed and not passed:
        return Counts(*totals, loading=True)
    return Counts(failed, passed)
