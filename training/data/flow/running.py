"""Running a stage over records: in chunks whose outcomes are kept, so that a run that stopped goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from assistant.errors import UserError
from training.data.flow.chunks import (
    PASSING,
    REFUSED,
    TOLD,
    Chunk,
    Engine,
    Parts,
    Row,
    chunks_of,
    fingerprint,
    reason_of,
    row_of,
)
from training.data.flow.places import digest_of, forget, manifests
from training.data.flow.progress import Progress
from training.data.flow.reporting import REFUSALS, Report, by_reason
from training.data.flow.shards import ROWS, Format, Manifest, Place, local, put, within, write_lines
from training.data.flow.workers import Here, Local
from training.data.schema import KINDS, Record
from training.data.stage import Context, Stage
from training.data.stages import SEVERAL, entry_of

PARTS = ".parts"
__all__ = ["Here", "Local", "Saving", "kinds_of", "run"]


@dataclass(frozen=True, slots=True)
class Saving:
    """How records are saved: the format, how many a shard holds, and how many are written at most, by their order."""

    format: Format = "parquet"
    rows: int = ROWS
    most: int | None = None


def run(
    stage: Stage,
    records: Iterable[Record | Row],
    out: Place,
    context: Context,
    *,
    chunk: int | None = None,
    engine: Engine | None = None,
    saving: Saving = Saving(),
    progress: Progress | None = None,
    label: str = "",
    inputs: str = "",
    asked: str = "",
) -> Report:
    """Run a stage and write what comes of it to the folder `out`, with ``report.json`` and ``refused.jsonl``.

    Outcomes are kept by the content of stage, options and input: a run that was stopped or killed goes on when it is
    called again, and ends in the same bytes as one that was not. `chunk` is how many records are worked on at a time
    (by default what the registry says). Where there are several kinds of records, all but the first have a folder in
    `out` each (`flow.places`).

    `label` and `inputs` are noted in the report: what the stage is called there, and what names all that it read;
    `asked` is the model that the stage asks, of whose replies what is kept depends.

    Raises:
        UserError: the stage cannot work here, does not take these records, or somebody else writes to `out`.
    """
    began = time.monotonic()
    parts = _parts(out, context)
    with _alone(parts, out):
        made = _Run(stage, fingerprint(stage, asked), Parts(parts), saving, progress or Progress(stage.name))
        made.work(
            _rows(stage, records), None if stage.whole else chunk or _size(stage), _engine(stage, engine, context)
        )
        written = made.save(out)
        report = made.report(written, time.monotonic() - began, label or stage.name, inputs)
        report.write(out)
    made.progress.done()
    return report


def kinds_of(wanted: Any) -> tuple[str, ...]:
    """The kinds of records that a stage's `reads` or `writes` names: of a class, of a union, or all."""
    names = tuple(name for name, kind in KINDS.items() if kind is wanted or kind in get_args(wanted))
    return names or tuple(KINDS)


