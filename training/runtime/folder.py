"""The folder of a run: all that is needed to know what was done, and to go on from where it ended.

    recipe.toml     the resolved recipe            run.json        versions, seed, hashes of data, base
    log.txt         what was said, with times      metrics.jsonl   a line a step, {"stage", "step", name: number}
    samples.jsonl   texts that the model wrote     report.md       the table at the end
    checkpoints/STAGE/step-N/                      STAGE/          what a stage leaves

Files are written beside and renamed, so that none is ever half of itself; a line is one write, and a last line that a
crash cut off is dropped by whoever reads.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.errors import UserError

_STEP = re.compile(r"step-(\d+)")
OUTCOME = "outcome.json"
"""How a stage ended, in its folder; only of one that is finished."""
_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder at `path`. In a world of several processes only the main one writes."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, as TOML."""
        return self.path / "recipe.toml"

    @property
    def about(self) -> Path:
        """What the run was made with, as JSON."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Its figures: a line of JSON a step."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Texts that the model wrote."""
        return self.path / "samples.jsonl"

    @property
    def log(self) -> Path:
        """What was said."""
        return self.path / "log.txt"

    @property
    def report(self) -> Path:
        """The report at its end."""
        return self.path / "report.md"

    def begin(self, recipe: str, about: Mapping[str, Any]) -> None:
        """Make the folder with its resolved recipe and what the run is made with; what it began with is kept.

        Raises:
            UserError: the folder holds a run of another recipe, weights or data, or cannot be written.
        """
        if self._begun() and self.recipe.exists() and self.recipe.read_text(encoding="utf-8") != recipe:
            raise UserError(f"{self.path} holds a run of another recipe; resume that one, or name another with --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            put(self.recipe, recipe)
            self._made_with(json.loads(json.dumps(about, default=str)))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); name another folder") from None

    def began_with(self) -> Path | None:
        """The weights that the run began with in place of its recipe's model."""
        weights = (_object(self.about) or {}).get("weights")
        return Path(weights) if isinstance(weights, str) else None

    def _begun(self) -> bool:
        """Whether there is anything that another recipe, other weights or data would not go on from."""
        return (self.path / "checkpoints").exists() or any(self.path.glob(f"*/{OUTCOME}"))

    def _made_with(self, about: dict[str, Any]) -> None:
        kept = _object(self.about) if self._begun() else None
        if kept is None:
            put(self.about, json.dumps(about, indent=1, sort_keys=True) + "\n")
            return
        for name in ("data", "weights"):
            if kept.get(name) != about.get(name):
                raise UserError(
                    f"{self.path} began with other {name}; bring them back, or name another folder with --out"
                )
        if kept.get("versions") != about.get("versions"):
            self.say(f"goes on with other versions: {about.get('versions')}")

    def stage(self, name: str) -> Path:
        """The folder of what a stage leaves; it is made."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def say(self, line: str) -> None:
        """Put a line into the log, with the time in UTC."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append(self.log, f"{now} {line}\n")

    def measured(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Put the figures of a step into the metrics; what is no finite number is written as null."""
        row = {"stage": stage, "step": step, **{name: _number(value) for name, value in figures.items()}}
        append(self.metrics, json.dumps(row, ensure_ascii=False) + "\n")

    def sampled(self, stage: str, step: int, sample: Mapping[str, Any]) -> None:
        """Keep a text that the model wrote at a step."""
        append(self.samples, json.dumps({"stage": stage, "step": step, **sample}, ensure_ascii=False) + "\n")

    def forget(self, stage: str, after: int) -> None:
        """Drop the lines of a stage behind a step, which a resumed run writes again."""
        for file in (self.metrics, self.samples):
            kept = [row for row in rows(file) if row.get("stage") != stage or row.get("step", 0) <= after]
            put(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))

    def checkpoint(self, stage: str, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.path / "checkpoints" / stage / f"step-{step}"

    def checkpoints(self, stage: str) -> list[tuple[int, Path]]:
        """The whole checkpoints of a stage with their steps, the oldest first."""
        folder = self.path / "checkpoints" / stage
        found = [(int(match[1]), each) for each in _listed(folder) if (match := _STEP.fullmatch(each.name))]
        return sorted(found)


def put(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = file.with_name(file.name + _UNFINISHED)
    with beside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)


def put_folder(folder: Path, unfinished: Path) -> None:
    """Give a folder that was filled at `unfinished` its name, in place of what is there."""
    if folder.exists():
        shutil.rmtree(folder)
    unfinished.rename(folder)


def beside(folder: Path) -> Path:
    """A fresh folder in which the content of `folder` is put together, for `put_folder`."""
    unfinished = folder.with_name(folder.name + _UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def append(file: Path, line: str) -> None:
    """Add a line in one write, so that a reader sees all of it or nothing."""
    with file.open("ab", buffering=0) as stream:
        stream.write(line.encode("utf-8", "backslashreplace"))


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a JSONL file but those that were cut off; a file that is not there has none."""
    if not file.exists():
        return
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with suppress(ValueError):
                if line.endswith("\n"):
                    yield json.loads(line)


def _object(file: Path) -> dict[str, Any] | None:
    """The object that a JSON file holds, if it does."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
