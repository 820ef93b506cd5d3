"""`kat train watch RUN`: follows the files of a run, and shows its curves in the terminal."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.errors import UserError
from assistant.safety.sanitize import sanitize
from training.recipe import build, layers
from training.runtime.folder import RunFolder
from training.settings import Recipe

if TYPE_CHECKING:
    from tui.training import Reading

_LOG = 4
_UNFINISHED = "The run is not finished: "


def watch(run: Path) -> int:
    """Show the curves of a run until the user leaves."""
    follower = Follower(run)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(f"the curves need a terminal; the figures are in {RunFolder(run).metrics}")
    from tui.training import run as show

    return show(follower.read)


class Follower:
    """Reads what a run writes, each line once; a file that was written anew is read from its beginning.

    Raises:
        UserError: the folder holds no run.
    """

    def __init__(self, run: Path) -> None:
        self._folder = RunFolder(run)
        if not self._folder.recipe.exists():
            raise UserError(f"{run} is no folder of a run: it has no recipe.toml")
        self._recipe = build(Recipe, layers(self._folder.recipe, (), {}))
        self._begin(0)

    def read(self) -> Reading:
        """The run as it stands."""
        from tui.training import Reading, StageCurves

        self._more()
        stages = tuple(
            StageCurves(stage, self._steps[stage], self._wanted(stage), figures)
            for stage, figures in self._curves.items()
        )
        return Reading(self._recipe.name, stages, self._state(), self._log())

    def _begin(self, file: int) -> None:
        self._file, self._offset = file, 0
        self._steps: dict[str, int] = {}
        self._curves: dict[str, dict[str, list[float]]] = defaultdict(dict)

    def _more(self) -> None:
        try:
            with self._folder.metrics.open("rb") as stream:
                about = os.fstat(stream.fileno())
                if about.st_ino != self._file or about.st_size < self._offset:
                    self._begin(about.st_ino)
                stream.seek(self._offset)
                found = stream.read()
        except OSError:
            return
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            stage, step = str(row.pop("stage")), int(row.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._steps[stage] = step
        for name, value in row.items():
            number = value if isinstance(value, int | float) else math.nan
            self._curves[stage].setdefault(sanitize(name), []).append(float(number))

    def _wanted(self, stage: str) -> int | None:
        return getattr(getattr(self._recipe, stage, None), "steps", 0) or None

    def _state(self) -> str:
        try:
            lines = self._folder.report.read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        return next((line.removeprefix(_UNFINISHED) for line in lines if line.startswith(_UNFINISHED)), "finished")

    def _log(self) -> tuple[str, ...]:
        try:
            lines = self._folder.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ()
        return tuple(sanitize(line) for line in lines[-_LOG:])
