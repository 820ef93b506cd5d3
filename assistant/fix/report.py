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
class FixReport:
    """The result; its JSON form is a contract (see docs/commands.md)."""

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

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def receipt(command: str, exit_code: int, tree: str, output: str) -> Receipt:
    """A receipt for one run of the tests."""
    return Receipt(command, exit_code, tree, hashlib.sha256(output.encode(errors="surrogateescape")).hexdigest())
