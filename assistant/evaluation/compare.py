"""One run against another: what is solved now and was not, what no longer is, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.evaluation.results import Result, latest, read_results
from assistant.evaluation.statistics import mcnemar
from assistant.evaluation.table import Pair, pairs_of
from model.format import ThinkRequest

COLUMNS = ("mode", "pairs", "gained", "lost", "p", "tokens", "seconds")


@dataclass(frozen=True, slots=True)
class Change:
    """From the first run to the second, in one mode (None: in all): tasks gained and lost, McNemar's p.

    Ratios are of the second to the first, of tokens written and of seconds; None where the first has none.
    """

    mode: ThinkRequest | None
    pairs: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    p: float
    tokens: float | None
    seconds: float | None

    @property
    def name(self) -> str:
        """The mode, or `all`."""
        return self.mode.value if self.mode else "all"

    def row(self) -> tuple[str, ...]:
        """The cells under `COLUMNS`."""
        ratios = ("–" if each is None else f"×{each:.2f}" for each in (self.tokens, self.seconds))
        return (self.name, str(self.pairs), str(len(self.gained)), str(len(self.lost)), f"{self.p:.2g}", *ratios)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs compared; `left_out` are tries that only one of them has, that failed, or whose task changed."""

    changes: tuple[Change, ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """As a JSON object, modes by name."""
        kept = ("pairs", "gained", "lost", "p", "tokens", "seconds")
        modes = {each.name: {name: getattr(each, name) for name in kept} for each in self.changes}
        return {"modes": modes, "left_out": self.left_out}


def read_run(name: str, folder: Path) -> list[Result]:
    """The results of a run: the last one of a file, that of `FILE:RUN`, or a run in `folder` by its id.

    Raises:
        UserError: there is no such run.
    """
    path, run = _place(name, folder)
    results = read_results(path)
    runs = list(dict.fromkeys(result.origin.run for result in results))
    if not runs or (run and run not in runs):
        there = f"it has {', '.join(runs)}" if runs else "it has none"
        raise UserError(f"there is no run {run or 'at all'} in {path}; {there}")
    return latest([result for result in results if result.origin.run == (run or runs[-1])])


def compare(first: Sequence[Result], second: Sequence[Result]) -> Comparison:
    """What changed from the first to the second run, paired by task, mode and repeat.

    Raises:
        UserError: they have nothing in common.
    """
    pairs = pairs_of(first, second, lambda result: result.key)
    if not pairs:
        raise UserError("the two runs have no task and mode in common that can be compared")
    modes = [mode for mode in ThinkRequest if any(a.mode is mode for a, _ in pairs)]
    changes = [_change(mode, [pair for pair in pairs if pair[0].mode is mode]) for mode in modes]
    everything = len({result.key for result in (*first, *second)})
    return Comparison((*changes, *([_change(None, pairs)] if len(modes) > 1 else [])), everything - len(pairs))


def _place(name: str, folder: Path) -> tuple[Path, str]:
    path, _, run = name.rpartition(":")
    for found in ((Path(name), ""), (Path(path), run), (folder / f"{name}.jsonl", "")):
        if found[0].is_file():
            return found
    raise UserError(f"there are no results at {name}; name a file, FILE:RUN, or the id of a run")


def _change(mode: ThinkRequest | None, pairs: Sequence[Pair]) -> Change:
    gained = tuple(b.task for a, b in pairs if b.outcome.solved and not a.outcome.solved)
    lost = tuple(b.task for a, b in pairs if a.outcome.solved and not b.outcome.solved)
    before = [sum(a.outcome.tokens.written for a, _ in pairs), sum(a.outcome.seconds for a, _ in pairs)]
    after = [sum(b.outcome.tokens.written for _, b in pairs), sum(b.outcome.seconds for _, b in pairs)]
    tokens, seconds = (new / old if old else None for new, old in zip(after, before, strict=True))
    return Change(mode, len(pairs), gained, lost, mcnemar(len(gained), len(lost)), tokens, seconds)
