"""`kat train data preview`, `stats` and `export`: looking at samples, and handing them on."""

from __future__ import annotations

import json
from dataclasses import asdict

from assistant.commands.figures import console, table
from assistant.errors import Exit, UserError
from model.dialects import dialect as dialect_named
from model.prompt import Dialect
from training.data.flow.exporting import exported
from training.data.flow.shards import put, read, within
from training.data.preview import Chosen, coloured, headline, legend
from training.data.schema import Sample
from training.data.stats import COLUMNS, counted
from training.near import nearest

__all__ = ["Chosen", "export", "preview", "stats"]


def preview(place: str, chosen: Chosen, dialect: str, *, whole: bool) -> int:
    """Show some samples with their loss mask."""
    speaks = _dialect(dialect)
    samples = chosen.of(read(Sample, place))
    screen = console()
    if not samples:
        raise UserError(_none_fits(place, chosen))
    screen.print(legend())
    for sample in samples:
        screen.print()
        screen.rule(headline(sample), align="left", style="dim")
        screen.print(coloured(sample, speaks, whole=whole), soft_wrap=not screen.is_terminal)
    return Exit.DONE


def _none_fits(place: str, chosen: Chosen) -> str:
    families = sorted({sample.family for sample in read(Sample, place)})
    if not families:
        return f"{place} holds no samples at all; its report.json and refused.jsonl say why"
    if chosen.family is not None and chosen.family not in families:
        return f"{place} has no family {chosen.family!r}; {nearest(chosen.family, families)}"
    return f"no sample in {place} fits; leave --family or --mode out, or see `kat train data stats`"


def stats(place: str, *, json_: bool) -> int:
    """Count samples."""
    found = counted(read(Sample, place))
    if json_:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return Exit.DONE
    console().print(table(f"{place}; prompt and reply in tokens, at 4 characters each", COLUMNS, found.rows()))
    return Exit.DONE


def export(place: str, out: str, dialect: str) -> int:
    """Write samples as JSON lines for other programs."""
    found = list(read(Sample, place))
    put(out, "samples.jsonl", "".join(f"{line}\n" for line in exported(found, _dialect(dialect))))
    apart = sum(each.split != "train" or not each.trainable for each in found)
    also = f", {apart:,} of them not to train on: look at split and trainable" if apart else ""
    print(f"{len(found):,} samples in {within(out, 'samples.jsonl')}{also}")
    return Exit.DONE


def _dialect(name: str) -> Dialect:
    try:
        return dialect_named(name)
    except ValueError as error:
        raise UserError(str(error)) from None
