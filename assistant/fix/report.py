"""What `kat fix` found, did and proved."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from assistant.records import StepRecord, Tokens

Status = Literal["fixed", "not_fixed", "nothing_to_fix", "error"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The last run of the tests: what ran, on which git tree, how it ended, and the SHA-256 of what it printed."""

    command: str
    exit_code: int
    tree: str
    output_sha256: str


@dataclass(frozen=True, slots=True)
class SuspectLine:
    """A line that may be wrong: 1-based `line` of `path`, a score in [0, 1], and what speaks against it, in words."""

    path: str
    line: int
    score: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One attempt in a line: who made it and how, and why it holds or does not.

    `count` is how often the same was proposed by then.
    """

    strategy: str
    think: str
    temperature: float | None
    fixed: bool
    why: str
    files: tuple[str, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class FixReport:
    """The result; its JSON form is a contract (see docs/commands.md).

    `patch` is proven only where `status` is `fixed`; else it is that of the best attempt. `own_test` is the patch of a
    test that was written first, because only an issue was given; it is a part of `patch`. `views` says how the copies
    were made: `overlay`, `reflink` or `copy`.
    """

    status: Status
    message: str
    test_command: str = ""
    failed_before: tuple[str, ...] = ()
    failed_after: tuple[str, ...] = ()
    patch: str = ""
    files: tuple[str, ...] = ()
    candidates: int = 0
    steps: tuple[StepRecord, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    seconds: float = 0.0
    receipt: Receipt | None = None
    strategy: str = ""
    flaky: tuple[str, ...] = ()
    own_test: str = ""
    suspects: tuple[SuspectLine, ...] = ()
    sources: tuple[str, ...] = ()
    attempts: tuple[AttemptLine, ...] = ()
    views: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def receipt(command: str, exit_code: int, tree: str, output: str) -> Receipt:
    """A receipt for one run of the tests."""
    return Receipt(command, exit_code, tree, hashlib.sha256(output.encode(errors="surrogateescape")).hexdigest())
