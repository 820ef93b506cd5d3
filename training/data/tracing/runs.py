"""Makes calls in the sandbox, and reads what was seen of them."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from assistant import interrupts
from assistant.config import Settings
from assistant.errors import UserError
from assistant.safety.choice import sandbox_for
from assistant.safety.sandbox import Sandbox
from training.data.repositories.environments import variables
from training.data.tracing.code import Shown

HASH_SEEDS = ("1", "4242")
"""In which order sets and the like come depends on it; what differs between the two is left out. Our choice."""
_INSIDE = Path(__file__).with_name("inside.py")
_LARGEST = 400_000_000
"""Characters of what a run may say; our choice."""
_EACH = 6.0
"""Seconds a call may take before a whole run is given up, and as many for each module; our choice."""
_LEAST = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function that is shown: an expression in which only its name needs the module."""

    id: str
    function: Shown
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the file that ran, the variables that it changed, and notes such as ``("returns", "3")``."""

    row: int
    changed: Mapping[str, str]
    notes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a call: its `answer` and how it came about, or `why` there is none, in a word and a few more."""

    answer: str = ""
    wrapped: bool = False
    start: Mapping[str, str] | None = None
    steps: tuple[Step, ...] = ()
    why: str = ""
    detail: str = ""


def sandbox_of(root: Path, python: str) -> Sandbox:
    """Where the calls of a source are made, with its own interpreter in reach (empty: the one that runs this).

    Raises:
        UserError: there is no sandbox here.
    """
    sandbox = sandbox_for(root.resolve(), Settings(), variables(python))
    if not sandbox.contains_throwaway:
        raise UserError("calls are only followed in a sandbox, and none works here; `kat doctor` shows why")
    return sandbox


def follow(sandbox: Sandbox, python: str, calls: Sequence[Call], jobs: int = 1) -> dict[str, Seen]:
    """Make each call twice, each time in a process of its own in a throw-away view; by id what was seen both times.

    With `jobs` of two or more both at a time.

    Raises:
        UserError: Python does not start there.
    """
    return interrupts.run(_follow(sandbox, python or sys.executable, calls, jobs))


async def _follow(sandbox: Sandbox, python: str, calls: Sequence[Call], jobs: int) -> dict[str, Seen]:
    with _folder(calls) as folder:
        lanes = asyncio.Semaphore(max(1, jobs))

        async def seen(seed: str) -> dict[str, Any]:
            async with lanes:
                return await _run(sandbox, python, folder, seed, len(calls))

        first, second = await asyncio.gather(*map(seen, HASH_SEEDS))
    return {call.id: _agreed(first.get(call.id), second.get(call.id)) for call in calls}


@contextmanager
def _folder(calls: Sequence[Call]) -> Iterator[Path]:
    """A folder with what runs inside, and what it is to do."""
    with tempfile.TemporaryDirectory(prefix="kat-trace-") as name:
        folder = Path(name).resolve()
        (folder / _INSIDE.name).write_bytes(_INSIDE.read_bytes())
        (folder / "calls.json").write_text(json.dumps(_parts(calls)), "utf-8")
        yield folder


async def _run(sandbox: Sandbox, python: str, folder: Path, seed: str, count: int) -> dict[str, Any]:
    done = await sandbox.run(
        [python, "-B", str(folder / _INSIDE.name), str(folder / "calls.json")],
        timeout=_LEAST + _EACH * count,
        throwaway=True,
        env={"PYTHONHASHSEED": seed, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        output_limit=_LARGEST,
        show=(folder,),
    )
    rows = {row["id"]: row for row in _rows(done.output)}
    if not rows and done.exit_code:
        raise UserError(
            f"calls cannot be followed: {done.output.strip()[-300:] or f'Python ended with {done.exit_code}'}"
        )
    return rows


def _rows(output: str) -> Iterator[dict[str, Any]]:
    """The lines that are whole; the code that runs may write there too."""
    for line in output.split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            yield row


def _parts(calls: Iterable[Call]) -> list[dict[str, Any]]:
    """The calls module by module."""
    return [
        {**_place(path), "path": path, "calls": [_spec(call) for call in part]}
        for path, part in groupby(calls, lambda call: call.function.module.path)
    ]


def _spec(call: Call) -> dict[str, Any]:
    function = call.function
    return {
        "id": call.id,
        "function": function.node.name,
        "rows": function.rows,
        "helpers": function.helpers,
        "call": call.text,
    }


def _place(path: str) -> dict[str, str]:
    """The folder that a file is imported from, and its name as a module."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    at = 1 if parts[0] in ("src", "lib") and len(parts) > 1 else 0
    return {"root": "/".join(parts[:at]) or ".", "module": ".".join(parts[at:])}


def _agreed(first: dict[str, Any] | None, second: dict[str, Any] | None) -> Seen:
    if first is None or second is None:
        return Seen(why="died", detail="its process ended and said nothing")
    if first != second:
        return Seen(why="flaky", detail="a second run of it went otherwise")
    try:
        return _seen(first)
    except (KeyError, TypeError, ValueError):
        return Seen(why="died", detail="what its process said cannot be read")


def _seen(row: Mapping[str, Any]) -> Seen:
    if "why" in row:
        return Seen(why=str(row["why"]), detail=str(row["detail"]))
    steps = (Step(int(line), dict(changed), tuple(map(tuple, notes))) for line, changed, notes in row["steps"])
    return Seen(str(row["answer"]), bool(row["wrapped"]), dict(row["start"]), tuple(steps))
