"""What a run of tests gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TestReport:
    """What a test run gave. `ran` is False where no test ran at all, and `problem` says why in one sentence.

    `passed`, `failed` and `skipped` are ids as the runner prints them; all are empty where it prints none. A test that
    is expected to fail and does (xfail) counts as skipped: it proves nothing. `place` is where the repository lay for
    the command: paths in `output` begin with it. `times` has the seconds of single tests, where the runner says them.
    """

    __test__ = False

    command: str
    exit_code: int
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    output: str
    timed_out: bool
    seconds: float
    ran: bool
    problem: str = ""
    skipped: tuple[str, ...] = ()
    place: Path | None = None
    times: tuple[tuple[str, float], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether tests ran, and all of them passed."""
        return self.ran and self.exit_code == 0 and not self.failed

    @property
    def named(self) -> bool:
        """Whether single tests have names; where they have none, the exit code is all there is."""
        return bool(self.passed or self.failed or self.skipped)
