"""What a stage is: a function from an iterator of records to an iterator of records, that can be named and repeated.

A stage is a frozen dataclass: its fields are its options, all of which can change what comes out, so that stage,
options and input name the output (`flow.chunks.fingerprint`). What changes nothing but speed and place stands in the
`Context`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from training.data.schema import Record, Refused

_PLACE = "place"


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


@runtime_checkable
class Outgoing(Protocol):
    """A stage that looks at what is neither its input nor named by an option, such as a repository's last commit."""

    def outside(self) -> str:
        """What it would find there now, as a text that is another one when that is; it is part of its fingerprint."""


def place(default: Any = "", *, by_content: bool = True) -> Any:
    """An option that names a folder of records or a file, or several.

    It counts by what is there, and not by its name, unless the stage itself tells of that (`Outgoing`).
    """
    return field(default=default, metadata={_PLACE: by_content})


def places(stage: Any) -> dict[str, bool]:
    """The options of a stage, or of its class, that are places, and whether they count by what is there."""
    return {option.name: option.metadata[_PLACE] for option in fields(stage) if _PLACE in option.metadata}
