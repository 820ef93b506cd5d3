"""What the stages of a fix hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from assistant.fix.changes import Changes
from assistant.fix.report import Receipt, SuspectLine
from assistant.records import StepRecord, Tokens
from assistant.testing.report import TestReport
from model.format import ThinkRequest

__all__ = ["Attempt", "Localisation", "Reproduction", "SuspectFunction", "SuspectLine", "Verdict"]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What fails. `failing` failed every time, `flaky` came out differently on the same files and count for nothing.

    `own_test` is a failing test that the agent wrote for an issue without one, and `steps` and `tokens` what that took.
    """

    command: str
    before: TestReport
    failing: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    own_test: Changes = field(default_factory=Changes)
    steps: tuple[StepRecord, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def fails(self) -> bool:
        """Whether something does: a test by its name, or the exit code where no flaky test explains that."""
        return bool(self.failing) or (self.before.exit_code != 0 and not self.flaky)


@dataclass(frozen=True, slots=True)
class SuspectFunction:
    """A function or method that may be wrong: `name` is qualified within its file, `first` to `last` are its lines."""

    path: str
    name: str
    first: int
    last: int
    score: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Localisation:
    """Where the fault may lie, most suspect first, and by which `sources` that was found, in `seconds`."""

    lines: tuple[SuspectLine, ...] = ()
    functions: tuple[SuspectFunction, ...] = ()
    sources: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate: what it would change, who made it and how, and what it took.

    `said` is the agent's last word. `temperature` is None where the engine's own was used.
    """

    strategy: str
    changes: Changes
    said: str = ""
    think: ThinkRequest = ThinkRequest.AUTO
    temperature: float | None = None
    steps: tuple[StepRecord, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an attempt holds, and `why` in one sentence; `changes` is what is left of it, tests and noise removed.

    `mended` counts failing tests that pass with it, `lost` those that passed and do not; both as far as was looked.
    """

    fixed: bool
    why: str
    changes: Changes
    mended: int = 0
    lost: int = 0
    after: TestReport | None = None
    receipt: Receipt | None = None
