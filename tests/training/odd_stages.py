"""A stage that does everything a stage may do, and some things that it may not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from assistant.errors import UserError
from training.data.schema import Provenance, Record, Refused, Task, content_id
from training.data.stage import Context

TASKS = [Task(content_id("task", str(n)), "question", f"what is {n}?", Provenance("s")) for n in range(40)]


@dataclass(frozen=True, slots=True)
class Odd:
    """Refuses, multiplies and changes tasks by their ids; dies, raises and complains where it is told to."""

    seed: int = 0
    dies: tuple[str, ...] = ()
    raises: tuple[str, ...] = ()
    complains: tuple[str, ...] = ()
    pause: float = 0.0

    name: ClassVar[str] = "odd"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Record | Refused]:
        for task in records:
            time.sleep(self.pause)
            if task.id in self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            if task.id in self.raises:
                raise ValueError(f"at {id(task)}")
            if task.id in self.complains:
                raise UserError("there is no sandbox here")
            match int(task.id[-4:], 16) % 4:
                case 0:
                    yield Refused(task.id, "odd", "its id is a multiple of four")
                case 1:
                    yield from (replace(task, answer=str(number)) for number in range(2))
                case _:
                    yield replace(task, answer=f"seed {self.seed}")


@dataclass(frozen=True, slots=True)
class Count:
    """Looks at all records at once."""

    name: ClassVar[str] = "count"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Task
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Record | Refused]:
        tasks = list(records)
        for number, task in enumerate(tasks):
            yield replace(task, answer=f"{number + 1} of {len(tasks)}")
