"""`kat train data STAGE`: one stage over what another wrote."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assistant.errors import Exit
from training.commands.opening import cache_dir, opener, resumable, runner
from training.data.flow.gathering import rows_from
from training.data.flow.places import manifests
from training.data.flow.progress import Progress
from training.data.flow.reporting import COLUMNS, Report, first_refusal
from training.data.flow.running import Saving, kinds_of
from training.data.flow.running import run as run_stage
from training.data.pipeline import seeded, stage_of
from training.data.stage import Context
from training.data.stages import entry
from training.recipe import assignment, merged_over


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one stage is to do, as the command line says it."""

    stage: str
    places: tuple[str, ...]
    out: str
    seed: int
    jobs: int
    runner: str
    most: int | None
    format: Literal["parquet", "jsonl"]
    sets: tuple[str, ...]
    teacher: str | None
    model: str | None
    json: bool


def run(wanted: Wanted) -> int:
    """Run the stage, and print its report."""
    options = merged(wanted.sets)
    stage = stage_of(wanted.stage, seeded(wanted.stage, options, wanted.seed), f"kat train data {wanted.stage}")
    asks = opener(wanted.teacher, wanted.model) if entry(wanted.stage).asks else None
    context = Context(cache_dir(os.environ), wanted.jobs, asks)
    with resumable("the same command"):
        rows = rows_from(wanted.places, kinds_of(stage.reads), context.cache)
        report = run_stage(
            stage,
            rows,
            wanted.out,
            context,
            engine=runner(wanted.runner, wanted.jobs),
            saving=Saving(wanted.format, most=wanted.most),
            progress=Progress(wanted.stage, _total(wanted.places, kinds_of(stage.reads))),
            asked=asks.asked() if asks else "",
        )
    show([report], wanted.json)
    if not report.written and (why := first_refusal(wanted.out)):
        print(f"nothing came of it: {why}", file=sys.stderr)
    return Exit.DONE if report.written or not report.read else Exit.NOT_ACHIEVED


def merged(sets: Iterable[str]) -> dict[str, Any]:
    """Options given one by one."""
    options: dict[str, Any] = {}
    for word in sets:
        options = merged_over(options, assignment(word))
    return options


def show(reports: list[Report], as_json: bool) -> None:
    """Print reports: a table, or a line of JSON each."""
    if as_json:
        for report in reports:
            sys.stdout.write(json.dumps(asdict(report), ensure_ascii=False) + "\n")
        return
    from assistant.commands.figures import console, table

    console().print(table("", COLUMNS, [report.row() for report in reports]))
    for report in reports:
        if said := report.reasons():
            console().print(said)


def _total(places: tuple[str, ...], kinds: tuple[str, ...]) -> int | None:
    """How many records of these kinds there are, where all places say so."""
    found = [manifests(place) for place in places if "==" not in place]
    counts = [one.count for there in found for kind, one in there.items() if kind in kinds]
    return sum(counts) if all(found) and len(found) == len(places) else None
