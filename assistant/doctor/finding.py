"""What a look at one thing found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `ok` is None where nothing is wrong but something is missing; `change` says what would help."""

    name: str
    ok: bool | None
    detail: str
    change: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe of an engine saw; `advice` names the advice where it is not the probe's own, or `ok` is None."""

    ok: bool | None
    detail: str
    advice: str | None = None
