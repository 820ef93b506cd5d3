"""What a stage is: a function from an iterator of records to an iterator of records, that can be named and repeated.

A stage is a frozen dataclass: its fields are its options, all of which can change what comes out, so that stage,
options and input name the output (`identity`). What changes nothing but speed and place stands in the `Context`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from training.data.schema import Record, Refused


@dataclass(frozen=True, slots=True)
class Context:
    """Where a stage works. Nothing here may change what it yields.

    `cache` is a folder for what is dear to make again (environments, replies of models), `jobs` how many things may
    run at a time within the stage, `engine` opens the model that it asks (None: it asks none), `watch` is told, in
    words, what is under way.
    """

    cache: Path
    jobs: int = 1
    engine: Callable[[], Awaitable[Any]] | None = None
    watch: Callable[[str], None] = lambda _: None


class Stage(Protocol):
    """`reads` and `writes` are kinds of records; `whole` says that it must see all of them at once.

    A stage that is not `whole` looks at each record alone: it may be given them in chunks, in several processes or on
    several machines, and what it yields for a record may not depend on the others. `version` goes up when the same
    input gives something else.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[type]
    writes: ClassVar[type]
    whole: ClassVar[bool]

    def __call__(self, records: Iterable[Any], context: Context) -> Iterator[Record | Refused]:
        """What becomes of the records, in their order; a record may become none, one or many."""


def identity(stage: Stage) -> str:
    """A hash of the stage's name, version and options."""
    options = json.dumps(asdict(stage), sort_keys=True, default=str)  # type: ignore[call-overload]
    return hashlib.sha256(f"{stage.name}\0{stage.version}\0{options}".encode()).hexdigest()[:16]
