"""Runs Python tests so that it is known which lines each of them runs, whatever command starts them."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.fix.localising.spectrum import Runs
from assistant.testing.report import TestReport

_INSIDE = Path(__file__).with_name("inside")
_FOLDER = ".kat-coverage"
_LARGEST = 200_000_000
"""Bytes of what all processes of a run may write; our choice."""
_MOST_TESTS = 200_000
_ASSIGNED = re.compile(r"\bPYTHONPATH=")


@dataclass(slots=True)
class _Harvest:
    """Takes what was seen out of the folder that a run wrote, before that vanishes."""

    parts: list[Runs] = field(default_factory=list)

    def __call__(self, folder: Path) -> None:
        left = _LARGEST if not (folder / _FOLDER).is_symlink() else 0
        for path in sorted((folder / _FOLDER).glob("*.json")):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > left:
                continue
            left -= path.stat().st_size
            self.parts.extend(read_runs(path.read_bytes()))


async def run_watched(
    bench: Bench,
    command: str,
    seconds: float,
    changes: Changes = Changes(),  # noqa: B008 - frozen
) -> tuple[TestReport, Runs]:
    """Run tests for at most `seconds`, and see which lines each runs; no lines where no Python could be watched."""
    harvest, package = _Harvest(), _package()
    watched = _ASSIGNED.sub(lambda found: f"{found[0]}{shlex.quote(str(_INSIDE))}:", command)
    report = await bench.tests(
        changes,
        command=watched,
        timeout=seconds,
        env=_environment(bench.workspace.root, package),
        show=(_INSIDE, package),
        harvest=harvest,
    )
    return report, Runs.joined(harvest.parts)


def read_runs(data: bytes) -> Iterator[Runs]:
    """What one process wrote; nothing if it is anything else, for the tests may write there too."""
    try:
        yield _runs(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def _runs(found: Any) -> Runs:
    tests = tuple(map(str, found["contexts"]))[:_MOST_TESTS]
    most = (1 << len(tests)) - 1
    return Runs(
        tests,
        {
            str(path): {int(line): int(bits, 16) & most for line, bits in lines.items()}
            for path, lines in found["files"].items()
        },
        frozenset(map(str, found["failed"])),
    )


def _environment(root: Path, package: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(_INSIDE),
        "KAT_COVERAGE": str(package),
        "KAT_COVERAGE_ROOT": str(root),
        "TOX_OVERRIDE": "testenv.pass_env+=PYTHONPATH,KAT_COVERAGE*",
    }


def _package() -> Path:
    """Where coverage.py lies; it is not loaded here."""
    spec = importlib.util.find_spec("coverage")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
