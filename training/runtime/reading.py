"""The samples of a recipe as tokens: what is trained on, and what is held out to look at meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from model.prompt import Dialect
from training.data.flow.shards import read
from training.data.schema import Sample
from training.examples import Coder, Example, example
from training.places import place
from training.runtime.feeding import Stored
from training.runtime.folder import put
from training.settings import DataTable


@dataclass(slots=True)
class Data:
    """Samples by their split: to train on, to look at meanwhile, and to look at in the end. `long` were longer than a
    row, `masked` are turns whose call failed, which carry no loss."""

    train: Stored = field(default_factory=Stored)
    valid: Stored = field(default_factory=Stored)
    test: Stored = field(default_factory=Stored)
    long: int = 0
    masked: int = 0

    def add(self, found: Example, part: Stored, row: int) -> None:
        """Put one into a part, where a row can hold it."""
        if len(found) > row:
            self.long += 1
        else:
            part.add(found)

    def said(self) -> str:
        """In one line."""
        left = f"; {self.long:,} are longer than a row and left out" if self.long else ""
        return f"{len(self.train):,} samples of {self.train.tokens:,} tokens, {len(self.valid):,} held out{left}"

    def about(self) -> Mapping[str, Any]:
        """What it was, for the folder of the run."""
        counts = {"train": len(self.train), "valid": len(self.valid), "long": self.long, "masked": self.masked}
        return {**counts, "tokens": self.train.tokens, "sha256": self.train.digest()}

    def write(self, folder: Path) -> None:
        """Put down what it was."""
        put(folder / "data.json", json.dumps(self.about(), indent=1) + "\n")


def samples(table: DataTable, base: Path, dialect: Dialect, tokenizer: Coder) -> Data:
    """Read the samples of a recipe.

    Raises:
        UserError: there are none that can be trained on, or one carries no loss though it should.
    """
    if not table.samples:
        raise UserError("the recipe names no samples; set data.samples to a folder of `kat train data`")
    data = Data()
    for sample in read(Sample, place(base, table.samples)):
        part: Stored = getattr(data, sample.split)
        if not sample.trainable:
            data.masked += 1
        elif not (part is data.train and table.limit and len(part) >= table.limit):
            data.add(example(sample, dialect, tokenizer), part, table.row)
    if not len(data.train):
        raise UserError(f"{table.samples} has no sample of at most {table.row} tokens to train on; raise data.row")
    return data