@dataclass(slots=True)
class _Run:
    """A run under way, and what it counted so far.

    `known` are the chunks whose outcome is there, by index, and whether it was before. `loose` are outcomes that are
    not kept: what killed its process, or was refused by an engine, is tried anew by the next run. `kinds` counts the
    records that are wanted, `refusals` and `said` are lines.
    """

    stage: Stage
    identity: str
    parts: Parts
    saving: Saving
    progress: Progress
    keys: list[str] = field(default_factory=list)
    known: dict[int, bool] = field(default_factory=dict)
    loose: dict[str, list[Row]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)

    def work(self, rows: Iterator[Row], size: int | None, engine: tuple[Engine, Context]) -> None:
        """Have all chunks worked on but those known from before, until enough is written."""
        runner, context = engine
        pending: deque[Chunk] = deque()
        fresh = self._fresh(chunks_of(rows, self.identity, size), pending)
        watching = replace(context, watch=self._told(context.watch))
        with closing(_closable(runner.outcomes(self.stage, fresh, watching))) as outcomes:
            for chunk, found in outcomes:
                if not PASSING.isdisjoint(map(reason_of, found)):
                    self.loose[chunk.key] = found
                else:
                    self.parts.put(chunk.key, found)
                self.known[chunk.index] = False
                self._drain(pending)
                if self._enough():
                    return
        self._drain(pending)

    def save(self, out: Place) -> dict[str, Manifest]:
        """Write the shards of each kind, and the refusals; what an earlier run wrote of other kinds is forgotten."""
        there = [kind for kind in KINDS if self.kinds[kind]] or [kinds_of(self.stage.writes)[0]]
        written = {kind: self._shards(kind, within(out, kind) if number else out) for number, kind in enumerate(there)}
        for kind in {*manifests(out)} - {*there}:
            forget(within(out, kind))
        put(out, REFUSALS, "".join(f"{line}\n" for line in self.refusals))
        return written

    def report(self, written: Mapping[str, Manifest], seconds: float, label: str, inputs: str) -> Report:
        """What was done."""
        return Report(
            label,
            self.identity,
            self.progress.read,
            self.kinds.total(),
            by_reason(reason_of(Row(REFUSED, line)) for line in self.refusals),
            self.progress.reused,
            round(seconds, 2),
            digest_of(written),
            self._costs(),
            tuple(one["note"] for one in self.said if "note" in one),
            inputs,
            self.stage.name,
        )

    def _costs(self) -> dict[str, float]:
        """What all chunks cost, whichever run worked on them."""
        costs: Counter[str] = Counter()
        for one in self.said:
            costs.update(one.get("cost", {}))
        return {name: round(value, 2) for name, value in sorted(costs.items())}

    def _shards(self, kind: str, place: Place) -> Manifest:
        return write_lines(
            self._lines(kind), place, kind=kind, format=self.saving.format, rows=self.saving.rows, stage=self.identity
        )

    def _lines(self, kind: str) -> Iterator[str]:
        """The records of a kind in order, as far as they are wanted."""
        left = self.saving.most
        for key in self.keys:
            rows = self._wanted(self._outcome(key), left)
            left = left if left is None else left - _records(rows)
            yield from (row.line for row in rows if row.kind == kind)

    def _fresh(self, chunks: Iterator[Chunk], pending: deque[Chunk]) -> Iterator[Chunk]:
        """The chunks that are still to be worked on."""
        for chunk in chunks:
            pending.append(chunk)
            if self.parts.get(chunk.key) is None:
                yield chunk
            else:
                self.known[chunk.index] = True
                self._drain(pending)
            if self._enough():
                return

    def _drain(self, pending: deque[Chunk]) -> None:
        """Count the chunks whose outcome is known, up to the first whose is not."""
        while pending and pending[0].index in self.known and not self._enough():
            chunk = pending.popleft()
            found = self._outcome(chunk.key)
            refused = sum(1 for row in found if row.kind == REFUSED)
            self._count(found)
            self.progress.add(len(chunk.rows), _records(found), refused, reused=self.known.pop(chunk.index))
            self.keys.append(chunk.key)

    def _count(self, found: Sequence[Row]) -> None:
        """Take note of what is wanted of a chunk's outcome."""
        left = None if self.saving.most is None else self.saving.most - self.kinds.total()
        for row in self._wanted(found, left):
            match row.kind:
                case "refused":
                    self.refusals.append(row.line)
                case "told":
                    self.said.append(json.loads(row.line))
                case kind:
                    self.kinds[kind] += 1

    def _enough(self) -> bool:
        return self.saving.most is not None and self.progress.written >= self.saving.most

    def _outcome(self, key: str) -> list[Row]:
        return self.loose[key] if key in self.loose else self.parts.get(key) or []

    @staticmethod
    def _wanted(found: Sequence[Row], left: int | None) -> Sequence[Row]:
        """The rows up to the last record that is wanted, of which there are `left`; None: all."""
        if left is None:
            return found
        places = [place for place, row in enumerate(found) if row.kind not in (REFUSED, TOLD)]
        return found if len(places) < left else found[: places[left - 1] + 1] if left else []

    def _told(self, watch: Callable[[str], None]) -> Callable[[str], None]:
        def told(text: str) -> None:
            self.progress.say(text)
            watch(text)

        return told


def _records(rows: Iterable[Row]) -> int:
    """How many are neither refusals nor words."""
    return sum(1 for row in rows if row.kind not in (REFUSED, TOLD))


def _rows(stage: Stage, records: Iterable[Record | Row]) -> Iterator[Row]:
    wanted = kinds_of(stage.reads)
    for one in records:
        row = one if isinstance(one, Row) else row_of(one)
        if row.kind not in wanted:
            raise UserError(f"the stage {stage.name} takes records of the kind {' or '.join(wanted)}, not {row.kind}")
        yield row


def _size(stage: Stage) -> int:
    found = entry_of(stage)
    return found.chunk if found else SEVERAL


def _engine(stage: Stage, engine: Engine | None, context: Context) -> tuple[Engine, Context]:
    """What runs the stage: whoever must see all, or asks a model, stays in this process."""
    found = entry_of(stage)
    if stage.whole or (found and found.asks):
        return Here(), context
    return engine or (Local(context.jobs) if context.jobs else Here()), context


def _parts(out: Place, context: Context) -> Path:
    """Where outcomes are kept: beside the records, or, where those are far away, in the cache."""
    if (here := local(out)) is not None:
        return here / PARTS
    return context.cache / "parts" / hashlib.sha256(str(out).encode()).hexdigest()[:16]


@contextmanager
def _alone(parts: Path, out: Place) -> Iterator[None]:
    """Nobody else runs a stage into this folder meanwhile."""
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; name another folder with --out") from None
    with (parts / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another run writes to {out}; wait for it, or name another folder with --out") from None
        yield


def _closable(outcomes: Iterator[Any]) -> Any:
    """An iterator that can be closed, which ends what it started."""
    return outcomes if hasattr(outcomes, "close") else (one for one in outcomes)
